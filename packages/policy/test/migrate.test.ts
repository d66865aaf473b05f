/** From sidecars to ztunnels and waypoints: rewritten policies, and the proof that they decide alike. */
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicy,
  createEvaluator,
  type MeshFacts,
  type MeshService,
  type MeshWorkload,
  proveMigration,
  type RequestAuthentication,
  rewritePolicies,
} from '@ambient/policy'
import { document } from './fixtures.ts'

const options = { rootNamespace: 'istio-system', trustDomain: 'cluster.local' }
const workload = (namespace: string, app: string): MeshWorkload => ({
  namespace,
  name: app,
  labels: { app },
  serviceAccount: app,
  ports: [8080],
  proxy: 'ztunnel',
})
const service = (namespace: string, name: string, waypoint?: string): MeshService => ({
  namespace,
  name,
  hostname: `${name}.${namespace}.svc.cluster.local`,
  ports: [{ port: 80, targetPort: 8080, protocol: 'http' }],
  workloads: [`${namespace}/${name}`],
  ...(waypoint === undefined ? {} : { waypoint }),
})
const waypointOf = (namespace: string) => ({ namespace, name: 'waypoint', serviceAccount: 'waypoint' })
const mesh: MeshFacts = {
  workloads: [workload('bookinfo', 'reviews'), workload('httpbin', 'httpbin')],
  services: [service('bookinfo', 'reviews', 'bookinfo/waypoint'), service('httpbin', 'httpbin')],
  waypoints: [waypointOf('bookinfo')],
  gateways: [],
}
const sidecar = (namespace: string, spec: AuthorizationPolicy['spec'], name = 'p') =>
  document(spec, { name, namespace })
const from = (...namespaces: readonly string[]) => [{ source: { namespaces } }]
const HTTPBIN = sidecar('httpbin', { rules: [{ from: from('httpbin') }] })

/** Rewritten and proven. */
function migrate(policies: readonly AuthorizationPolicy[], of = mesh) {
  const { policies: after, problems } = rewritePolicies(policies, of, options)
  const proof = proveMigration(
    { authorizationPolicies: policies },
    { authorizationPolicies: after },
    of,
    options,
  )
  return { after, problems, proof }
}

