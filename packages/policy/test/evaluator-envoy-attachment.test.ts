/** Which proxy enforces which policy in Envoy's dialects (l7 §2.2), and whose proxy is meant when nobody says (§2.2, the CLI contract). */
import type { Enforcer } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import {
  ask,
  type Asked,
  decide,
  documents,
  ingress,
  policy,
  short,
  sidecar,
  waypoint,
} from './evaluator-fixtures.ts'

const http = { dialect: 'envoy-http' } as const
const NONE = 'allow default - -'
/** An ALLOW without rules: whoever obeys it denies. */
const HERE = 'deny ALLOW - -'

const ref = (kind: string, name: string, group = ''): string =>
  `targetRefs: [{kind: ${kind}, name: ${name}, group: "${group}"}]`
const GATEWAY = 'gateway.networking.k8s.io'
const toService = ref('Service', 'web')
const toEntry = ref('ServiceEntry', 'web', 'networking.istio.io')
const toWaypoint = ref('Gateway', 'waypoint', GATEWAY)
const toFront = ref('Gateway', 'front', GATEWAY)
const toClass = ref('GatewayClass', 'istio-waypoint', GATEWAY)
const selects = (app: string): string => `selector: {matchLabels: {app: ${app}}}`

/** Document, its namespace, and who obeys it: a sidecar, a waypoint, an ingress gateway. */
const rows: readonly (readonly [string, string, string, boolean, boolean, boolean])[] = [
  ['root namespace, nothing named', 'istio-system/p', '', true, false, true],
  ['own namespace, nothing named', 'shop/p', '', true, false, false],
  ['the gateway’s namespace, nothing named', 'edge/p', '', false, false, true],
  ['a selector that fits', 'shop/p', selects('web'), true, false, false],
  ['a selector that does not', 'shop/p', selects('api'), false, false, false],
  ['a selector of the root namespace', 'istio-system/p', selects('web'), true, false, false],
  ['a selector that fits the gateway', 'edge/p', selects('front'), false, false, true],
  [
    'a selector that fits the gateway’s own label',
    'edge/p',
    `selector: {matchLabels: {${GATEWAY}/gateway-name: front}}`,
    false,
    false,
    true,
  ],
  ['Service', 'shop/p', toService, false, true, false],
  ['ServiceEntry', 'shop/p', toEntry, false, true, false],
  ['another Service', 'shop/p', ref('Service', 'api'), false, false, false],
  ['Service of another namespace', 'other/p', toService, false, false, false],
  ['Service, from the root namespace', 'istio-system/p', toService, false, false, false],
  ['Gateway that is the waypoint', 'shop/p', toWaypoint, false, true, false],
  ['Gateway that is the ingress', 'edge/p', toFront, false, false, true],
  ['Gateway of another namespace', 'shop/p', toFront, false, false, false],
  ['GatewayClass from the root namespace', 'istio-system/p', toClass, false, true, false],
  ['GatewayClass from elsewhere', 'shop/p', toClass, false, false, false],
  [
    'GatewayClass of another name',
    'istio-system/p',
    ref('GatewayClass', 'my-waypoint', GATEWAY),
    false,
    false,
    false,
  ],
  [
    'several, one of them',
    'shop/p',
    'targetRefs: [{kind: Service, name: api}, {kind: Service, name: web}]',
    false,
    true,
    false,
  ],
  ['the older single one', 'shop/p', 'targetRef: {kind: Service, name: web}', false, true, false],
  [
    'a namespace in the reference that is not its own',
    'shop/p',
    'targetRefs: [{kind: Service, name: web, namespace: other}]',
    false,
    false,
    false,
  ],
]

describe('who obeys', () => {
  const enforcers = { sidecar, waypoint, ingress }
  it.each(rows)('%s', (_, name, spec, bySidecar, byWaypoint, byIngress) => {
    const all = documents(policy(name, spec))
    const found = Object.entries(enforcers).map(([kind, enforcer]) => [
      kind,
      short(decide(all, http, ask(), enforcer)),
    ])
    const wanted = (obeys: boolean): string => (obeys ? HERE : NONE)
    expect(Object.fromEntries(found)).toEqual({
      sidecar: wanted(bySidecar),
      waypoint: wanted(byWaypoint),
      ingress: wanted(byIngress),
    })
  })
})

