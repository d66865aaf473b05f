/** Generated policies and calls over few values, so that something matches; odd texts on purpose. */
import fc from 'fast-check'
import type {
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  PathNormalization,
  PolicyCondition,
  PolicyRuleSpec,
} from '@ambient/policy'

/** A request or a connection as it is sent. */
export interface Call {
  readonly uri: string | undefined
  readonly ip: string
  /** Of the PROXY header; `x-forwarded-for` wins where there is HTTP. */
  readonly proxiedIp: string
  readonly forwardedFor: string | undefined
  readonly destination: { readonly ip: string; readonly port: number }
  readonly sni: string | undefined
  readonly method: string
  readonly authority: string
  /** As sent, one character per byte. */
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Of the token that it bears; absent: none. */
  readonly claims: Readonly<Record<string, unknown>> | undefined
}

export interface PolicySetCase {
  readonly normalization: PathNormalization
  readonly policies: readonly AuthorizationPolicy[]
}

export const TRUST_DOMAINS = ['td1', 'old-td'] as const
export const ISSUERS = ['https://idp.example/a', 'idp', 'https://idp.example'] as const
export const NAMES = ['web.shop', 'api.shop'] as const

const ACCOUNT_FORMS = [
  'td1/ns/a/sa/s',
  'td1/ns/ab/sa/t',
  'old-td/ns/a/sa/s',
  'x-td/ns/a/sa/s',
  'td3/ns/a.b/sa/s.t',
  'td3/ns/axb/sa/sxt',
  'cluster.local/ns/a/sa/s',
  'cluster.local/ns/shop/sa/web',
  'td1.evil/ns/a/sa/s',
  'td1/ns/a/sa/s/more',
  'td1/other/shape',
]
const ADDRESSES = ['127.0.0.1', '127.0.1.9', '127.7.0.1']
const REMOTE = ['10.0.0.1', '10.7.0.9', '192.0.2.1']

const some = (...of: readonly string[]): fc.Arbitrary<readonly string[]> =>
  fc.uniqueArray(fc.constantFrom(...of), { minLength: 1, maxLength: 3 })
const principals = some(
  ...ACCOUNT_FORMS.slice(0, 8),
  'td1/*',
  '*/sa/s',
  '*/ns/a.b/sa/s.t',
  '*-td/ns/a/sa/s',
  'td*/ns/a/sa/s',
  '*',
  '*/ns/a/sa/s',
  'cluster.local/*',
  '*s*',
  'TD1/ns/a/sa/s',
)
const namespaces = some('a', 'a*', '*b', 'b', 'a.b', '*', 'a|b', 'a*b', '(a', 'shop')
const accounts = some('s', 'ab/t', 'a/s', 'a.b/s.t', 'web', 's.t')
const domains = some('td1', 'td3', '*-td', 'td*', '*', 'cluster.local', 'td1.evil', 'td.', 'old-td')
const direct = some('127.0.0.1', '127.0.1.0/24', '127.0.0.0/8', '10.0.0.0/8', '::/0')
const remote = some('10.0.0.1', '10.0.0.0/16', '10.0.0.0/8', '192.0.2.0/24', '0.0.0.0/0', '127.0.0.0/8')
const destinations = some('10.96.0.1', '10.96.0.0/16', '10.0.0.0/8', '0.0.0.0/0', '10.96.0.2/31')
const ports = some('80', '443', '8080', '0')
const paths = some(
  ...[
    '/',
    '/a',
    '/a*',
    '*b',
    '*',
    '/a/',
    '/a/b',
    '/%61',
    '/a%2Fb',
    '/a%20b',
    '*/',
    '/a/*',
    '**',
    '/a.b',
    '/*',
  ],
  ...['/a/{*}', '/{*}/b', '/a/{**}', '/{**}/c', '/{*}', '/{**}', '/a/{*}/{**}', '/{*}/{*}/c', '/a/{**}/'],
)
const hosts = some('Web', 'web:*', '*.io', '*', 'a.IO', 'web', 'web:80', '*:80', 'web.', '*SHOP', 'w*')
const methods = some('GET', 'P*', '*T', '*', 'get', 'POST', 'OPTIONS')
const headerValues = some('x', 'x*', '*y', '*', 'x,y', 'X', 'x y', '*,y', '1')
const requestPrincipals = some(
  ...[
    '*',
    'idp/u1',
    'idp/*',
    '*/u1',
    'https://idp.example/a/u1',
    'https://*',
    '*a/u1',
    '*u1',
    'idp/u*',
    'idp',
  ],
  ...['https://idp.example/a/*', 'https://idp.example/*'],
)
const claimValues = some('x', 'x*', '*y', '*', 'read', 'u1', '1', 'true', 'a b')
const serverNames = some('*', NAMES[0], '*.shop', 'web*')

