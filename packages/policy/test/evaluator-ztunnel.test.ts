/** The dialect `ztunnel`: what istiod drops and ztunnel decides, with the mistake in the reason (l7 §2.2, §2.7, §2.8, §2.9). */
import { describe, expect, it } from 'vitest'
import { ask, type Asked, decide, documents, policy, short } from './evaluator-fixtures.ts'

const options = { dialect: 'ztunnel' } as const
const plaintext: Asked = { principal: null }
const bob: Asked = { principal: 'cluster.local/ns/client/sa/bob' }

/** Policies, the question, the verdict in short, and what the reason says. */
type Row = readonly [string, readonly string[], Asked, string, RegExp]

const deny = (rules: string): string => policy('shop/p', `action: DENY\nrules:\n${rules}`)
const allow = (rules: string): string => policy('shop/p', `rules:\n${rules}`)

const attachment: readonly Row[] = [
  [
    'the root namespace is for everybody',
    [policy('istio-system/p', '')],
    {},
    'deny ALLOW - -',
    /none allowed: istio-system\/p/,
  ],
  [
    'another namespace is not',
    [policy('other/p', '')],
    {},
    'allow default - -',
    /^no ALLOW policy selected you/,
  ],
  [
    'a selector that selects',
    [policy('shop/p', 'selector: {matchLabels: {app: web}}')],
    {},
    'deny ALLOW - -',
    /none allowed/,
  ],
  [
    'a selector that does not',
    [policy('shop/p', 'selector: {matchLabels: {app: api}}')],
    {},
    'allow default - -',
    /shop\/p is not asked: its selector app=api does not select app=web/,
  ],
  [
    'a selector of the root namespace',
    [policy('istio-system/p', 'selector: {matchLabels: {app: web}}')],
    {},
    'deny ALLOW - -',
    /none allowed/,
  ],
  [
    'a selector without labels to look at',
    [policy('shop/p', 'selector: {matchLabels: {app: web}}')],
    { to: { labels: {} } },
    'allow default - -',
    /does not select a workload without labels/,
  ],
  [
    'targetRefs of the service that is called',
    [policy('shop/p', 'targetRefs: [{kind: Service, name: web}]')],
    { to: { service: 'shop/web' } },
    'allow default - -',
    /shop\/p is not asked: it would apply at the waypoint of Service shop\/web, and you have none here/,
  ],
  [
    'targetRefs of somebody else',
    [policy('shop/p', 'targetRefs: [{kind: Service, name: api}]')],
    {},
    'allow default - -',
    /it is for Service shop\/api and would apply at its waypoint/,
  ],
  [
    'targetRefs of all waypoints',
    [
      policy(
        'istio-system/p',
        'targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}]',
      ),
    ],
    {},
    'allow default - -',
    /it is for GatewayClass istio-waypoint and would apply at every waypoint/,
  ],
  [
    'targetRefs of a Gateway',
    [policy('shop/p', 'targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: front}]')],
    {},
    'allow default - -',
    /it is for Gateway shop\/front and would apply there/,
  ],
  [
    'CUSTOM',
    [policy('shop/p', 'action: CUSTOM\nprovider: {name: x}\nrules: [{}]')],
    {},
    'allow default - -',
    /ztunnel does not support the CUSTOM action/,
  ],
  [
    'CUSTOM beside an ALLOW',
    [policy('shop/a', 'rules: [{}]'), policy('shop/p', 'action: CUSTOM\nprovider: {name: x}\nrules: [{}]')],
    {},
    'allow ALLOW shop/a 0',
    /ztunnel does not support the CUSTOM action/,
  ],
  [
    'AUDIT',
    [policy('shop/p', 'action: AUDIT\nrules: [{}]')],
    {},
    'allow default - -',
    /ztunnel does not support the AUDIT action/,
  ],
]

const EMPTY = {
  kind: 'AuthorizationPolicy',
  metadata: { name: 'p', namespace: 'shop', labels: {}, annotations: {} },
} as const

