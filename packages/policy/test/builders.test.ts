/** Policies written in code: the same documents as policies written in files. */
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  allow,
  audit,
  type ConditionKey,
  custom,
  deny,
  parsePolicies,
  peerAuthentication,
  PolicyError,
  requestAuthentication,
  type SecurityDocument,
  toManifest,
  toYaml,
} from '../src/index.ts'

/** What a file with this text holds, without where it stands. */
function read(text: string): SecurityDocument | undefined {
  const documents = parsePolicies(text, 'test.yaml')
  const all = [
    ...documents.authorizationPolicies,
    ...documents.peerAuthentications,
    ...documents.requestAuthentications,
  ]
  expect(all).toHaveLength(1)
  const { source: _, ...document } = all[0] ?? { source: undefined }
  return 'kind' in document ? document : undefined
}

describe('authorization policies', () => {
  it('equal what is read from a file', () => {
    const built = allow('shop/web', { labels: { team: 'blue' } })
      .at({ kind: 'Service', name: 'web' })
      .at({ kind: 'Gateway', name: 'waypoint' })
      .from({ namespaces: ['shop', 'tools'], requestPrincipals: '*' })
      .from({ ipBlocks: '10.0.0.0/8' })
      .to({ methods: 'GET', paths: ['/a', '/b/{*}'], ports: [80, '8080'] })
      .when('request.headers[x-team]', 'blue')
      .when('source.ip', { values: ['10.0.0.0/8'], notValues: '10.1.0.0/16' })
      .or()
      .from({ serviceAccounts: 'tools/admin' })
      .build()
    expect(built).toEqual(
      read(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop, labels: { team: blue } }
spec:
  targetRefs:
    - { kind: Service, name: web }
    - { group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }
  rules:
    - from:
        - source: { namespaces: [shop, tools], requestPrincipals: ["*"] }
        - source: { ipBlocks: [10.0.0.0/8] }
      to:
        - operation: { methods: [GET], paths: [/a, "/b/{*}"], ports: ["80", "8080"] }
      when:
        - { key: "request.headers[x-team]", values: [blue] }
        - { key: source.ip, values: [10.0.0.0/8], notValues: [10.1.0.0/16] }
    - from:
        - source: { serviceAccounts: [tools/admin] }
`),
    )
  })

  it.each([
    ['a DENY of everything', deny('shop/all').everything().build()],
    ['an ALLOW of nothing', allow('shop/none').nothing().build()],
    ['a selector and dry run', audit('default/web').select({ app: 'web' }).dryRun().everything().build()],
    [
      'a provider',
      custom('default/web', 'opa').from({ notIpBlocks: '::1' }).when('remote.ip', '1.2.3.4').build(),
    ],
    ['a rule after everything', deny('a/b').everything().to({ ports: 1 }).or().to({ ports: 2 }).build()],
    [
      'words of YAML',
      allow('no/on')
        .select({ on: 'yes', n: '08' })
        .to({ paths: ['~', '0o7', 'off'] })
        .build(),
    ],
    ['PeerAuthentication', peerAuthentication('shop/strict').mode('STRICT').build()],
    [
      'ports',
      peerAuthentication('default/web')
        .select({ app: 'web' })
        .mode('STRICT')
        .port(8080, 'PERMISSIVE')
        .build(),
    ],
    [
      'RequestAuthentication',
      requestAuthentication('shop/jwt')
        .at({ kind: 'Service', name: 'web' })
        .jwt({ issuer: 'https://issuer.example', jwks: '{"keys":[]}', timeoutMs: 1_500 })
        .jwt({
          issuer: 'b',
          jwksUri: 'https://b.example/keys',
          fromHeaders: [{ name: 'x-jwt', prefix: 'T ' }],
        })
        .build(),
    ],
  ])('survive the way through YAML and JSON: %s', (_, document) => {
    expect(read(toYaml(document))).toEqual(document)
    expect(read(JSON.stringify(toManifest(document)))).toEqual(document)
  })

  it('print as the manifest that kubectl takes', () => {
    const builder = deny('shop/no-deletes').to({ methods: 'DELETE', paths: '/items/*' })
    expect(builder.toYaml()).toBe(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: no-deletes
  namespace: shop
spec:
  action: DENY
  rules:
    - to:
        - operation:
            methods:
              - DELETE
            paths:
              - "/items/*"
`)
    expect(toYaml([builder.build(), builder.build()]).split('---\n')).toHaveLength(2)
  })

  it('leave the builder that they were made from as it is', () => {
    const base = deny('a/b').to({ ports: 1 })
    base.to({ ports: 2 }).select({ app: 'web' })
    expect(base.build().spec).toEqual({ action: 'DENY', rules: [{ to: [{ operation: { ports: ['1'] } }] }] })
  })
})

