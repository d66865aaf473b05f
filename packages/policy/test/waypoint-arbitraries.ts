/** Random policies, targets and requests of a waypoint over few values, so that something matches. */
import fc from 'fast-check'
import type {
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  HttpRequestFacts,
  PolicyCondition,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
  PolicyTargetReference,
  WaypointTarget,
} from '@ambient/policy'
import { document } from './fixtures.ts'
import { request } from './waypoint-fixtures.ts'

const GROUP = 'gateway.networking.k8s.io'
const DOMAINS = ['td1', 'old-td', 'x-td', 'td3']
const NAMESPACES = ['a', 'ab']
const ACCOUNTS = ['s', 't']
const PATHS = ['/', '/a', '/a/b', '/a/b/c', '/a/', '//b', '/a/[x]', '/ab?q=1']
const HEADERS = ['x', 'xy', '']
const BLOCKS = ['10.0.0.1', '10.0.0.0/24', '10.0.0.0/8', '192.0.2.0/24']
const ADDRESSES = ['10.0.0.1', '10.0.0.9', '10.7.0.1', '192.0.2.1']

const values = (...of: readonly string[]): fc.Arbitrary<readonly string[]> =>
  fc.uniqueArray(fc.constantFrom(...of), { minLength: 1, maxLength: 2 })
const principals = values(
  ...DOMAINS.map(td => `${td}/ns/a/sa/s`),
  'cluster.local/ns/ab/sa/t',
  'td1/*',
  '*/sa/s',
  '*-td/ns/a/sa/s',
  '*',
)
const namespaces = values('a', 'a*', '*b', 'b')
const accounts = values('s', 'ab/t', 'a/s')
const requestPrincipals = values('*', 'https://i/s', 'https://i/*', '*/s', 'j/t')
const trustDomains = values('td1', 'td3', '*-td', 'td*', '*')
const blocks = values(...BLOCKS)
const ports = values('80', '443')
const paths = values('/', '/a', '/a*', '*b', '*', '/a/{*}', '/{*}/b', '/a/{**}', '/{**}/c')
const hosts = values('Web', 'web:*', '*.io', '*', 'a.IO')
const methods = values('GET', 'P*', '*T', '*')
const headerValues = values('x', 'x*', '*y', '*')

/** Every field is there in one of eight rules, so that something matches. */
const rarely = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 7, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: of })
const defined = <T extends object>(of: T): T =>
  Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined)) as T

const source = fc
  .record({
    principals: rarely(principals),
    notPrincipals: rarely(principals),
    requestPrincipals: rarely(requestPrincipals),
    notRequestPrincipals: rarely(requestPrincipals),
    namespaces: rarely(namespaces),
    notNamespaces: rarely(namespaces),
    serviceAccounts: rarely(accounts),
    notServiceAccounts: rarely(accounts),
    trustDomains: rarely(trustDomains),
    notTrustDomains: rarely(trustDomains),
    ipBlocks: rarely(blocks),
    notIpBlocks: rarely(blocks),
    remoteIpBlocks: rarely(blocks),
    notRemoteIpBlocks: rarely(blocks),
  })
  .map(fields => defined(fields) as PolicySource)
const operation = fc
  .record({
    ports: rarely(ports),
    notPorts: rarely(ports),
    methods: rarely(methods),
    notMethods: rarely(methods),
    hosts: rarely(hosts),
    notHosts: rarely(hosts),
    paths: rarely(paths),
    notPaths: rarely(paths),
  })
  .map(fields => defined(fields) as PolicyOperation)
const condition = (key: string, of: fc.Arbitrary<readonly string[]>): fc.Arbitrary<PolicyCondition> =>
  fc.oneof(
    of.map(list => ({ key, values: list })),
    of.map(list => ({ key, notValues: list })),
    fc.tuple(of, of).map(([list, not]) => ({ key, values: list, notValues: not })),
  )
const conditions = fc.oneof(
  condition('request.headers[x-h]', headerValues),
  condition('request.headers[Host]', values('Web', 'a.io')),
  condition('source.principal', principals),
  condition('source.namespace', namespaces),
  condition('source.ip', blocks),
  condition('destination.port', ports),
  condition('request.auth.claims[x]', values('*')),
  condition('connection.sni', values('*')),
  condition('no.such.key', values('x')),
)
const rule = fc
  .record({
    from: fc.option(
      fc.array(
        source.map(one => ({ source: one })),
        { minLength: 1, maxLength: 2 },
      ),
      {
        nil: undefined,
      },
    ),
    to: fc.option(
      fc.array(
        operation.map(one => ({ operation: one })),
        { minLength: 1, maxLength: 2 },
      ),
      {
        nil: undefined,
      },
    ),
    when: rarely(fc.array(conditions, { minLength: 1, maxLength: 2 })),
  })
  .map(parts => defined(parts) as PolicyRuleSpec)
