/** The rule that makes a waypoint obligatory, and the older waypoint of one service account. */
import { describe, expect, it } from 'vitest'
import { requireWaypoint } from '@ambient/policy'
import type { AmbientState, DeriveInput } from '../src/index.ts'
import { derive, deriveBroken, gatewayText, namespaceText, podStatus, serviceText } from './support/derive.ts'

const USE = 'istio.io/use-waypoint'
const REQUIRED = { requireWaypoint: true } as const

function policiesOf(state: AmbientState, pod = 'web-1'): readonly string[] | undefined {
  return state.workloads.get(`Kubernetes//Pod/shop/${pod}`)?.authorizationPolicies
}

describe('a required waypoint', () => {
  const documents = [namespaceText('shop', `${USE}: wp`), gatewayText('wp'), serviceText('web')]
  const key = 'shop/istio_allow_waypoint_shop_wp'

  it('is a policy that every workload behind it lists: only the waypoint may', () => {
    const state = derive(documents, REQUIRED)
    expect(policiesOf(state)).toEqual([key])
    const { authorization } = requireWaypoint({ namespace: 'shop', name: 'wp', trustDomain: 'cluster.local' })
    expect([...state.authorizations]).toEqual([[key, authorization]])
    expect(JSON.stringify(authorization)).toContain('cluster.local/ns/shop/sa/wp')
  })

  it('is not there unless somebody asked for it', () => {
    const state = derive(documents)
    expect(policiesOf(state)).toEqual([])
    expect(state.authorizations.size).toBe(0)
  })

  it('is of the account under which the waypoint runs, and of the trust domain', () => {
    const annotated = gatewayText('wp', { annotations: 'istio.io/for-service-account: other' })
    const state = derive([documents[0] ?? '', annotated, serviceText('web')], {
      ...REQUIRED,
      trustDomain: 'td1',
    })
    expect(JSON.stringify(state.authorizations.get(key))).toContain('"td1/ns/shop/sa/other"')
  })

  it('that is missing, or is no waypoint, lets nobody in', () => {
    for (const gateways of [[], [gatewayText('wp', { className: 'nginx' })]]) {
      const state = deriveBroken([documents[0] ?? '', ...gateways, serviceText('web')], REQUIRED)
      expect(policiesOf(state)).toEqual([key])
      expect(state.authorizations.get(key)).toMatchObject({ action: 'Allow', rules: [] })
    }
  })

  it('is none for workloads that nothing leads through it', () => {
    const optedOut = [documents[0] ?? '', documents[1] ?? '', serviceText('web', { labels: `${USE}: none` })]
    expect(policiesOf(derive(optedOut, REQUIRED))).toEqual([])
    const unselected = derive(documents, { ...REQUIRED, pods: [podStatus({ labels: { app: 'other' } })] })
    expect(policiesOf(unselected)).toEqual([])
    expect(unselected.authorizations.size).toBe(0)
  })

  it('is one for each, when a pod is behind several', () => {
    const state = derive(
      [
        namespaceText('shop', `${USE}: wp`),
        gatewayText('wp'),
        gatewayText('own', { labels: 'istio.io/waypoint-for: workload' }),
        gatewayText('other'),
        serviceText('web'),
        serviceText('api', { labels: `${USE}: other`, selector: 'app: web' }),
      ],
      { ...REQUIRED, pods: [podStatus({ labels: { app: 'web', [USE]: 'own' } })] },
    )
    expect(policiesOf(state)).toEqual([
      'shop/istio_allow_waypoint_shop_other',
      'shop/istio_allow_waypoint_shop_own',
      'shop/istio_allow_waypoint_shop_wp',
    ])
  })

  it('of another namespace has its policy there', () => {
    const use = `${USE}: wp, istio.io/use-waypoint-namespace: infra`
    const gateway = gatewayText('wp', { namespace: 'infra', allowedRoutes: '{ namespaces: { from: All } }' })
    const state = derive(
      [namespaceText('infra'), namespaceText('shop', use), gateway, serviceText('web')],
      REQUIRED,
    )
    expect(policiesOf(state)).toEqual(['infra/istio_allow_waypoint_infra_wp'])
    expect([...state.authorizations.keys()]).toEqual(['infra/istio_allow_waypoint_infra_wp'])
  })
})

