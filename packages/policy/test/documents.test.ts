/** Reading policy documents: every field, and a position for every kind of mistake. */
import { describe, expect, it } from 'vitest'
import {
  formatProblem,
  parsePolicies,
  PolicyError,
  readAuthorizationPolicy,
  readPeerAuthentication,
  readPolicies,
  readYaml,
} from '@ambient/policy'

const head =
  'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n'
const peerHead = 'apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {name: p}\n'

function read(text: string) {
  const { documents, problems } = readYaml(text, 'p.yaml')
  const root = documents[0]?.root
  const policy = root === undefined ? undefined : readAuthorizationPolicy(root)
  return { policy, lines: problems.map(formatProblem) }
}

describe('AuthorizationPolicy', () => {
  it('reads every field of the API', () => {
    const { policy, lines } = read(`${head}spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: w, namespace: shop}]
  action: DENY
  rules:
  - from:
    - source:
        principals: [a]
        notPrincipals: ["*"]
        requestPrincipals: [b]
        notRequestPrincipals: [c]
        namespaces: [d]
        notNamespaces: [e]
        ipBlocks: [10.0.0.0/8]
        notIpBlocks: ["::1"]
        remoteIpBlocks: [10.0.0.1]
        notRemoteIpBlocks: [10.0.0.2]
        trustDomains: ["*.local"]
        notTrustDomains: [td]
    - source: {serviceAccounts: [n/s], notServiceAccounts: [s]}
    to:
    - operation:
        hosts: [h]
        notHosts: [i]
        ports: ["80"]
        notPorts: ["0", "65535"]
        methods: [GET]
        notMethods: [PUT]
        paths: [/a*, "/b/{*}/c/{**}/d"]
        notPaths: [/c]
    when:
    - {key: "request.headers[x]", values: [a], notValues: [b]}
    - {key: "request.auth.claims[a][b]", values: [a]}
    - {key: destination.port, notValues: ["1"]}
`)
    expect(lines).toEqual([])
    expect(policy?.spec).toMatchObject({
      action: 'DENY',
      targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'w', namespace: 'shop' }],
      rules: [
        {
          from: [
            { source: { principals: ['a'], notTrustDomains: ['td'], notIpBlocks: ['::1'] } },
            { source: { serviceAccounts: ['n/s'], notServiceAccounts: ['s'] } },
          ],
          to: [{ operation: { notPorts: ['0', '65535'], paths: ['/a*', '/b/{*}/c/{**}/d'] } }],
          when: [{ key: 'request.headers[x]', values: ['a'], notValues: ['b'] }, {}, {}],
        },
      ],
    })
    expect(policy?.source).toEqual({ file: 'p.yaml', line: 1, column: 1 })
  })

  it('reads what kubectl gives: metadata of the server, status, an empty spec', () => {
    const { policy, lines } = read(`apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata:
  name: p.q
  labels: {a: b}
  annotations: {istio.io/dry-run: "true"}
  creationTimestamp: "2026-01-31T12:00:00Z"
  generation: 3
  uid: 1-2
  managedFields: [{manager: x}]
spec: {}
status: {conditions: []}
`)
    expect(lines).toEqual([])
    expect(policy?.metadata).toMatchObject({
      name: 'p.q',
      namespace: 'default',
      labels: { a: 'b' },
      creationTimestamp: Date.UTC(2026, 0, 31, 12),
    })
    expect(policy?.spec).toEqual({ action: 'ALLOW' })
    expect(read(head.replace(/\n$/, '')).policy?.spec).toEqual({})
  })

  it.each([
    ['a YAML error', 'spec: {rules: [}\n', /^p\.yaml:4:\d+: error: /],
    [
      'an unknown field',
      'spec:\n  actions: DENY\n',
      'p.yaml:5:3: error: spec.actions: unknown field, expected one of selector, targetRef, targetRefs, action, rules, provider; did you mean "action"?',
    ],
    [
      'a wrong type',
      'spec:\n  rules: DENY\n',
      'p.yaml:5:10: error: spec.rules: expected a list, found the string "DENY"',
    ],
    [
      'an unknown enum',
      'spec:\n  action: Deny\n',
      'p.yaml:5:11: error: spec.action: expected one of ALLOW, DENY, AUDIT, CUSTOM (did you mean DENY?), found the string "Deny"',
    ],
    ['a duplicate', 'spec:\n  action: DENY\n  action: ALLOW\n', 'p.yaml:6:3: error: duplicate key "action"'],
    [
      'a port as a number',
      'spec:\n  rules:\n  - to:\n    - operation: {ports: [80]}\n',
      'p.yaml:7:27: error: spec.rules[0].to[0].operation.ports[0]: expected a string, found the number 80',
    ],
    [
      'a bad port',
      'spec:\n  rules:\n  - to:\n    - operation: {ports: ["65536"]}\n',
      'p.yaml:7:27: error: spec.rules[0].to[0].operation.ports[0]: expected a port from 0 to 65535, found "65536"',
    ],
    [
      'a bad CIDR',
      'spec:\n  rules:\n  - from:\n    - source: {ipBlocks: [10.0.0.0/8, 10.0.0/8]}\n',
      'p.yaml:7:39: error: spec.rules[0].from[0].source.ipBlocks[1]: expected an address such as 10.0.0.1 or a CIDR such as 10.0.0.0/8, found "10.0.0/8"',
    ],
    [
      'snake case',
      'spec:\n  rules:\n  - from:\n    - source: {ip_blocks: [10.0.0.0/8]}\n',
      /^p\.yaml:7:16: error: spec\.rules\[0\]\.from\[0\]\.source\.ip_blocks: unknown field, .*did you mean "ipBlocks"\?/,
    ],
    [
      'an unknown key',
      'spec:\n  rules:\n  - when:\n    - {key: source.ips, values: [a]}\n',
      /^p\.yaml:7:13: error: spec\.rules\[0\]\.when\[0\]\.key: unknown key "source\.ips", .*did you mean "source\.ip"\?/,
    ],
    [
      'a removed key',
      'spec:\n  rules:\n  - when:\n    - {key: destination.namespace, values: [a]}\n',
      /^p\.yaml:7:13: error: .*no longer supported/,
    ],
    [
      'a condition without values',
      'spec:\n  rules:\n  - when:\n    - {key: source.ip}\n',
      'p.yaml:7:7: error: spec.rules[0].when[0]: expected values, notValues or both',
    ],
    [
      'a bad value of a condition',
      'spec:\n  rules:\n  - when:\n    - {key: source.ip, notValues: [x]}\n',
      /^p\.yaml:7:36: error: .*expected an address/,
    ],
    [
      'an empty from',
      'spec:\n  rules:\n  - from: []\n',
      'p.yaml:6:11: error: spec.rules[0].from: expected at least one item; leave it out to match everything',
    ],
    [
      'an empty source',
      'spec:\n  rules:\n  - from: [{source: {}}]\n',
      'p.yaml:6:21: error: spec.rules[0].from[0].source: expected at least one field, found none',
    ],
    [
      'an item without source',
      'spec:\n  rules:\n  - from: [{}]\n',
      'p.yaml:6:12: error: spec.rules[0].from[0]: the field "source" is required',
    ],
    [
      'an empty value',
      'spec:\n  rules:\n  - from: [{source: {principals: [""]}}]\n',
      'p.yaml:6:35: error: spec.rules[0].from[0].source.principals[0]: expected a string that is not empty, found the string ""',
    ],
    [
      'an empty list',
      'spec:\n  rules:\n  - from: [{source: {principals: []}}]\n',
      'p.yaml:6:34: error: spec.rules[0].from[0].source.principals: expected at least one value, found an empty list',
    ],
    [
      'an empty selector',
      'spec:\n  selector: {}\n',
      /^p\.yaml:5:13: error: spec\.selector: an empty selector selects no workload/,
    ],
    [
      'a wildcard selector',
      'spec:\n  selector: {matchLabels: {a: "b*"}}\n',
      'p.yaml:5:27: error: spec.selector.matchLabels: wildcards are not supported in a selector: "a: b*"',
    ],
    [
      'selector and targetRefs',
      'spec:\n  selector: {matchLabels: {a: b}}\n  targetRef: {kind: Service, name: s}\n',
      'p.yaml:5:3: error: spec.selector: expected only one of selector and targetRefs',
    ],
    [
      'an unknown target',
      'spec:\n  targetRefs: [{kind: Pod, name: s}]\n',
      /^p\.yaml:5:16: error: spec\.targetRefs\[0\]: expected .*found "\/Pod"/,
    ],
    [
      'DENY without rules',
      'spec:\n  action: DENY\n',
      'p.yaml:5:3: error: spec.action: DENY without rules never matches: add rules, `rules: [{}]` to mean everything',
    ],
    [
      'CUSTOM without provider',
      'spec:\n  action: CUSTOM\n  rules: [{}]\n',
      'p.yaml:5:3: error: spec.action: CUSTOM needs a provider',
    ],
    [
      'a provider without CUSTOM',
      'spec:\n  provider: {name: x}\n',
      'p.yaml:5:3: error: spec.provider: expected with action CUSTOM only, found with ALLOW',
    ],
    [
      'identity with CUSTOM',
      'spec:\n  action: CUSTOM\n  provider: {name: x}\n  rules: [{from: [{source: {principals: [a]}}]}]\n',
      /^p\.yaml:7:28: error: .*principals cannot be used with action CUSTOM/,
    ],
    [
      'service accounts with namespaces',
      'spec:\n  rules: [{from: [{source: {namespaces: [a], serviceAccounts: [b]}}]}]\n',
      'p.yaml:5:28: error: spec.rules[0].from[0].source: serviceAccounts cannot be combined with namespaces',
    ],
    [
      'a wildcard service account',
      'spec:\n  rules: [{from: [{source: {serviceAccounts: ["a/*"]}}]}]\n',
      /^p\.yaml:5:47: error: .*expected NAME or NAMESPACE\/NAME without wildcards, found "a\/\*"/,
    ],
    [
      'a bad trust domain',
      'spec:\n  rules: [{from: [{source: {trustDomains: ["a*b"]}}]}]\n',
      /^p\.yaml:5:44: error: .*expected a trust domain/,
    ],
    [
      'a bad path template',
      'spec:\n  rules: [{to: [{operation: {paths: ["/{**}/{*}"]}}]}]\n',
      /^p\.yaml:5:38: error: .*expected \{\*\*\} to be the last operator/,
    ],
    [
      'a half template',
      'spec:\n  rules: [{to: [{operation: {paths: ["/a{*}"]}}]}]\n',
      /^p\.yaml:5:38: error: .*expected each segment/,
    ],
  ] as const)('says where %s is', (_, body, expected) => {
    const { policy, lines } = read(head + body)
    expect(policy).toBeUndefined()
    expect(lines).toEqual([typeof expected === 'string' ? expected : expect.stringMatching(expected)])
  })

  it.each([
    [
      head.replace('/v1', '/v1alpha1'),
      /^p\.yaml:1:13: error: apiVersion: expected one of security\.istio\.io\/v1, security\.istio\.io\/v1beta1/,
    ],
    [head.replace('name: p,', ''), /^p\.yaml:3:11: error: metadata: the field "name" is required/],
    [
      head.replace('name: p', 'name: P_'),
      /^p\.yaml:3:18: error: metadata\.name: expected at most 253 lower case/,
    ],
    [head.replace('shop', 'a.b'), /^p\.yaml:3:32: error: metadata\.namespace: expected at most 63/],
    [`${head}extra: 1\n`, /^p\.yaml:4:1: error: extra: unknown field/],
    [
      head.replace('}', ', annotations: {istio.io/dry-run: "maybe"}}'),
      /^p\.yaml:3:70: error: metadata\.annotations\."istio\.io\/dry-run": expected "true" or "false", found "maybe"/,
    ],
  ])('says what is wrong around the spec', (text, expected) => {
    const { policy, lines } = read(text)
    expect(policy).toBeUndefined()
    expect(lines).toEqual([expect.stringMatching(expected)])
  })

  it('finds every mistake in one pass', () => {
    const { lines } = read(`${head}spec:
  action: NO
  rules:
  - from: [{source: {ipBlocks: [x, y]}}]
    too: []
`)
    expect(lines.map(line => line.split(':').slice(0, 3).join(':'))).toEqual([
      'p.yaml:5:11',
      'p.yaml:7:33',
      'p.yaml:7:36',
      'p.yaml:8:5',
    ])
  })
})

