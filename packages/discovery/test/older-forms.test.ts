/** Older forms: taken with a warning each, and the result is that of the present form. */
import { describe, expect, it } from 'vitest'
import { formatProblem } from '@ambient/policy'
import { deriveAmbient, readManifests } from '../src/index.ts'
import { gatewayText, inputDefaults, namespaceText, serviceText } from './support/derive.ts'
import { MESH, problemsInMesh, route, TO, virtualService } from './support/traffic.ts'

const NEW = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners:
    - { name: mesh, port: 15008, protocol: HBONE }
`
const BEHIND = [namespaceText('shop', 'istio.io/use-waypoint: waypoint'), serviceText('web')].join('\n---\n')

/** What is said of a Gateway, and what ztunnels and waypoints are told of a mesh with it. */
function meshWith(gateway: string) {
  const { resources, problems } = readManifests([
    { path: 'a.yaml', text: gateway },
    { path: 'b.yaml', text: BEHIND },
  ])
  const { services, workloads, authorizations } = deriveAmbient({
    ...inputDefaults,
    requireWaypoint: true,
    resources,
  })
  const lines = problems.filter(({ file }) => file === 'a.yaml').map(formatProblem)
  return { lines, services, workloads, authorizations }
}

describe('a waypoint', () => {
  it.each([
    [
      'of version v1beta1',
      NEW.replace('k8s.io/v1', 'k8s.io/v1beta1'),
      ['a.yaml:1:13: warning: apiVersion: v1beta1 is an older form: write gateway.networking.k8s.io/v1'],
    ],
    [
      'that listens to ALL',
      NEW.replace('HBONE', 'ALL'),
      ['a.yaml:7:44: warning: spec.listeners[0].protocol: ALL is an older form: write HBONE'],
    ],
    [
      'with a named address',
      `${NEW}  addresses: [{ type: NamedAddress, value: default }]\n`,
      [
        'a.yaml:8:15: warning: spec.addresses[0]: a named address is an older form and has no effect: leave it out',
      ],
    ],
    [
      'with the label gateway-name',
      NEW.replace('namespace: shop }', 'namespace: shop, labels: { istio.io/gateway-name: waypoint } }'),
      [
        'a.yaml:3:79: warning: metadata.labels."istio.io/gateway-name": is an older form: a waypoint is known by the name of its Gateway, and its pods by gateway.networking.k8s.io/gateway-name',
      ],
    ],
  ])('%s', (_, text, lines) => {
    const { lines: present, ...expected } = meshWith(NEW)
    expect(present).toEqual([])
    expect(expected.services.get('shop/web.shop.svc.cluster.local')?.waypoint).toBeDefined()
    expect(meshWith(text)).toEqual({ lines, ...expected })
  })

  describe('of a service account', () => {
    const annotated = (name: string): string =>
      gatewayText(name, { annotations: 'istio.io/for-service-account: a' })
    const account = 'apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a, namespace: shop }\n'
    const [place, field] = ['3:98: warning:', 'metadata.annotations."istio.io/for-service-account":']
    const older = `${field} is an older form: the waypoint runs under this account, and serves its workloads where no label istio.io/use-waypoint says otherwise`

    it('says whom it serves', () => {
      expect(problemsInMesh(`${annotated('w')}\n---\n${account}`)).toEqual([`a.yaml:${place} ${older}`])
    })

    it('that is not there serves nobody', () => {
      expect(problemsInMesh(annotated('w'))).toEqual([
        `a.yaml:${place} ${older}`,
        `a.yaml:${place} ${field} refers to the ServiceAccount shop/a, which is not defined: nobody runs under it`,
      ])
    })

    it('that has another already is not used', () => {
      expect(problemsInMesh([annotated('w'), annotated('v'), account].join('\n---\n'))).toEqual([
        `a.yaml:${place} ${older}`,
        `a.yaml:${place} ${field} the waypoint shop/v is for this account too, and is the one that is used`,
        `a.yaml:8:98: warning: ${older}`,
      ])
    })

    it('counts as the waypoint of a service that routes and policies name', () => {
      const pod = `apiVersion: v1
kind: Pod
metadata: { name: p, namespace: infra, labels: { app: p } }
spec: { serviceAccountName: a, containers: [{ name: c, image: i }] }`
      const service = `apiVersion: v1
