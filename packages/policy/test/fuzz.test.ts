/**
 * What strangers write, mutated: manifests, questions as JSON, paths, values of policies, tokens. What cannot be read is said to be
 * so, with its place; what was read is enforced without an exception, and is the same when it is written and read again; nothing
 * takes long. `AMBIENT_FUZZ_SECONDS` is for all targets together; `AMBIENT_SEED` repeats one input of the target that `-t` names.
 */
import { describe, expect, it } from 'vitest'
import {
  createEvaluator,
  createJwtAuthenticator,
  lintPolicies,
  normalizePath,
  parsePolicies,
  PolicyError,
  type PolicyDocuments,
  type PolicyRequest,
  readPolicies,
  readPolicyRequest,
  toAuthorization,
  toYaml,
} from '@ambient/policy'
import { mutateText, Random } from './fuzz-mutate.ts'
import { allKeys, issuer, token } from './jwt-tokens.ts'

const SECONDS = Number(process.env['AMBIENT_FUZZ_SECONDS'] ?? 5)
/** Of one input; for a machine that is busy. */
const MAX_STEP_MS = 500
const DIALECTS = ['ztunnel', 'envoy-tcp', 'envoy-http'] as const
const MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

const MANIFEST = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: a, namespace: shop, annotations: { istio.io/dry-run: "false" } }
spec:
  selector: { matchLabels: { app: web } }
  action: DENY
  rules:
    - from:
        - source: { principals: [cluster.local/ns/a/sa/s, "*"], notNamespaces: ["a*"], ipBlocks: [10.0.0.0/8] }
        - source: { serviceAccounts: [a/s], remoteIpBlocks: ["::1"] }
      to:
        - operation: { hosts: ["*.io"], ports: ["80"], methods: [GET], paths: ["/a/{*}/b", "/x*"], notPaths: ["/{**}"] }
      when:
        - { key: "request.headers[x-a]", values: [a, "b*"] }
        - key: request.auth.claims[groups][x]
          notValues: ["*"]
---
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: { name: p, namespace: shop }
spec: { selector: { matchLabels: { app: web } }, mtls: { mode: STRICT }, portLevelMtls: { 8080: { mode: PERMISSIVE } } }
---
{"apiVersion":"security.istio.io/v1","kind":"RequestAuthentication","metadata":{"name":"r","namespace":"shop"},
 "spec":{"jwtRules":[{"issuer":"https://i.example","jwksUri":"https://i.example/keys","fromHeaders":[{"name":"x","prefix":"T "}]}]}}
`
const LIST = `kind: List
apiVersion: v1
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata: {name: allow, namespace: shop}
  spec: {targetRefs: [{group: "", kind: Service, name: web}], rules: [{}]}