it('an empty selector is every workload for a sidecar, and its trace says so', () => {
  const metadata = { name: 'p', namespace: 'shop', labels: {}, annotations: {} }
  const document = { kind: 'AuthorizationPolicy', metadata, spec: { selector: { matchLabels: {} } } } as const
  const verdict = decide({ authorizationPolicies: [document] }, http, ask(), sidecar)
  expect(short(verdict)).toBe(HERE)
  expect(verdict.trace).toMatchObject([{ applies: true, attachment: 'namespace shop' }])
})

describe('whose proxy is meant', () => {
  const both = documents(policy('shop/service', toService), policy('shop/pods', 'rules: [{}]'))
  const named: Asked = { to: { service: 'shop/web' } }

  it.each([
    ['a service: its waypoint', named, undefined, HERE],
    ['a service by its name alone', { to: { service: 'web' } }, undefined, HERE],
    [
      'a service of another namespace than its pods',
      { to: { namespace: 'pods', service: 'shop/web' } },
      undefined,
      HERE,
    ],
    ['no service: the sidecar', {}, undefined, 'allow ALLOW shop/pods 0'],
    ['the enforcer wins', named, sidecar, 'allow ALLOW shop/pods 0'],
    ['the enforcer’s service wins', named, { ...waypoint, service: 'shop/api' }, NONE],
    [
      'a waypoint takes the service of the destination',
      named,
      { kind: 'waypoint', namespace: 'shop', name: 'w' },
      HERE,
    ],
    ['a waypoint without service', {}, { kind: 'waypoint', namespace: 'shop' }, NONE],
  ] as const)('%s', (_, asked: Asked, enforcer: Enforcer | undefined, wanted) => {
    expect(short(decide(both, http, ask(asked), enforcer))).toBe(wanted)
  })

  it('a waypoint that nobody names has the name that istioctl gives', () => {
    const all = documents(policy('shop/p', toWaypoint))
    expect(short(decide(all, http, ask(named)))).toBe(HERE)
    expect(short(decide(all, http, ask(named), { ...waypoint, name: 'other' }))).toBe(NONE)
  })

  it('labels of a workload are the destination’s unless the enforcer has its own', () => {
    const all = documents(policy('shop/p', selects('web')))
    const own = { kind: 'workload', namespace: 'shop' } as const
    expect(short(decide(all, http, ask(), own))).toBe(HERE)
    expect(short(decide(all, http, ask(), { ...own, labels: { app: 'api' } }))).toBe(NONE)
    expect(short(decide(all, http, ask(), { ...own, namespace: 'other' }))).toBe(NONE)
  })
})

describe('answers about attachment', () => {
  it('no ALLOW policy selected you', () => {
    expect(decide(documents(), http, ask(), waypoint).reason).toBe(
      'no ALLOW policy selected you, so what no DENY policy matches is allowed',
    )
  })

  it('the document would apply at the waypoint, and you have none', () => {
    const verdict = decide(
      documents(policy('shop/p', toService)),
      http,
      ask({ to: { service: 'shop/web' } }),
      sidecar,
    )
    expect(verdict.reason).toContain(
      'shop/p is not asked: it would apply at the waypoint of Service shop/web, and you have none here',
    )
    expect(verdict.trace).toMatchObject([{ policy: 'shop/p', applies: false, matched: false, rules: [] }])
  })

  it('a policy of the workloads is not asked at a waypoint', () => {
    expect(decide(documents(policy('shop/p', '')), http, ask(), waypoint).reason).toContain(
      'shop/p is not asked: without targetRefs it is enforced by the ztunnels of the workloads, not at a waypoint',
    )
  })

  it('policies of other namespaces are not mentioned', () => {
    expect(decide(documents(policy('other/p', '')), http, ask(), waypoint).trace).toEqual([])
  })

  it('many are counted, not listed', () => {
    const many = Array.from({ length: 9 }, (_, index) => policy(`shop/p${index}`, ''))
    expect(decide(documents(...many), http, ask(), waypoint).reason).toMatch(/; and 4 more$/)
  })
})

it('of two documents with one name the later counts', () => {
  const all = documents(policy('shop/p', toService), policy('shop/p', `${toService}\nrules: [{}]`))
  expect(short(decide(all, http, ask(), waypoint))).toBe('allow ALLOW shop/p 0')
})