/** By field, with the values that make sense of it. */
const SOURCE = {
  principals,
  requestPrincipals,
  namespaces,
  serviceAccounts: accounts,
  trustDomains: domains,
  ipBlocks: direct,
  remoteIpBlocks: remote,
}
const OPERATION = { ports, methods, hosts, paths }
const KEYS: Readonly<Record<string, fc.Arbitrary<readonly string[]>>> = {
  'request.headers[x-h]': headerValues,
  'request.headers[X-H]': headerValues,
  'request.headers[x-none]': headerValues,
  'request.headers[user-agent]': headerValues,
  'request.headers[Host]': some('Web', 'web', 'a.io', 'web:80', '*'),
  'request.headers[:method]': methods,
  'request.headers[:path]': some('/', '/a*', '*b', '*'),
  'source.principal': principals,
  'source.namespace': namespaces,
  'source.serviceAccount': accounts,
  'source.trustDomain': domains,
  'source.ip': direct,
  'remote.ip': remote,
  'destination.ip': destinations,
  'destination.port': ports,
  'connection.sni': serverNames,
  'request.auth.principal': requestPrincipals,
  'request.auth.audiences': claimValues,
  'request.auth.presenter': claimValues,
  'request.auth.claims[groups]': claimValues,
  'request.auth.claims[scope]': claimValues,
  'request.auth.claims[realm][roles]': claimValues,
  'request.auth.claims[n]': claimValues,
  'no.such.key': some('x'),
}

const fieldOf = (of: Readonly<Record<string, fc.Arbitrary<readonly string[]>>>): fc.Arbitrary<object> =>
  fc.constantFrom(...Object.keys(of)).chain(name =>
    fc.tuple(of[name] ?? some(''), fc.boolean()).map(([values, negated]) => {
      const field = negated ? `not${name.charAt(0).toUpperCase()}${name.slice(1)}` : name
      return { [field]: values }
    }),
  )
/** One field, or now and then two or three that are and-ed. */
const fields = (of: Readonly<Record<string, fc.Arbitrary<readonly string[]>>>): fc.Arbitrary<object> =>
  fc
    .array(fieldOf(of), { minLength: 1, maxLength: 3, size: '-1' })
    .map(all => Object.assign({}, ...all) as object)
const condition: fc.Arbitrary<PolicyCondition> = fc.constantFrom(...Object.keys(KEYS)).chain(key => {
  const of = KEYS[key] ?? some('')
  return fc.oneof(
    of.map(values => ({ key, values })),
    of.map(notValues => ({ key, notValues })),
    fc.tuple(of, of).map(([values, notValues]) => ({ key, values, notValues })),
  )
})
const rule: fc.Arbitrary<PolicyRuleSpec> = fc
  .record(
    {
      from: fc.array(
        fields(SOURCE).map(source => ({ source })),
        { minLength: 1, maxLength: 2 },
      ),
      to: fc.array(
        fields(OPERATION).map(operation => ({ operation })),
        { minLength: 1, maxLength: 2 },
      ),
      when: fc.array(condition, { minLength: 1, maxLength: 2, size: '-1' }),
    },
    { requiredKeys: [] },
  )
  .map(parts => parts as PolicyRuleSpec)

const isForTokens = (key: string): boolean => /^request\.auth\./.test(key)
/** CUSTOM may not ask about identities and tokens. */
const NOT_CUSTOM = /rincipals|amespaces|erviceAccounts|rustDomains/
function isForCustom({ from = [], when = [] }: PolicyRuleSpec): boolean {
  return (
    !from.some(({ source }) => Object.keys(source).some(field => NOT_CUSTOM.test(field))) &&
    !when.some(({ key }) => isForTokens(key) || /^source\.(?!ip)/.test(key))
  )
}