`
const REQUEST: PolicyRequest = {
  source: { principal: 'cluster.local/ns/a/sa/s', ip: '10.0.0.1', remoteIp: '192.0.2.1' },
  destination: {
    namespace: 'shop',
    workload: 'web',
    labels: { app: 'web' },
    service: 'shop/web',
    ip: '10.96.0.1',
    port: 80,
  },
  http: { method: 'GET', authority: 'web:80', path: '/a/x/b?q', headers: { 'x-a': ['a', 'b'] } },
  jwt: { payload: { iss: 'https://i.example', sub: 'u', groups: { x: ['y'] } } },
}

interface Target {
  readonly seeds: readonly string[]
  /** Throws when something is wrong. */
  readonly check: (input: string) => unknown
}

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}

function checkManifest(text: string): void {
  const documents = readPolicies(text, 'fuzz.yaml')
  const lines = text.split(/\r\n|\r|\n/).length
  for (const { line, column, message } of documents.problems)
    must(line >= 1 && line <= lines + 1 && column >= 1 && message !== '', `a problem at ${line}:${column}`)
  lintPolicies(documents)
  for (const policy of documents.authorizationPolicies)
    toAuthorization(policy, { rootNamespace: 'istio-system' })
  for (const dialect of DIALECTS) judged(documents, dialect, REQUEST)
  checkRoundTrip(documents)
}

/** Never throws for data. */
function judged(
  documents: PolicyDocuments,
  dialect: (typeof DIALECTS)[number],
  request: PolicyRequest,
): void {
  const { verdict, reason } = createEvaluator(documents, { dialect }).decide(request)
  must((verdict === 'allow' || verdict === 'deny') && reason !== '', `verdict ${verdict}`)
}

function checkRoundTrip({
  authorizationPolicies,
  peerAuthentications,
  requestAuthentications,
}: PolicyDocuments): void {
  const before = [...authorizationPolicies, ...peerAuthentications, ...requestAuthentications]
  if (before.length === 0) return
  const again = parsePolicies(toYaml(before), 'again.yaml')
  const after = [
    ...again.authorizationPolicies,
    ...again.peerAuthentications,
    ...again.requestAuthentications,
  ]
  // Where it stood is another place, and an action that was left out is written.
  const meant = (of: typeof before): unknown =>
    of.map(one => {
      const spec = one.kind === 'AuthorizationPolicy' ? { action: 'ALLOW', ...one.spec } : one.spec
      return { ...one, source: undefined, spec }
    })
  expect(meant(after)).toEqual(meant(before))
}

const policies = parsePolicies(MANIFEST, 'seed.yaml')

function checkQuestion(text: string): void {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return
  }
  let request: PolicyRequest
  try {
    request = readPolicyRequest(value, 'fuzz.json')
  } catch (error) {
    must(error instanceof PolicyError && error.code === 'AMBIENT_E_POLICY_REQUEST', `threw ${String(error)}`)
    return
  }
  for (const dialect of DIALECTS) judged(policies, dialect, request)
}

function checkPath(text: string): void {
  for (const mode of MODES) {
    const once = normalizePath(text, mode, { dotParameters: 'refuse' })
    if (!once.ok) continue
    const twice = normalizePath(once.path, mode, { dotParameters: 'refuse' })
    must(twice.ok && twice.path === once.path, `${mode}: ${JSON.stringify(once.path)} is not the same again`)
  }
}

/** A line per field: its value as a policy's and as a request's. */
function checkValues(text: string): void {
  const [pattern = '', found = '', key = ''] = text.split('\n')
  const list = [pattern]
  const operation = { paths: list, hosts: list, methods: list }
  const source = {
    principals: list,
    namespaces: list,
    requestPrincipals: list,
    serviceAccounts: list,
    trustDomains: list,
  }
  const fields = [
    ...Object.keys(operation).map(name => ({ to: [{ operation: { [name]: list } }] })),
    ...Object.keys(source).map(name => ({ from: [{ source: { [name]: list } }] })),
    {
      when: [
        { key: `request.headers[${key}]`, values: list },
        { key: `request.auth.claims[${key}]`, values: list },
      ],
    },
  ]
  const metadata = { name: 'p', namespace: 'shop', labels: {}, annotations: {} }
  const targetRefs = [{ group: '', kind: 'Service', name: 'web' }]
  const request: PolicyRequest = {
    ...REQUEST,
    source: { ...REQUEST.source, principal: found },
    http: { method: found, authority: found, path: `/${found}`, headers: { [key]: found } },
    jwt: { payload: { iss: found, sub: found, [key]: found } },
  }
  for (const rule of fields)
    judged(
      {
        authorizationPolicies: [
          { kind: 'AuthorizationPolicy', metadata, spec: { action: 'ALLOW', rules: [rule], targetRefs } },
        ],
        ...{ peerAuthentications: [], requestAuthentications: [], problems: [] },
      },
      'envoy-http',
      request,
    )
}

const authenticator = createJwtAuthenticator([
  { issuer, jwks: allKeys },
  { issuer: 'other', jwks: allKeys, fromCookies: ['c'] },
])

async function checkToken(text: string): Promise<void> {
  const clean = text.replace(/[\r\n\0]/g, '')
  const headers: Readonly<Record<string, string>> = { authorization: `Bearer ${clean}`, cookie: `c=${clean}` }
  const outcome = await authenticator.authenticate({
    ...{
      method: 'GET',
      scheme: 'http',
      authority: 'web',
      path: `/?access_token=${encodeURIComponent(Buffer.from(clean).toString())}`,
    },
    header: name => [headers[name] ?? []].flat(),
  })
  if (outcome.kind === 'refused') {
    must(outcome.status === 401 || outcome.status === 403, `status ${outcome.status}`)
    must(
      outcome.headers.every(([, value]) => /^[\x20-\x7e]*$/.test(value)),
      'a header that is no header',
    )
  } else must(outcome.jwt === undefined || good.includes(clean), 'a token that nobody signed')
}

const good = [token(), token({ iss: issuer, exp: 4_000_000_000 }, { alg: 'ES256', key: 'ec' })]

const targets: Readonly<Record<string, Target>> = {
  manifest: {
    seeds: [MANIFEST, LIST, MANIFEST.replaceAll('\n', '\r\n'), `\ufeff${LIST}`],
    check: checkManifest,
  },
  question: {
    seeds: [JSON.stringify(REQUEST), '{"source":{},"destination":{"namespace":"a","port":1}}'],
    check: checkQuestion,
  },
  path: { seeds: ['/a/%2e%2e/b;x/..;y/%2F\\c?d', '//a/./%%36%31/b/', '/{*}|"<>^`%c3%a9#'], check: checkPath },
  values: {
    seeds: [
      '/a/{*}/b/{**}\na/x/b/c/d\nx-a',
      '*-td/ns/*/sa/s\nx-td/ns/a/sa/s\ngroups',
      'a/b*\na/bc\n__proto__',
      '*a*\naaa\n:path',
    ],
    check: checkValues,
  },
  token: { seeds: good, check: checkToken },
}

/** A step that is slow once was interrupted; one that is slow again is slow. */
async function checkInTime(check: Target['check'], input: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const since = performance.now()
    await check(input)
    const tookMs = performance.now() - since
    if (tookMs <= MAX_STEP_MS) return
    must(tries < 4, `took ${Math.round(tookMs)} ms`)
  }
}

describe('survives mutations', () => {
  const seconds = SECONDS / Object.keys(targets).length
  for (const [name, { seeds, check }] of Object.entries(targets))
    it(`${name} for ${seconds.toFixed(2)} s`, { timeout: seconds * 1_000 + 30_000 }, async () => {
      const given = process.env['AMBIENT_SEED']
      for (const seed of seeds) await checkInTime(check, seed)
      const first = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given)
      const until = performance.now() + seconds * 1_000
      let seed = first
      for (; performance.now() < until; seed++) {
        const random = new Random(seed)
        const input = mutateText(random, seeds)
        try {
          await checkInTime(check, input)
        } catch (error) {
          throw new Error(`AMBIENT_SEED=${seed} (-t ${name}): ${String(error)}`, { cause: error })
        }
        if (given !== undefined) return
      }
      expect(seed).toBeGreaterThan(first)
      process.stdout.write(
        `fuzz ${name}: ${Math.round((seed - first) / seconds)} inputs a second from ${first}\n`,
      )
    })
})
