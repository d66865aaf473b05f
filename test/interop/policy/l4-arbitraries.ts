/** Generated policies in ztunnel's own form, and calls, over few values, so that something matches. */
import fc from 'fast-check'
import { type Authorization, type AuthorizationMatch, emptyMatch, type StringMatch } from '@ambient/policy'

export interface L4Call {
  /** `spiffe://…` */
  readonly identity: string
  readonly from: string
  readonly port: number
}

/** Policies that the workload names; some of them exist. */
export const REFERENCES = ['default/named', 'other/named', 'default/nobody'] as const
export const CLIENT_IPS = ['10.99.0.1', '10.99.0.11', '10.99.0.130'] as const

const IDENTITIES = [
  'cluster.local/ns/a/sa/s',
  'cluster.local/ns/a/sa/t',
  'cluster.local/ns/ab/sa/s',
  'cluster.local/ns/default/sa/client',
  'cluster.local/ns/a-b/sa/s-t',
]
const PORTS = [80, 443, 8080]

const text = (values: readonly string[]): fc.Arbitrary<StringMatch> =>
  fc.oneof(
    fc.constant<StringMatch>({ kind: 'presence' }),
    fc.record({
      kind: fc.constantFrom<('exact' | 'prefix' | 'suffix')[]>('exact', 'prefix', 'suffix'),
      value: fc.constantFrom(...values),
    }),
  )
const some = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<readonly T[]> =>
  fc.array(of, { minLength: 1, maxLength: 2 })
const principals = some(
  text([
    ...IDENTITIES,
    'cluster.local/ns/a/',
    'cluster.local',
    '/sa/s',
    's',
    'spiffe://cluster.local/ns/a/sa/s',
    'S',
  ]),
)
const namespaces = some(text(['a', 'ab', 'b', 'A', 'default', 'a-']))
const accounts = some(
  fc.record({
    namespace: fc.constantFrom('a', 'ab', 'default'),
    serviceAccount: fc.constantFrom('s', 't', 'client'),
  }),
)
const sources = some(
  fc.constantFrom(
    '10.99.0.1/32',
    '10.99.0.0/25',
    '10.99.0.0/24',
    '0.0.0.0/0',
    '10.0.0.0/31',
    '::/0',
    '10.99.0.128/25',
  ),
)
const targets = some(fc.constantFrom('10.99.0.2/32', '10.99.0.0/24', '0.0.0.0/0', '10.96.0.0/12', '::/0'))
const ports = some(fc.constantFrom(...PORTS, 0, 65535))

const ATTRIBUTES = {
  ...{ namespaces, notNamespaces: namespaces, principals, notPrincipals: principals },
  ...{ serviceAccounts: accounts, notServiceAccounts: accounts, sourceIps: sources, notSourceIps: sources },
  ...{
    destinationIps: targets,
    notDestinationIps: targets,
    destinationPorts: ports,
    notDestinationPorts: ports,
  },
}
/** No attribute at all is one of the cases: such a match never matches. */
const match: fc.Arbitrary<AuthorizationMatch> = fc.record(ATTRIBUTES, { requiredKeys: [] }).chain(all => {
  const names = Object.keys(all)
  const kept = fc.subarray(names, { minLength: 0, maxLength: Math.min(names.length, 3) })
  return kept.map(keys => ({
    ...emptyMatch,
    ...Object.fromEntries(Object.entries(all).filter(([name]) => keys.includes(name))),
  }))
})
const list = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<readonly T[]> =>
  fc.oneof(
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 8, arbitrary: fc.array(of, { minLength: 1, maxLength: 2 }) },
  )
const rule = list(list(match).map(matches => ({ matches }))).map(clauses => ({ clauses }))

const place = (key: string, scope: Authorization['scope']) => {
  const [namespace = '', name = ''] = key.split('/')
  return { namespace, name, scope }
}
const PLACES = [
  ...['default/p', 'default/q', 'default/r', 'other/p'].map(key => place(key, 'Namespace')),
  ...['root/everywhere', 'root/everywhere-2'].map(key => place(key, 'Global')),
  ...['default/named', 'other/named', 'default/not-named'].map(key => place(key, 'WorkloadSelector')),
]

const policy: fc.Arbitrary<Authorization> = fc
  .record({
    place: fc.constantFrom(...PLACES),
    action: fc.constantFrom<('Allow' | 'Deny')[]>('Allow', 'Deny'),
    dryRun: fc.constant(false),
    rules: list(rule),
  })
  .map(({ place, ...rest }) => ({ ...place, ...rest }))
export const l4Policies = fc.uniqueArray(policy, {
  minLength: 1,
  maxLength: 5,
  selector: ({ namespace, name }) => `${namespace}/${name}`,
})

/** Every identity from every address to every port. */
export const l4Calls: readonly L4Call[] = IDENTITIES.flatMap(id =>
  CLIENT_IPS.flatMap(from => PORTS.map(port => ({ identity: `spiffe://${id}`, from, port }))),
)