const fields: readonly Row[] = [
  [
    'ALLOW with a field of HTTP: left out',
    [allow('- to: [{operation: {methods: [GET]}}]')],
    {},
    'deny ALLOW - -',
    /shop\/p rules\[0\]: methods cannot be judged at L4: the whole ALLOW rule is dropped/,
  ],
  [
    'rule numbers are the document’s',
    [allow('- to: [{operation: {methods: [GET]}}]\n- from: [{source: {namespaces: [client]}}]')],
    {},
    'allow ALLOW shop/p 1',
    /^allowed by: shop\/p rules\[1\]$/,
  ],
  [
    'DENY with an operation of HTTP only: no-op',
    [deny('- to: [{operation: {paths: [/x]}}]')],
    {},
    'allow default - -',
    /the DENY rule denies nothing there/,
  ],
  [
    'even with principals',
    [deny('- to: [{operation: {paths: [/x]}}]\n  from: [{source: {principals: ["*"]}}]')],
    {},
    'allow default - -',
    /the DENY rule denies nothing there/,
  ],
  [
    'DENY with a condition of HTTP: no-op',
    [deny('- from: [{source: {principals: ["*"]}}]\n  when: [{key: "request.headers[x]", values: [a]}]')],
    {},
    'allow default - -',
    /request\.headers\[x\] cannot be judged at L4: the DENY rule denies nothing/,
  ],
  [
    'DENY with both in one operation: wider',
    [deny('- to: [{operation: {ports: ["80"], paths: [/x]}}]')],
    {},
    'deny DENY shop/p 0',
    /paths cannot be judged at L4: the DENY rule denies more there than it says/,
  ],
  [
    'the wider rule is not named where it did not decide',
    [deny('- to: [{operation: {ports: ["81"], paths: [/x]}}]')],
    {},
    'allow default - -',
    /^no ALLOW policy selected you, so what no DENY policy matches is allowed$/,
  ],
  [
    'when source.serviceAccount counts as HTTP',
    [allow('- when: [{key: source.serviceAccount, values: [client/alice]}]')],
    {},
    'deny ALLOW - -',
    /source\.serviceAccount cannot be judged at L4/,
  ],
  [
    'from.serviceAccounts does not',
    [allow('- from: [{source: {serviceAccounts: [client/alice]}}]')],
    {},
    'allow ALLOW shop/p 0',
    /^allowed by/,
  ],
  [
    'when source.trustDomain counts as HTTP',
    [deny('- when: [{key: source.trustDomain, values: [cluster.local]}]')],
    {},
    'allow default - -',
    /source\.trustDomain cannot be judged at L4: the DENY rule denies nothing/,
  ],
  [
    'trustDomains alone: never matches',
    [allow('- from: [{source: {trustDomains: [cluster.local]}}]')],
    {},
    'deny ALLOW - -',
    /trustDomains are ignored at L4: the source never matches/,
  ],
  [
    'trustDomains alone in a DENY: no-op',
    [deny('- from: [{source: {trustDomains: [cluster.local]}}]')],
    {},
    'allow default - -',
    /trustDomains are ignored at L4: the source never matches/,
  ],
  [
    'trustDomains with others: wider',
    [allow('- from: [{source: {trustDomains: [td2], namespaces: [client]}}]')],
    {},
    'allow ALLOW shop/p 0',
    /the rule allows more than it says/,
  ],
  [
    'remoteIpBlocks counts as HTTP',
    [allow('- from: [{source: {remoteIpBlocks: [10.0.0.1]}}]')],
    {},
    'deny ALLOW - -',
    /remoteIpBlocks cannot be judged at L4/,
  ],
  [
    'connection.sni counts as HTTP',
    [allow('- when: [{key: connection.sni, values: [a]}]')],
    { sni: 'a' },
    'deny ALLOW - -',
    /connection\.sni cannot be judged at L4/,
  ],
  [
    'ipBlocks',
    [allow('- from: [{source: {ipBlocks: [10.0.0.0/24]}}]')],
    {},
    'allow ALLOW shop/p 0',
    /^allowed by/,
  ],
  ['ports', [allow('- to: [{operation: {ports: ["81"]}}]')], {}, 'deny ALLOW - -', /none allowed/],
  [
    'destination.ip',
    [deny('- when: [{key: destination.ip, values: [10.0.0.2]}]')],
    {},
    'deny DENY shop/p 0',
    /^explicitly denied by: shop\/p rules\[0\]$/,
  ],
  [
    'plaintext past a negative rule',
    [allow('- from: [{source: {notPrincipals: [cluster.local/ns/client/sa/bob]}}]')],
    plaintext,
    'allow ALLOW shop/p 0',
    /callers in plaintext, without identity, are allowed/,
  ],
  [
    'plaintext against a positive one',
    [allow('- from: [{source: {principals: ["*"]}}]')],
    plaintext,
    'deny ALLOW - -',
    /none allowed/,
  ],
  [
    'somebody else',
    [allow('- from: [{source: {principals: [cluster.local/ns/client/sa/alice]}}]')],
    bob,
    'deny ALLOW - -',
    /none allowed/,
  ],
]