describe('the waypoint of a service account', () => {
  const annotated = (labels = ''): string =>
    gatewayText('wp-a', { labels, annotations: 'istio.io/for-service-account: a' })
  const pods = [
    podStatus({ name: 'web-1', serviceAccount: 'a' }),
    podStatus({ name: 'web-2', ip: '10.0.0.2', serviceAccount: 'a' }),
    podStatus({ name: 'api-1', ip: '10.0.0.3', serviceAccount: 'b', labels: { app: 'api' } }),
  ]

  /** Names of those that have a waypoint, which is `wp-a`. */
  function behind(documents: readonly string[], over: Partial<DeriveInput> = {}): readonly string[] {
    const state = derive(documents, { pods, ...over })
    return [...state.services.values(), ...state.workloads.values()].flatMap(({ name, waypoint }) => {
      if (waypoint === undefined) return []
      expect(waypoint).toEqual({
        destination: { kind: 'hostname', namespace: 'shop', hostname: 'wp-a.shop.svc.cluster.local' },
        hboneMtlsPort: 15_008,
      })
      return [name]
    })
  }

  const services = [serviceText('web'), serviceText('api'), serviceText('both', { selector: '' })]

  it('is for its workloads and for services of which all pods are its own', () => {
    expect(behind([namespaceText('shop'), annotated(), ...services])).toEqual(['web', 'web-1', 'web-2'])
  })

  it('is not for a service that has pods of another account too', () => {
    const mixed = [...pods.slice(0, 1), podStatus({ name: 'web-2', ip: '10.0.0.2', serviceAccount: 'b' })]
    expect(behind([namespaceText('shop'), annotated(), ...services], { pods: mixed })).toEqual(['web-1'])
  })

  it('is for what its label says, when it has one', () => {
    const shop = namespaceText('shop')
    expect(behind([shop, annotated('istio.io/waypoint-for: service'), ...services])).toEqual(['web'])
    expect(behind([shop, annotated('istio.io/waypoint-for: workload'), ...services])).toEqual([
      'web-1',
      'web-2',
    ])
    expect(behind([shop, annotated('istio.io/waypoint-for: none'), ...services])).toEqual([])
  })

  it('gives way to every label, also to one that says none', () => {
    expect(behind([namespaceText('shop', `${USE}: none`), annotated(), ...services])).toEqual([])
    const one = [namespaceText('shop'), annotated(), serviceText('web', { labels: `${USE}: none` })]
    expect(behind(one)).toEqual(['web-1', 'web-2'])
    const [first, ...rest] = pods
    const out = [{ ...(first ?? podStatus()), labels: { app: 'web', [USE]: 'none' } }, ...rest]
    expect(behind([namespaceText('shop'), annotated(), ...services], { pods: out })).toEqual(['web', 'web-2'])
  })

  it('is for its own namespace only', () => {
    const elsewhere = pods.map(pod => ({ ...pod, namespace: 'other' }))
    const documents = [namespaceText('shop'), namespaceText('other'), annotated(), serviceText('web')]
    expect(behind(documents, { pods: elsewhere })).toEqual([])
  })

  it('keeps its services while no pod runs, by what is to run', () => {
    const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { serviceAccountName: a, containers: [{ name: web, image: example/web:1 }] }`
    const account = 'apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a, namespace: shop }'
    const documents = [namespaceText('shop'), annotated(), serviceText('web'), account, deployment]
    expect(behind(documents, { pods: [] })).toEqual(['web'])
  })

  it('can be required', () => {
    const state = derive([namespaceText('shop'), annotated(), ...services], { ...REQUIRED, pods })
    expect(policiesOf(state, 'web-1')).toEqual(['shop/istio_allow_waypoint_shop_wp-a'])
    expect(policiesOf(state, 'api-1')).toEqual([])
    expect(JSON.stringify([...state.authorizations.values()])).toContain('"cluster.local/ns/shop/sa/a"')
  })
})
