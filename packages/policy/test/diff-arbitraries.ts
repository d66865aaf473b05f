/** Random sets of policies over few values, and the whole universe of requests that could tell them apart. */
import fc from 'fast-check'
import type {
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  Enforcer,
  PeerAuthentication,
  PolicyOperation,
  PolicyRequest,
  PolicyRuleSpec,
  PolicySource,
  RequestAuthentication,
} from '@ambient/policy'
import { document } from './fixtures.ts'

const values = (...of: readonly string[]): fc.Arbitrary<readonly string[]> =>
  fc.uniqueArray(fc.constantFrom(...of), { minLength: 1, maxLength: 2 })
const rarely = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: of })
const defined = <T extends object>(of: T): T =>
  Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined)) as T

const principals = values('cluster.local/ns/a/sa/s', 'cluster.local/ns/b/*', '*/sa/s', '*')
const source = fc
  .record({
    principals: rarely(principals),
    notPrincipals: rarely(principals),
    namespaces: rarely(values('a', 'b', 'c*')),
    serviceAccounts: rarely(values('a/s', 't')),
    ipBlocks: rarely(values('10.0.0.0/24', '10.0.0.0/8')),
    requestPrincipals: rarely(values('iss/*', '*')),
  })
  .map(fields => defined(fields) as PolicySource)
const operation = fc
  .record({
    ports: rarely(values('80', '443')),
    notPorts: rarely(values('80')),
    methods: rarely(values('GET', 'P*')),
    paths: rarely(values('/a', '/a/*', '/{*}/b', '*b')),
    notPaths: rarely(values('/a/b', '/a*')),
  })
  .map(fields => defined(fields) as PolicyOperation)
const condition = fc.constantFrom(
  { key: 'request.headers[x-h]', values: ['x', 'y*'] },
  { key: 'request.headers[x-h]', notValues: ['x'] },
  { key: 'request.auth.claims[role]', values: ['admin'] },
  { key: 'source.namespace', notValues: ['a'] },
)
const listOf = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<readonly T[] | undefined> =>
  fc.option(fc.array(of, { minLength: 1, maxLength: 2 }), { nil: undefined })
const rule = fc
  .record({
    from: listOf(source.filter(fields => Object.keys(fields).length > 0).map(one => ({ source: one }))),
    to: listOf(operation.filter(fields => Object.keys(fields).length > 0).map(one => ({ operation: one }))),
    when: rarely(fc.array(condition, { minLength: 1, maxLength: 1 })),
  })
  .map(parts => defined(parts) as PolicyRuleSpec)
const GATEWAY = 'gateway.networking.k8s.io'
const place = fc.constantFrom<Pick<AuthorizationPolicySpec, 'selector' | 'targetRefs'>>(
  {},
  {},
  { selector: { matchLabels: { app: 'web' } } },
  { selector: { matchLabels: { app: 'web', tier: 'x' } } },
  { selector: { matchLabels: {} } },
  { targetRefs: [{ group: '', kind: 'Service', name: 'web' }] },
  { targetRefs: [{ group: GATEWAY, kind: 'Gateway', name: 'waypoint' }] },
  { targetRefs: [{ group: GATEWAY, kind: 'GatewayClass', name: 'istio-waypoint' }] },
)
const policy: fc.Arbitrary<AuthorizationPolicy> = fc
  .record({
    name: fc.constantFrom('p', 'p-x', 'q'),
    namespace: fc.constantFrom('shop', 'shop', 'istio-system'),
    dryRun: fc.oneof({ weight: 7, arbitrary: fc.constant(false) }, fc.constant(true)),
    place,
    spec: fc.record({
      action: fc.constantFrom(
        'ALLOW' as const,
        'ALLOW' as const,
        'DENY' as const,
        'AUDIT' as const,
        'CUSTOM' as const,
      ),
      rules: fc.array(rule, { maxLength: 2 }),
    }),
  })
  .map(({ name, namespace, dryRun, place: where, spec }) => {
    const provider = spec.action === 'CUSTOM' ? { provider: { name: `ext-${name}` } } : {}
    const annotations = dryRun ? { annotations: { 'istio.io/dry-run': 'true' } } : {}
    return document({ ...spec, ...where, ...provider }, { name, namespace, ...annotations })
  })

