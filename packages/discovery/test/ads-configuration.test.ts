/** Documents for waypoints over the wire: our server and our client on loopback, TLS and gRPC between them. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  type AdsClientOptions,
  type ConfigDocument,
  type ConfigType,
  type ConfigStore,
  type Configuration,
  configTypes,
  createAdsClient,
  createConfigStore,
  createDirectory,
  type ResourceType,
} from '../src/index.ts'
import { issueServer, type ServerIdentity } from './support/certificates.ts'
import { type ControlPlane, startControlPlane } from './support/control-plane.ts'
import { derive, gatewayText, namespaceText, podStatus, serviceText } from './support/derive.ts'
import { state } from './support/samples.ts'
import { httpRoute, TO, virtualService } from './support/traffic.ts'

const ROUTES: ConfigType = 'networking.istio.io/v1/VirtualService'
let identity: ServerIdentity
const opened: { close(): Promise<void> }[] = []

beforeAll(async () => {
  identity = await issueServer({ ip: ['127.0.0.1'], dns: ['localhost'] })
})

afterEach(async () => {
  for (const item of opened.splice(0).reverse()) await item.close()
})

async function controlPlane(): Promise<ControlPlane> {
  const plane = await startControlPlane(identity)
  opened.push(plane)
  return plane
}

function connect(plane: ControlPlane, over: Partial<AdsClientOptions> = {}) {
  const client = createAdsClient({
    address: plane.address,
    rootPem: () => identity.rootPem,
    node: { id: 'waypoint~127.0.0.1~waypoint-1.shop~shop.svc.cluster.local', metadata: {} },
    clusterId: 'Kubernetes',
    directory: createDirectory(),
    policies: { apply() {} },
    random: () => 1,
    ...over,
  })
  opened.push(client)
  client.start()
  return client
}

function document(name: string, spec: ConfigDocument['spec']): [string, ConfigDocument] {
  return [`shop/${name}`, { metadata: { namespace: 'shop', name, labels: {}, annotations: {} }, spec }]
}

const toHost = (host: string): ConfigDocument['spec'] => ({
  hosts: ['web'],
  http: [{ route: [{ destination: { host } }] }],
})

const routes = (...documents: [string, ConfigDocument][]): Configuration =>
  new Map([[ROUTES, new Map(documents)]])

describe('a waypoint', () => {
  it('is told all types of documents, then every change', async () => {
    const plane = await controlPlane()
    const store = createConfigStore()
    const publish = (configuration: Configuration) => plane.ads.publish({ ...state({}), configuration })
    publish(routes(document('a', toHost('one')), document('b', toHost('two'))))
    await connect(plane, { configuration: store }).ready
    expect(store.virtualServices.map(({ metadata }) => metadata.name)).toEqual(['a', 'b'])

    const { versions } = publish(routes(document('a', toHost('three'))))
    const status = await plane.client(({ types }) => types.get(ROUTES)?.acknowledged === versions.get(ROUTES))
    expect([...status.types.keys()].filter(type => configTypes.some(known => known === type)).sort()).toEqual(
      [...configTypes].sort(),
    )
    expect(store.virtualServices).toHaveLength(1)
    expect(store.virtualServices[0]?.spec.http[0]?.action).toMatchObject({
      destinations: [{ destination: { host: 'three' } }],
    })
  })

  it('refuses a bad document by its name, keeps the last good one, and takes the rest', async () => {
    const plane = await controlPlane()
    const store = createConfigStore()
    const publish = (configuration: Configuration) => plane.ads.publish({ ...state({}), configuration })
    publish(routes(document('a', toHost('one'))))
    const client = connect(plane, { configuration: store })
    await client.ready
    publish(routes(document('a', { hosts: ['web'], http: [{ rout: [] }] }), document('b', toHost('two'))))
    const status = await plane.client(({ types }) => types.get(ROUTES)?.nack !== undefined)
    expect(status.types.get(ROUTES)?.nack).toMatch(/^shop\/a: .*did you mean "route"\?/)
    expect(client.status().types.get(ROUTES)?.nack).toMatch(/^shop\/a: /)
    expect(store.virtualServices.map(({ metadata }) => metadata.name)).toEqual(['a', 'b'])
    expect(store.virtualServices[0]?.spec.http).toHaveLength(1)

    const { versions } = publish(routes(document('a', toHost('three')), document('b', toHost('two'))))
    await plane.client(({ types }) => types.get(ROUTES)?.acknowledged === versions.get(ROUTES))
    expect(client.status().types.get(ROUTES)?.nack).toBeUndefined()
  })

  it('leaves what was delivered in the store when it is closed', async () => {
    const plane = await controlPlane()
    const store = createConfigStore()
    plane.ads.publish({ ...state({}), configuration: routes(document('a', toHost('one'))) })
    const first = connect(plane, { configuration: store })
    await first.ready
    await first.close()
    expect(store.virtualServices).toHaveLength(1)
  })
})

describe('what a waypoint is told of a mesh', () => {
  const text = [
    namespaceText('shop', 'istio.io/use-waypoint: wp'),
    gatewayText('wp'),
    serviceText('web'),
    virtualService(`  http: [{ ${TO.replace('api', 'web')}, timeout: 2s }]`),
    httpRoute('backendRefs: [{ name: web, port: 80 }]'),
    `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: shop }
spec: { host: web, subsets: [{ name: v1, labels: { version: v1 } }] }`,
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec: { targetRefs: [{ group: "", kind: Service, name: web }], rules: [{}] }`,
  ]
  const sizes = (store: ConfigStore): readonly number[] => [
    store.virtualServices.length,
    store.httpRoutes.length,
    store.destinationRules.length,
    store.gateways.length,
    store.authorizationPolicies.length,
    store.podLabels('shop', 'web-1') === undefined ? 0 : 1,
  ]

  it('is every kind, each change of it, and that it is gone', async () => {
    const plane = await controlPlane()
    const store = createConfigStore()
    const settled = (versions: ReadonlyMap<ResourceType, string>) =>
      plane.client(({ types }) =>
        configTypes.every(type => types.get(type)?.acknowledged === versions.get(type)),
      )
    plane.ads.publish(derive(text))
    await connect(plane, { configuration: store }).ready
    expect(sizes(store)).toEqual([1, 1, 1, 1, 1, 1])
    expect(store.virtualServices[0]?.spec.http[0]?.timeoutMs).toBe(2_000)
    const { destinationRules } = store

    const slower = text.map(document => document.replace('2s', '3s'))
    const relabelled = podStatus({ labels: { app: 'web', version: 'v2' } })
    await settled(plane.ads.publish(derive(slower, { pods: [relabelled] })).versions)
    expect(store.virtualServices[0]?.spec.http[0]?.timeoutMs).toBe(3_000)
    expect(store.podLabels('shop', 'web-1')).toEqual({ app: 'web', version: 'v2' })
    expect(store.destinationRules).toBe(destinationRules)

    await settled(plane.ads.publish(derive([], { pods: [] })).versions)
    expect(sizes(store)).toEqual([0, 0, 0, 0, 0, 0])
  })
})

describe('a ztunnel', () => {
  it('asks for no documents, and its status says so', async () => {
    const plane = await controlPlane()
    const { versions } = plane.ads.publish({
      ...state({}),
      configuration: routes(document('a', toHost('one'))),
    })
    const client = connect(plane)
    await client.ready
    const status = await plane.client(({ connected, types }) => connected && types.size === 2)
    expect([...status.types.keys()].some(type => configTypes.some(known => known === type))).toBe(false)
    expect(versions.has(ROUTES)).toBe(true)
    expect(client.status().types.size).toBe(2)
  })
})