const reference = fc.constantFrom<PolicyTargetReference>(
  { group: '', kind: 'Service', name: 'web' },
  { group: 'core', kind: 'Service', name: 'web' },
  { group: '', kind: 'Service', name: 'api' },
  { group: GROUP, kind: 'Gateway', name: 'waypoint' },
  { group: GROUP, kind: 'GatewayClass', name: 'istio-waypoint' },
)
const policyOf = (
  names: readonly string[],
  rules: fc.Arbitrary<readonly PolicyRuleSpec[]>,
): fc.Arbitrary<AuthorizationPolicy> =>
  fc
    .record({
      name: fc.constantFrom(...names),
      namespace: fc.constantFrom('shop', 'shop', 'root'),
      dryRun: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.constant(true)),
      spec: fc.record({
        action: fc.constantFrom('ALLOW', 'ALLOW', 'DENY', 'DENY', 'AUDIT', 'CUSTOM'),
        rules,
        targetRefs: fc.uniqueArray(reference, { maxLength: 2 }),
      }),
    })
    .map(({ name, namespace, dryRun, spec }) => {
      const provider = spec.action === 'CUSTOM' ? { provider: { name: 'ext' } } : {}
      const annotations = dryRun ? { annotations: { 'istio.io/dry-run': 'true' } } : {}
      return document({ ...spec, ...provider } as AuthorizationPolicySpec, {
        name,
        namespace,
        ...annotations,
      })
    })
const few = policyOf(['p', 'p-x', 'q'], fc.array(rule, { maxLength: 3 }))
export const policies = fc.uniqueArray(few, { maxLength: 6, selector: keyOf })

/** Rules that each ask for something, so that what they are found by decides. */
const narrowRule = fc
  .record({
    source: fc.oneof(
      principals.map(list => ({ principals: list })),
      namespaces.map(list => ({ namespaces: list })),
      accounts.map(list => ({ serviceAccounts: list })),
      requestPrincipals.map(list => ({ requestPrincipals: list })),
      blocks.map(list => ({ ipBlocks: list })),
      blocks.map(list => ({ remoteIpBlocks: list })),
      accounts.map(list => ({ notServiceAccounts: list })),
    ),
    operation: fc.oneof(
      ports.map(list => ({ ports: list })),
      hosts.map(list => ({ hosts: list })),
      methods.map(list => ({ methods: list })),
      paths.map(list => ({ paths: list })),
      paths.map(list => ({ notPaths: list })),
    ),
    when: rarely(fc.array(conditions, { minLength: 1, maxLength: 1 })),
    only: fc.constantFrom('from', 'to', 'both'),
  })
  .map(
    ({ source: from, operation: to, when, only }): PolicyRuleSpec => ({
      ...(only === 'to' ? {} : { from: [{ source: from }] }),
      ...(only === 'from' ? {} : { to: [{ operation: to }] }),
      ...(when === undefined ? {} : { when }),
    }),
  )
const MANY = Array.from({ length: 30 }, (_, index) => `p${index}`)
/** Some with so many rules that `rule[10]` is asked before `rule[2]`. */
const narrow = policyOf(
  MANY,
  fc.oneof(
    { weight: 6, arbitrary: fc.array(narrowRule, { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.array(narrowRule, { minLength: 11, maxLength: 12 }) },
  ),
)
export const manyPolicies = fc.uniqueArray(narrow, { minLength: 15, maxLength: 40, selector: keyOf })
export const call: fc.Arbitrary<HttpRequestFacts> = fc
  .record({
    who: fc.option(
      fc.tuple(fc.constantFrom(...DOMAINS), fc.constantFrom(...NAMESPACES), fc.constantFrom(...ACCOUNTS)),
    ),
    from: fc.constantFrom(...ADDRESSES),
    port: fc.constantFrom(80, 443),
    method: fc.constantFrom('GET', 'PUT', 'POST'),
    path: fc.constantFrom(...PATHS),
    authority: fc.constantFrom('web', 'Web:80', 'A.io', 'b.io'),
    header: fc.array(fc.constantFrom(...HEADERS), { maxLength: 2 }),
    token: fc.option(fc.record({ iss: fc.constantFrom('https://i', 'j'), sub: fc.constantFrom('s', 't') })),
    remote: fc.option(fc.constantFrom(...ADDRESSES)),
  })
  .map(({ who, from, port, method, path, authority, header, token, remote }) => ({
    ...request({
      principal: who === null ? null : `${who[0]}/ns/${who[1]}/sa/${who[2]}`,
      from,
      port,
      method,
      path,
      authority,
      headers: { 'x-h': header },
      ...(remote === null ? {} : { remoteAddress: remote }),
    }),
    ...(token === null ? {} : { jwt: { payload: token } }),
  }))
const gateway = { namespace: 'shop', name: 'waypoint', className: 'istio-waypoint' }
export const place = fc.constantFrom<WaypointTarget>(
  { gateway, service: { namespace: 'shop', name: 'web', hostname: 'web.shop.svc.cluster.local' } },
  {
    gateway: { ...gateway, className: 'other' },
    service: { namespace: 'shop', name: 'api', hostname: 'api' },
  },
  { gateway },
)
export const http = fc.boolean()
export const options = { rootNamespace: 'root', trustDomain: 'td1', trustDomainAliases: ['old-td'] }

export function keyOf({ metadata }: AuthorizationPolicy): string {
  return `${metadata.namespace}/${metadata.name}`
}