const tokens: fc.Arbitrary<RequestAuthentication> = fc
  .record({ issuer: fc.constantFrom('iss', 'other'), place })
  .map(({ issuer, place: where }) => ({
    kind: 'RequestAuthentication',
    metadata: { name: 'r', namespace: 'shop', labels: {}, annotations: {} },
    spec: { ...where, jwtRules: [{ issuer }] },
  }))
const peer: fc.Arbitrary<PeerAuthentication> = fc
  .record({
    namespace: fc.constantFrom('shop', 'istio-system'),
    name: fc.constantFrom('m', 'n'),
    labelled: fc.boolean(),
    mode: fc.constantFrom('STRICT' as const, 'PERMISSIVE' as const, 'UNSET' as const),
    port: fc.option(fc.constantFrom('STRICT' as const, 'PERMISSIVE' as const), { nil: undefined }),
  })
  .map(({ namespace, name, labelled, mode, port }) => ({
    kind: 'PeerAuthentication',
    metadata: { name, namespace, labels: {}, annotations: {} },
    spec: {
      ...(labelled ? { selector: { matchLabels: { app: 'web' } } } : {}),
      mtls: { mode },
      ...(labelled && port !== undefined ? { portLevelMtls: new Map([[80, { mode: port }]]) } : {}),
    },
  }))

const keyOf = ({ metadata }: AuthorizationPolicy): string => `${metadata.namespace}/${metadata.name}`

export const documents = fc.record({
  authorizationPolicies: fc.uniqueArray(policy, { maxLength: 3, selector: keyOf }),
  requestAuthentications: fc.array(tokens, { maxLength: 1 }),
  peerAuthentications: fc.uniqueArray(peer, {
    maxLength: 2,
    selector: ({ metadata }) => `${metadata.namespace}/${metadata.name}`,
  }),
})

const PRINCIPALS = [
  undefined,
  'cluster.local/ns/a/sa/s',
  'cluster.local/ns/b/sa/s',
  'cluster.local/ns/shop/sa/t',
  'cluster.local/ns/cc/sa/u',
]
const PATHS = ['/', '/a', '/a/b', '/c/b', '/a/c']
const HEADERS = [undefined, 'x', ['x', 'yy'], 'z']
const PAYLOADS = [undefined, { iss: 'iss', sub: 'me' }, { iss: 'other', sub: 'me', role: ['admin', 'x'] }]
const LABELS = [{}, { app: 'web' }, { app: 'web', tier: 'x' }]

/** What everybody looks at, and for HTTP what it adds. */
export function universe(http: boolean): readonly PolicyRequest[] {
  return PRINCIPALS.flatMap(principal =>
    ['10.0.0.1', '192.0.2.1'].flatMap(ip =>
      [80, 8080].flatMap(port => {
        const base: PolicyRequest = {
          source: { ...(principal === undefined ? {} : { principal }), ip },
          destination: { namespace: 'shop', ip: '10.9.9.9', port },
        }
        return http ? withHttp(base) : [base]
      }),
    ),
  )
}

function withHttp(base: PolicyRequest): readonly PolicyRequest[] {
  return ['GET', 'PUT'].flatMap(method =>
    PATHS.flatMap(path =>
      HEADERS.flatMap(header =>
        PAYLOADS.map(payload => ({
          ...base,
          http: {
            method,
            path,
            authority: 'web',
            ...(header === undefined ? {} : { headers: { 'X-H': header } }),
          },
          ...(payload === undefined ? {} : { jwt: { payload } }),
        })),
      ),
    ),
  )
}

export const enforcers: readonly Enforcer[] = [
  ...['shop', 'elsewhere'].flatMap(namespace =>
    LABELS.map(labels => ({ kind: 'workload' as const, namespace, labels })),
  ),
  { kind: 'waypoint', namespace: 'shop', name: 'waypoint', service: 'shop/web' },
  { kind: 'waypoint', namespace: 'shop', name: 'waypoint' },
  { kind: 'waypoint', namespace: 'elsewhere', name: 'waypoint' },
  { kind: 'gateway', namespace: 'shop', name: 'waypoint' },
  { kind: 'gateway', namespace: 'elsewhere', name: 'g', labels: { app: 'web' } },
]