const policy: fc.Arbitrary<AuthorizationPolicy> = fc
  .record({
    name: fc.constantFrom('p', 'p-x', 'q', 'p.x', 'r'),
    namespace: fc.constantFrom('shop', 'shop', 'shop', 'istio-system'),
    dryRun: fc.oneof(
      { weight: 5, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    action: fc.constantFrom<NonNullable<AuthorizationPolicySpec['action']>[]>(
      ...(['ALLOW', 'ALLOW', 'ALLOW', 'DENY', 'DENY', 'DENY', 'AUDIT', 'CUSTOM'] as const),
    ),
    rules: fc.array(rule, { minLength: 0, maxLength: 4 }),
  })
  .map(({ name, namespace, dryRun, action, rules }) => {
    const kept = action === 'CUSTOM' ? rules.filter(isForCustom) : rules
    const custom = action === 'CUSTOM'
    const gateway = { group: 'gateway.networking.k8s.io', kind: 'GatewayClass', name: 'istio-waypoint' }
    const service = { group: '', kind: 'Service', name: 'web' }
    return {
      kind: 'AuthorizationPolicy',
      metadata: {
        name,
        namespace,
        labels: {},
        annotations: dryRun && !custom ? { 'istio.io/dry-run': 'true' } : {},
      },
      spec: {
        action,
        rules: kept,
        targetRefs: [namespace === 'shop' ? service : gateway],
        ...(custom ? { provider: { name: 'ext' } } : {}),
      },
    }
  })

/** Half of the sets are one policy of one rule or two: a disagreement over them needs no search. */
const one = policy.map(({ spec, ...rest }) => ({
  ...rest,
  spec: { ...spec, rules: (spec.rules ?? []).slice(0, 1) },
}))
export const policySet: fc.Arbitrary<PolicySetCase> = fc.record({
  normalization: fc.constantFrom<PathNormalization>(
    'NONE',
    'BASE',
    'MERGE_SLASHES',
    'DECODE_AND_MERGE_SLASHES',
  ),
  policies: fc.oneof(
    one.map(only => [only]),
    fc.uniqueArray(policy, {
      minLength: 1,
      maxLength: 5,
      selector: ({ metadata }) => `${metadata.namespace}/${metadata.name}`,
    }),
  ),
})

const PIECES = [
  ...[
    '/',
    '.',
    '..',
    '%2e',
    '%2E',
    '\\',
    '%2f',
    '%5C',
    'a',
    'b',
    'c',
    '%61',
    ';',
    '%',
    '{',
    '//',
    '?',
    '%zz',
    '%20',
  ],
  ...['[x]', '"', '%C3%A9', '~', '%7e', '|', '+', '=', '&', '%25', '..;', '.;'],
]
const target = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      '/',
      '/a',
      '/a/b',
      '/a/b/c',
      '/a/',
      '//b',
      '/a/[x]',
      '/ab?q=1',
      '/x/b',
      '/a.b',
    ),
  },
  {
    weight: 4,
    arbitrary: fc.array(fc.constantFrom(...PIECES), { maxLength: 9 }).map(all => `/${all.join('')}`),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '/a#b',
      '/%00',
      '/a?%00',
      '/a\x80',
      '/\xc3\xa9',
      '/a\x7f',
      '/a\x01',
      '/a?\xff',
    ),
  },
)
const oneOf = (...values: readonly unknown[]): fc.Arbitrary<unknown> => fc.constantFrom(...values)
const claims: fc.Arbitrary<Readonly<Record<string, unknown>>> = fc
  .record(
    {
      iss: fc.constantFrom(...ISSUERS),
      sub: fc.constantFrom('u1', 'u2', ''),
      aud: oneOf('x', ['x', 'y'], [], 'read', ['xy']),
      azp: fc.constantFrom('x', 'xy', 1),
      groups: oneOf(['x', 'read'], 'x', [], [1, 'y'], [['x']], ''),
      scope: oneOf('read x', 'read', '', ['x']),
      realm: oneOf({ roles: ['x', 'u1'] }, { roles: 'x' }, 'x', {}),
      n: oneOf(1, true, null, '1', 'true'),
    },
    { requiredKeys: ['iss'] },
  )
  .map(all => all as Readonly<Record<string, unknown>>)

export const call: fc.Arbitrary<Call> = fc.record({
  uri: fc.oneof(
    { weight: 1, arbitrary: fc.constant(undefined) },
    { weight: 6, arbitrary: fc.constantFrom(...ACCOUNT_FORMS).map(id => `spiffe://${id}`) },
  ),
  ip: fc.constantFrom(...ADDRESSES),
  proxiedIp: fc.constantFrom(...REMOTE),
  forwardedFor: fc.option(fc.constantFrom('10.0.0.1', '192.0.2.1', '10.7.0.9'), { nil: undefined, freq: 3 }),
  destination: fc.record({
    ip: fc.constantFrom('10.96.0.1', '10.96.0.2', '10.97.1.1'),
    port: fc.constantFrom(80, 443, 8080),
  }),
  sni: fc.option(fc.constantFrom(...NAMES), { nil: undefined }),
  method: fc.constantFrom('GET', 'GET', 'PUT', 'POST', 'OPTIONS'),
  authority: fc.constantFrom(
    'web',
    'Web:80',
    'WEB',
    'A.io',
    'b.io',
    'web.',
    'x.shop',
    'web:0080',
    'x.Shop:80',
  ),
  target,
  headers: fc.array(
    fc.tuple(
      fc.constantFrom('x-h', 'x-h', 'X-h', 'user-agent'),
      fc.constantFrom('x', 'xy', '', 'x y', 'X', 'x,y', '\x80y', 'x\xff', 'y', '1'),
    ),
    { maxLength: 3 },
  ),
  claims: fc.option(claims, { nil: undefined }),
})