describe('rewritePolicies', () => {
  it.each<readonly [string, readonly AuthorizationPolicy[]]>([
    ['an L4 policy', [sidecar('bookinfo', { rules: [{ from: from('bookinfo', 'httpbin') }] })]],
    [
      'an L7 policy',
      [
        sidecar('bookinfo', {
          rules: [
            { from: from('httpbin'), to: [{ operation: { methods: ['GET'], paths: ['/reviews/*'] } }] },
          ],
        }),
      ],
    ],
    [
      'ports, which are others at a waypoint',
      [
        sidecar('bookinfo', {
          selector: { matchLabels: { app: 'reviews' } },
          rules: [
            { to: [{ operation: { ports: ['8080'] } }] },
            { from: from('x'), to: [{ operation: { ports: ['80'] } }] },
          ],
        }),
      ],
    ],
    [
      'a policy for the whole mesh, with accounts of its own namespace',
      [
        sidecar('istio-system', {
          rules: [{ from: [{ source: { serviceAccounts: ['ops', 'a/b'] } }] }, { from: from('httpbin') }],
        }),
      ],
    ],
    [
      'a DENY by caller',
      [
        sidecar('bookinfo', {
          action: 'DENY',
          rules: [{ from: [{ source: { notNamespaces: ['bookinfo'] } }] }],
        }),
      ],
    ],
    [
      'a DENY by path beside an ALLOW by caller',
      [
        sidecar(
          'bookinfo',
          { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/admin*'] } }] }] },
          'no-admin',
        ),
        sidecar('bookinfo', { rules: [{ from: from('httpbin') }] }),
      ],
    ],
    ['nothing at all for a namespace without a waypoint', [HTTPBIN]],
  ])('%s decides alike', (_, policies) => {
    const { problems, proof } = migrate(policies)
    expect(problems).toEqual([])
    expect(proof).toMatchObject({ result: 'equal', changes: [], undecided: [] })
    expect(proof.compared).toBeGreaterThan(3)
  })

  it('lets the waypoint through at L4 and judges the caller at the waypoint', () => {
    const { after } = migrate([sidecar('bookinfo', { rules: [{ from: from('httpbin') }] })])
    expect(after).toMatchObject([
      {
        metadata: { name: 'p-reviews', namespace: 'bookinfo' },
        spec: { targetRefs: [{ kind: 'Service', name: 'reviews' }] },
      },
      {
        metadata: { name: 'p', namespace: 'bookinfo' },
        spec: {
          rules: [
            { from: from('httpbin') },
            { from: [{ source: { principals: ['cluster.local/ns/bookinfo/sa/waypoint'] } }] },
          ],
        },
      },
    ])
  })

  it('tells of what nobody can judge: HTTP without a waypoint', () => {
    const policy = sidecar('httpbin', { rules: [{ to: [{ operation: { methods: ['GET'] } }] }] })
    const { problems, proof } = migrate([policy])
    expect(problems).toEqual([expect.stringContaining('httpbin/p has fields that no ztunnel can judge')])
    expect(proof.result).toBe('changed')
    expect(proof.changes.every(({ after }) => after === 'deny')).toBe(true)
  })
})

describe('proveMigration', () => {
  it('catches a namespace left without its policy: targetRefs to a waypoint that does not exist (istio/istio#57315)', () => {
    const bookinfo = sidecar('bookinfo', { rules: [{ from: from('bookinfo', 'httpbin', 'command-runner') }] })
    const toWaypoint = ({ metadata, spec }: AuthorizationPolicy) =>
      document(
        { ...spec, targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' }] },
        { name: metadata.name, namespace: metadata.namespace },
      )
    const before = { authorizationPolicies: [bookinfo, HTTPBIN] }
    const after = { authorizationPolicies: [toWaypoint(bookinfo), toWaypoint(HTTPBIN)] }
    const { result, changes } = proveMigration(before, after, mesh, options)
    expect(result).toBe('changed')
    const opened = changes.filter(({ workload: name }) => name === 'httpbin/httpbin')
    expect(opened.length).toBeGreaterThan(0)
    for (const { before: was, after: is, witness } of opened) {
      expect([was, is]).toEqual(['deny', 'allow'])
      const { namespace, labels = {} } = witness.destination
      const dialect = witness.http === undefined ? 'envoy-tcp' : 'envoy-http'
      const judge = (documents: typeof before) =>
        createEvaluator(documents, { dialect }).decide(witness, { kind: 'workload', namespace, labels })
          .verdict
      expect(judge(before)).toBe('deny')
      expect(createEvaluator(after, { dialect: 'ztunnel' }).decide(witness).verdict).toBe('allow')
    }
    // Around the waypoint of bookinfo everybody comes in as well: nothing is left at L4.
    expect(
      changes.some(({ workload: name, through }) => name === 'bookinfo/reviews' && through === 'ztunnel'),
    ).toBe(true)
  })

  it('catches a waypoint that the ztunnel does not let through', () => {
    const policy = sidecar('bookinfo', { rules: [{ from: from('httpbin') }] })
    const { changes } = proveMigration(
      { authorizationPolicies: [policy] },
      { authorizationPolicies: [policy] },
      mesh,
      options,
    )
    expect(changes).toMatchObject([
      { workload: 'bookinfo/reviews', through: 'waypoint bookinfo/waypoint', before: 'allow', after: 'deny' },
    ])
  })
})

describe('RequestAuthentications', () => {
  const tokens = (
    namespace: string,
    spec: RequestAuthentication['spec'],
    name = 'jwt',
  ): RequestAuthentication => ({
    kind: 'RequestAuthentication',
    metadata: { namespace, name, labels: {}, annotations: {} },
    spec,
  })
  const rule = { issuer: 'https://issuer.example', jwks: '{"keys":[]}' }
  const JWT = tokens('bookinfo', { selector: { matchLabels: { app: 'reviews' } }, jwtRules: [rule] })
  const NEEDS_TOKEN = sidecar('bookinfo', {
    selector: { matchLabels: { app: 'reviews' } },
    rules: [{ from: [{ source: { requestPrincipals: ['https://issuer.example/*'] } }] }],
  })

  function migrateTokens(
    policies: readonly AuthorizationPolicy[],
    before: readonly RequestAuthentication[],
    { of = mesh, after = undefined as readonly RequestAuthentication[] | undefined } = {},
  ) {
    const written = rewritePolicies(policies, of, { ...options, requestAuthentications: before })
    const proof = proveMigration(
      { authorizationPolicies: policies, requestAuthentications: before },
      {
        authorizationPolicies: written.policies,
        requestAuthentications: after ?? written.requestAuthentications,
      },
      of,
      options,
    )
    return { ...written, proof }
  }

  it('become one per service, at its waypoint', () => {
    const { requestAuthentications, problems } = migrateTokens([], [JWT])
    expect(problems).toEqual([])
    expect(requestAuthentications).toEqual([
      {
        kind: 'RequestAuthentication',
        metadata: { namespace: 'bookinfo', name: 'jwt-reviews', labels: {}, annotations: {} },
        spec: { jwtRules: [rule], targetRefs: [{ group: '', kind: 'Service', name: 'reviews' }] },
      },
    ])
  })

  it.each<readonly [string, readonly AuthorizationPolicy[], readonly RequestAuthentication[]]>([
    ['with a policy that asks for a token', [NEEDS_TOKEN], [JWT]],
    ['with a policy of L4', [sidecar('bookinfo', { rules: [{ from: from('httpbin') }] })], [JWT]],
    [
      'with a DENY of L4',
      [sidecar('bookinfo', { action: 'DENY', rules: [{ from: from('httpbin') }] })],
      [JWT],
    ],
    ['alone', [], [JWT]],
    ['of the namespace', [NEEDS_TOKEN], [tokens('bookinfo', { jwtRules: [rule] })]],
    [
      'of a namespace and of the root namespace, of one name',
      [NEEDS_TOKEN],
      [
        tokens('bookinfo', { jwtRules: [rule] }),
        tokens('istio-system', {
          selector: { matchLabels: { app: 'reviews' } },
          jwtRules: [{ issuer: 'b', audiences: ['x'] }],
        }),
      ],
    ],
    ['without rules', [], [tokens('bookinfo', {})]],
  ])('%s decide alike', (_, policies, before) => {
    const { problems, proof, requestAuthentications } = migrateTokens(policies, before)
    expect(problems).toEqual([])
    expect(proof).toMatchObject({ result: 'equal', changes: [], undecided: [] })
    const names = requestAuthentications.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
    expect(new Set(names).size).toBe(before.length)
  })

  it('that stay where they are refuse nothing any more, and nobody is believed', () => {
    const { proof } = migrateTokens([NEEDS_TOKEN], [JWT], { after: [JWT] })
    expect(proof.changes).toMatchObject([
      { through: 'waypoint bookinfo/waypoint', before: 'allow', after: 'deny' },
    ])
    const alone = migrateTokens([], [JWT], { after: [JWT] }).proof
    expect([alone.result, alone.undecided]).toEqual([
      'undecided',
      [
        expect.stringMatching(
          /^bookinfo\/reviews through waypoint bookinfo\/waypoint: the rules on tokens are not the same \(issuers before: https:\/\/issuer.example; after: none\)/,
        ),
      ],
    ])
  })

  it('with other rules of the same issuer are undecided', () => {
    const other = tokens('bookinfo', {
      targetRefs: [{ group: '', kind: 'Service', name: 'reviews' }],
      jwtRules: [{ ...rule, audiences: ['web'] }],
    })
    expect(migrateTokens([NEEDS_TOKEN], [JWT], { after: [other] }).proof.result).toBe('undecided')
    const slower = tokens('bookinfo', { ...other.spec, jwtRules: [{ ...rule, timeoutMs: 1 }] })
    expect(migrateTokens([NEEDS_TOKEN], [JWT], { after: [slower] }).proof.result).toBe('equal')
  })

  it('around a waypoint that anybody may go around are undecided', () => {
    const { requestAuthentications } = migrateTokens([], [JWT])
    const proof = proveMigration(
      { authorizationPolicies: [], requestAuthentications: [JWT] },
      { authorizationPolicies: [], requestAuthentications },
      mesh,
      options,
    )
    expect(proof.undecided).toEqual([
      expect.stringContaining('bookinfo/reviews through ztunnel: the rules on tokens'),
    ])
  })

  it('for workloads without a waypoint are told, and stay', () => {
    const before = tokens('httpbin', { jwtRules: [rule] })
    const { problems, proof, requestAuthentications } = migrateTokens([HTTPBIN], [before])
    expect(problems).toEqual([
      'RequestAuthentication httpbin/jwt is for httpbin/httpbin, which no waypoint is before: there nobody looks at tokens',
    ])
    expect(requestAuthentications).toEqual([before])
    expect(proof.result).toBe('undecided')
  })

  it('for some workloads of a service are undecided for the others', () => {
    const second = {
      ...workload('bookinfo', 'reviews'),
      name: 'reviews-2',
      labels: { app: 'reviews', v: '2' },
    }
    const of = {
      ...mesh,
      workloads: [...mesh.workloads, second],
      services: mesh.services.map(one =>
        one.name === 'reviews' ? { ...one, workloads: [...one.workloads, 'bookinfo/reviews-2'] } : one,
      ),
    }
    const before = tokens('bookinfo', { selector: { matchLabels: { v: '2' } }, jwtRules: [rule] })
    const { proof } = migrateTokens([], [before], { of })
    expect(proof.undecided).toEqual([
      expect.stringMatching(/^bookinfo\/reviews through waypoint .*before: none; after: https:/),
    ])
  })
})