describe.each([
  ['attachment', attachment],
  ['fields', fields],
] as const)('%s', (_, rows) => {
  it.each(rows)('%s', (_name, texts, asked, wanted, reason) => {
    const verdict = decide(documents(...texts), options, ask(asked))
    expect(short(verdict)).toBe(wanted)
    expect(verdict.reason).toMatch(reason)
  })
})

it('an empty selector selects nobody, and the reason says whose mistake that is', () => {
  for (const action of ['ALLOW', 'DENY'] as const) {
    const document = { ...EMPTY, spec: { action, selector: { matchLabels: {} }, rules: [{}] } }
    const verdict = decide({ authorizationPolicies: [document] }, options, ask())
    expect(short(verdict)).toBe('allow default - -')
    expect(verdict.reason).toMatch(/its selector is empty, and istiod then attaches it to no workload/)
    expect(verdict.trace).toMatchObject([{ policy: 'shop/p', applies: false, rules: [] }])
  }
})

describe('trust domains', () => {
  const more = { ...options, trustDomain: 'td1', trustDomainAliases: ['old'] }
  const alice = allow('- from: [{source: {principals: [old/ns/client/sa/alice]}}]')
  const local = allow('- from: [{source: {principals: [cluster.local/ns/client/sa/alice]}}]')
  const td1 = { principal: 'td1/ns/client/sa/alice' }

  it.each([
    ['an alias', alice],
    ['cluster.local', local],
  ])('%s means nothing else', (_, text) => {
    const verdict = decide(documents(text), more, ask(td1))
    expect(short(verdict)).toBe('deny ALLOW - -')
    expect(verdict.reason).toMatch(/ztunnel knows no trust domain aliases/)
  })

  it('what is written matches', () => {
    expect(short(decide(documents(local), more, ask()))).toBe('allow ALLOW shop/p 0')
  })
})

describe('dry run', () => {
  it('is not sent by default, and decides nothing', () => {
    const text = policy('shop/p', 'action: DENY\nrules: [{}]', 'istio.io/dry-run: "true"')
    const verdict = decide(documents(text), options, ask())
    expect(short(verdict)).toBe('allow default - -')
    expect(verdict.dryRun).toEqual([])
    expect(verdict.trace).toMatchObject([
      { dryRun: true, applies: false, attachment: expect.stringContaining('does not support dry run') },
    ])
  })
})

describe('the answer on the wire', () => {
  const none = documents(policy('shop/p', ''))

  it('is 401 to a tunnel', () => expect(decide(none, options, ask()).status).toBe(401))
  it('is a reset in plaintext', () => expect(decide(none, options, ask(plaintext)).status).toBeUndefined())
  it('is none when allowed', () => expect(decide(documents(), options, ask()).status).toBeUndefined())
})

it('a trace has each rule by its number, its clause and its field', () => {
  const text = deny(
    `- to: [{operation: {hosts: [a]}}]
- from: [{source: {notIpBlocks: [10.0.0.1/32]}}]
- when: [{key: source.namespace, notValues: [client]}]
- to: [{operation: {ports: ["81"]}}, {operation: {notPorts: ["80"]}}]`,
  )
  const { trace } = decide(documents(text), options, ask())
  expect(trace).toMatchObject([
    {
      policy: 'shop/p',
      applies: true,
      attachment: 'namespace shop',
      matched: false,
      rules: [
        {
          rule: 0,
          matched: false,
          dropped: ['hosts'],
          failed: { clause: 'to', alternatives: [{ wanted: [] }] },
        },
        {
          rule: 1,
          failed: {
            clause: 'from',
            alternatives: [{ field: 'notIpBlocks', wanted: ['10.0.0.1/32'], found: '10.0.0.1' }],
          },
        },
        {
          rule: 2,
          failed: {
            clause: 'when[0]',
            alternatives: [{ field: 'source.namespace notValues', wanted: ['client'], found: 'client' }],
          },
        },
        {
          rule: 3,
          failed: {
            clause: 'to',
            alternatives: [
              { field: 'ports', wanted: ['81'], found: '80' },
              { field: 'notPorts', wanted: ['80'], found: '80' },
            ],
          },
        },
      ],
    },
  ])
})

it('names the first of many rules that are lost at L4, and how many there are', () => {
  const rules = Array.from({ length: 300 }, (_, n) => `- to: [{operation: {paths: [/${n}]}}]`).join('\n')
  const { reason } = decide(
    documents(policy('shop/p', `action: DENY\nrules:\n${rules}`)),
    { dialect: 'ztunnel' },
    ask(),
  )
  expect(reason).toContain('shop/p rules[4]: paths cannot be judged at L4')
  expect(reason).toMatch(/; and 295 more$/)
})