describe('PeerAuthentication', () => {
  const readPeer = (text: string) => {
    const { documents, problems } = readYaml(peerHead + text, 'p.yaml')
    const root = documents[0]?.root
    return { peer: root && readPeerAuthentication(root), lines: problems.map(formatProblem) }
  }
  it('reads every field of the API', () => {
    const { peer, lines } = readPeer(
      'spec:\n  selector: {matchLabels: {app: a}}\n  mtls: {mode: STRICT}\n  portLevelMtls: {8080: {mode: DISABLE}, "9090": {}}\n',
    )
    expect(lines).toEqual([])
    expect(peer?.metadata.namespace).toBe('default')
    expect(peer?.spec).toEqual({
      selector: { matchLabels: { app: 'a' } },
      mtls: { mode: 'STRICT' },
      portLevelMtls: new Map([
        [8080, { mode: 'DISABLE' }],
        [9090, {}],
      ]),
    })
    expect(readPeer('').peer?.spec).toEqual({})
    expect(readPeer('spec: {selector: {}, mtls: {}}').peer?.spec.mtls).toEqual({})
  })
  it.each([
    [
      'spec: {mtls: {mode: strict}}',
      /^p\.yaml:4:21: error: spec\.mtls\.mode: expected one of UNSET, DISABLE, PERMISSIVE, STRICT \(did you mean STRICT\?\)/,
    ],
    ['spec: {mtls: STRICT}', /^p\.yaml:4:14: error: spec\.mtls: expected a map, found the string "STRICT"/],
    ['spec: {portLevelMtls: {80: {}}}', /^p\.yaml:4:8: error: spec\.portLevelMtls: expected with a selector/],
    [
      'spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {http: {}}}',
      /^p\.yaml:4:57: error: .*expected a port from 1 to 65535 as key, found "http"/,
    ],
    [
      'spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {}}',
      /^p\.yaml:4:56: error: .*expected at least one port/,
    ],
  ])('says where the mistake is: %s', (text, expected) => {
    const { peer, lines } = readPeer(text)
    expect(peer).toBeUndefined()
    expect(lines).toEqual([expect.stringMatching(expected)])
  })
})

describe('a text of policies', () => {
  it('is read as a whole, other kinds are mistakes', () => {
    const text = `${head}---\n${peerHead}---\nkind: Pod\n`
    const { authorizationPolicies, peerAuthentications, problems } = readPolicies(text, 'all.yaml')
    expect([authorizationPolicies.length, peerAuthentications.length]).toEqual([1, 1])
    expect(problems.map(formatProblem)).toEqual([
      'all.yaml:9:1: error: expected kind AuthorizationPolicy, PeerAuthentication or RequestAuthentication, found "Pod"',
    ])
  })
  it('is whole or nothing with parsePolicies', () => {
    expect(parsePolicies(head, 'f').authorizationPolicies).toHaveLength(1)
    const caught = ((): unknown => {
      try {
        return parsePolicies(`${head}spec: {action: 1, rules: 2}\n`, 'f')
      } catch (error) {
        return error
      }
    })()
    expect(caught).toBeInstanceOf(PolicyError)
    expect(caught).toMatchObject({ code: 'AMBIENT_E_POLICY_DOCUMENT', layer: 'policy', problems: [{}, {}] })
    expect(String(caught)).toContain('f:4:16: error: spec.action: expected one of ALLOW')
  })
})