describe('mistakes', () => {
  it.each([
    ['an empty policy', () => allow('a/b').build(), 'AuthorizationPolicy a/b: no rule: say from()'],
    [
      'an empty rule',
      () => deny('a/b').to({ ports: 1 }).or().build(),
      'or() begins a rule that nothing follows',
    ],
    [
      'both',
      () => allow('a/b').to({ ports: 1 }).nothing().build(),
      'nothing() contradicts the rules beside it',
    ],
    [
      'a DENY of nothing',
      () => deny('a/b').nothing().build(),
      'spec.action: DENY without rules never matches',
    ],
    [
      'an empty source',
      () => allow('a/b').from({}).build(),
      'spec.rules[0].from[0].source: expected at least one',
    ],
    ['a port', () => allow('a/b').to({ ports: 70_000 }).build(), 'ports[0]: expected a port from 0 to 65535'],
    ['a name', () => allow('a/B').everything().build(), 'metadata.name: expected at most 253 lower case'],
    [
      'no namespace',
      () => allow('shop').everything().build(),
      "AuthorizationPolicy shop: no namespace: write 'NAMESPACE/shop', or 'default/shop' where that is meant",
    ],
    [
      'no namespace of a PeerAuthentication',
      () => peerAuthentication('shop').mode('STRICT').build(),
      'PeerAuthentication shop: no namespace',
    ],
    [
      'no namespace of a RequestAuthentication',
      () => requestAuthentication('shop').jwt({ issuer: 'a' }).build(),
      'RequestAuthentication shop: no namespace',
    ],
    ['an empty namespace', () => allow('/shop').everything().build(), 'metadata.namespace'],
    ['a name of three parts', () => allow('a/b/c').everything().build(), 'metadata.name'],
    [
      'a principal with a scheme',
      () =>
        allow('a/b')
          .to({ ports: 1 })
          .or()
          .from({ principals: ['*', 'spiffe://td/ns/a/sa/b'] })
          .build(),
      'spec.rules[1].from[0].source.principals[1]: principals have no scheme: write "td/ns/a/sa/b"',
    ],
    [
      'a principal with a scheme that is excepted',
      () => deny('a/b').from({ principals: '*', notPrincipals: 'spiffe://x' }).build(),
      'spec.rules[0].from[0].source.notPrincipals[0]: principals have no scheme: write "x"',
    ],
    [
      'a condition on a principal with a scheme',
      () => deny('a/b').when('source.principal', { notValues: 'spiffe://x' }).build(),
      'spec.rules[0].when[0].notValues[0]: principals have no scheme: write "x"',
    ],
    [
      'a mode without labels',
      () => peerAuthentication('a/b').port(1, 'STRICT').build(),
      'spec.portLevelMtls: expected with a selector',
    ],
  ])('are refused in the words of the reader: %s', (_, build, message) => {
    expect(build).toThrow(expect.objectContaining({ code: 'AMBIENT_E_POLICY_DOCUMENT' }))
    expect(build).toThrow(message)
  })

  it('are none where the namespace stands beside the name', () => {
    const built = allow('web', { namespace: 'shop' }).everything().build()
    expect(built.metadata).toMatchObject({ namespace: 'shop', name: 'web' })
  })

  it('are all told at once', () => {
    let caught: unknown
    try {
      allow('a/b').from({ ipBlocks: 'x' }).to({ ports: 70_000 }).build()
    } catch (error) {
      caught = error
    }
    expect(caught).toBeInstanceOf(PolicyError)
    expect(caught instanceof PolicyError && caught.problems).toHaveLength(2)
  })

  it('are refused by types where types can', () => {
    expectTypeOf<'request.headers[x-a]'>().toExtend<ConditionKey>()
    expectTypeOf<'request.header[x-a]'>().not.toExtend<ConditionKey>()
    const mistakes = [
      // @ts-expect-error: destination.namespace is no key any more
      () => deny('a/b').when('destination.namespace', 'shop'),
      // @ts-expect-error: service accounts stand alone
      () => deny('a/b').from({ serviceAccounts: 'web', namespaces: 'shop' }),
      // @ts-expect-error: no such field
      () => deny('a/b').to({ path: '/' }),
      // @ts-expect-error: not a port
      () => deny('a/b').to({ ports: 'http' }),
      // @ts-expect-error: CUSTOM runs before identities are judged
      () => custom('a/b', 'opa').from({ principals: '*' }),
      // @ts-expect-error: nor does it know tokens
      () => custom('a/b', 'opa').when('request.auth.principal', '*'),
      // @ts-expect-error: no such kind
      () => deny('a/b').at({ kind: 'Pod', name: 'web' }),
    ]
    for (const mistake of mistakes) expect(() => mistake().build()).toThrow()
  })
})