kind: Service
metadata: { name: p, namespace: infra }
spec: { selector: { app: p }, ports: [{ port: 80 }] }`
      const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: p, namespace: infra }
spec: { parentRefs: [{ group: "", kind: Service, name: p }], rules: [{ backendRefs: [{ name: p, port: 80 }] }] }`
      const there = account.replace('shop', 'infra')
      const waypoint = gatewayText('w', {
        namespace: 'infra',
        annotations: 'istio.io/for-service-account: a',
      })
      const without = problemsInMesh([pod, service, route, there].join('\n---\n'))
      expect(without).toEqual([expect.stringContaining('the Service infra/p has no waypoint')])
      const lines = problemsInMesh([pod, service, route, there, waypoint].join('\n---\n'))
      expect(lines).toEqual([expect.stringContaining('is an older form')])
    })
  })
})

describe('a policy that selects the pods of a waypoint', () => {
  const policy = (whom: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec:
  ${whom}
  rules: [{ to: [{ operation: { methods: [GET] } }] }]
`
  const documentOf = (text: string) =>
    deriveAmbient({ ...inputDefaults, ...readManifests([{ path: 'a.yaml', text: `${text}---\n${MESH}` }]) })
      .configuration?.get('security.istio.io/v1/AuthorizationPolicy')
      ?.get('shop/p')

  it('is one whose target is the Gateway', () => {
    const old = policy('selector: { matchLabels: { istio.io/gateway-name: wp } }')
    expect(problemsInMesh(old)).toEqual([
      'a.yaml:5:13: warning: spec.selector: istio.io/gateway-name is an older form, read as targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]',
    ])
    const present = policy('targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]')
    expect(problemsInMesh(present)).toEqual([])
    expect(documentOf(old)).toBeDefined()
    expect(documentOf(old)).toEqual(documentOf(present))
  })
})

describe('a VirtualService', () => {
  it.each(['v1', 'v1beta1', 'v1alpha3'])('of version %s is read without a word', version => {
    const text = virtualService(`  http: [{ ${TO} }]`).replace('istio.io/v1', `istio.io/${version}`)
    expect(problemsInMesh(text)).toEqual([])
  })

  const specOf = (text: string) => {
    const { resources } = readManifests([{ path: 'a.yaml', text }])
    return resources.virtualServices[0]?.spec.http[0]
  }
  it.each([
    [
      'percent of a fault',
      `{ ${TO}, fault: { delay: { fixedDelay: 1s, percent: 10 } } }`,
      `{ ${TO}, fault: { delay: { fixedDelay: 1s, percentage: { value: 10 } } } }`,
      'a.yaml:7:93: warning: spec.http[0].fault.delay.percent: is an older form: write percentage: { value: … }',
    ],
    [
      'mirrorPercent',
      `{ ${TO}, mirror: { host: web }, mirrorPercent: 10 }`,
      `{ ${TO}, mirror: { host: web }, mirrorPercentage: { value: 10 } }`,
      'a.yaml:7:88: warning: spec.http[0].mirrorPercent: is an older form: write mirrorPercentage: { value: … }',
    ],
  ])('with %s', (_, old, present, line) => {
    expect(problemsInMesh(route(old))).toEqual([line])
    expect(problemsInMesh(route(present))).toEqual([])
    expect(specOf(route(old))).toEqual(specOf(route(present)))
  })
})

describe('what is in order', () => {
  it('is nothing to speak about', () => {
    expect(problemsInMesh(route(TO))).toEqual([])
    expect(
      problemsInMesh(route('route: [{ destination: { host: api, subset: v1, port: { number: 81 } } }]')),
    ).toEqual([])
  })

  it('but has no pods is said to answer 503', () => {
    const text = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: pods, namespace: shop }
spec: { host: pods, subsets: [{ name: v1, labels: { version: v1 } }, { name: v9, labels: { version: v9 } }] }
---
apiVersion: v1
kind: Service
metadata: { name: pods, namespace: shop }
spec: { selector: { app: pods }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: pods-1, namespace: shop, labels: { app: pods, version: v1 } }
spec: { containers: [{ name: c, image: i }] }
`
    expect(problemsInMesh(text)).toEqual([
      'a.yaml:4:90: warning: spec.subsets[1].labels: no pod or deployment of pods has these labels: requests for the subset v9 are answered 503 UH',
    ])
  })
})
