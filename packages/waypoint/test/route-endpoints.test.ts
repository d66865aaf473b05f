/** From a cluster to one endpoint: subsets, target ports, balancing; and tables that are kept until something changes. */
import { createDirectory } from '@ambient/discovery'
import { describe, expect, it } from 'vitest'
import { createBalancer } from '../src/route/balancer.ts'
import { clusterName } from '../src/route/cluster-name.ts'
import { type ResolvedCluster, resolveCluster } from '../src/route/endpoints.ts'
import type { ClusterRef } from '../src/route/ir.ts'
import { createSwitchboard } from '../src/route/tables.ts'
import { podOf, readConfig, reviews, seeded, serviceOf } from './route-fixtures.ts'

const RULE = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews, namespace: shop }
spec:
  host: reviews
  trafficPolicy: { loadBalancer: { simple: RANDOM } }
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 }, trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }
`
const pods = [
  podOf('v1-a', reviews, { addresses: ['10.0.0.1'] }),
  podOf('v2-a', reviews, { addresses: ['10.0.0.2'] }),
  podOf('v2-b', reviews, { addresses: ['10.0.0.3'], protocol: 'TCP' }),
  podOf('v2-sick', reviews, { addresses: ['10.0.0.4'], status: 'Unhealthy' }),
]

function resolve(parts: Partial<ClusterRef> = {}, documents = RULE): ResolvedCluster {
  const directory = createDirectory()
  directory.apply({ workloads: pods, services: [reviews] })
  const { destinationRules } = readConfig(documents)
  const podLabels = (_: string, name: string): Record<string, string> => ({ version: name.slice(0, 2) })
  const cluster = { namespace: 'shop', hostname: reviews.hostname, port: 80, subset: undefined, ...parts }
  return resolveCluster({ cluster, directory, config: { destinationRules, podLabels } })
}
const names = ({ endpoints }: ResolvedCluster): readonly string[] =>
  endpoints.map(one => one.workload.name).sort()

describe('a cluster', () => {
  it('has the healthy endpoints, at their target port', () => {
    const cluster = resolve()
    expect(names(cluster)).toEqual(['v1-a', 'v2-a', 'v2-b'])
    expect(cluster.endpoints.find(({ address }) => address === '10.0.0.3')).toMatchObject({
      port: 8080,
      hbone: false,
    })
    expect(cluster.loadBalancer).toBe('RANDOM')
  })

  it('of a subset has those with its labels, and its own way of balancing', () => {
    const cluster = resolve({ subset: 'v2' })
    expect(names(cluster)).toEqual(['v2-a', 'v2-b'])
    expect(cluster.loadBalancer).toBe('ROUND_ROBIN')
  })

  it('that is unknown in any part has no endpoints', () => {
    for (const parts of [{ subset: 'v9' }, { port: 81 }, { hostname: 'nobody.shop.svc.cluster.local' }])
      expect(resolve(parts).endpoints).toEqual([])
  })

  it('is called as Istio calls it', () => {
    const cluster = { namespace: 'shop', hostname: 'h', port: 80, subset: 'v1' }
    expect(clusterName(cluster, 'inbound-vip', 'http')).toBe('inbound-vip|80|http/v1|h')
    expect(clusterName({ ...cluster, subset: undefined }, 'inbound-vip', 'tcp')).toBe('inbound-vip|80|tcp|h')
    expect(clusterName(cluster, 'outbound', 'http')).toBe('outbound|80|v1|h')
  })
})

describe('the balancer', () => {
  it('LEAST_REQUEST takes the less busy of two, and counts until it is released', () => {
    const cluster = resolve({}, '')
    expect(cluster.loadBalancer).toBe('LEAST_REQUEST')
    const balancer = createBalancer(seeded(1))
    const leases = Array.from({ length: 300 }, () => balancer.pick(cluster))
    const counts = names(cluster).map(
      name => leases.filter(lease => lease?.endpoint.workload.name === name).length,
    )
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThan(10)
    for (const lease of [...leases, ...leases]) lease?.release()
    expect(balancer.active).toBe(0)
  })

  it('spreads requests that come one after the other', () => {
    const balancer = createBalancer(seeded(2))
    const cluster = resolve({}, '')
    const seen = new Map<string, number>()
    for (let request = 0; request < 3_000; request++) {
      const lease = balancer.pick(cluster)
      const name = lease?.endpoint.workload.name ?? ''
      seen.set(name, (seen.get(name) ?? 0) + 1)
      lease?.release()
    }
    for (const count of seen.values())
      expect(Math.abs(count - 1_000)).toBeLessThan(3 * Math.sqrt(3_000 * (2 / 9)))
    expect(seen.size).toBe(3)
  })

  it('ROUND_ROBIN goes in turn', () => {
    const balancer = createBalancer(() => 0)
    const cluster = resolve({ subset: 'v2' })
    const turns = [1, 2, 3, 4].map(() => balancer.pick(cluster)?.endpoint.address)
    expect(turns).toEqual([turns[0], turns[1], turns[0], turns[1]])
    expect(turns[0]).not.toBe(turns[1])
  })

  it('leaves out what was tried as long as there are others', () => {
    const balancer = createBalancer(seeded(4))
    const cluster = resolve()
    const tried = new Set<string>()
    for (const _ of cluster.endpoints) tried.add(balancer.pick(cluster, tried)?.endpoint.key ?? '')
    expect(tried.size).toBe(3)
    expect(balancer.pick(cluster, tried)).toBeDefined()
    expect(balancer.pick(resolve({ port: 81 }))).toBeUndefined()
  })
})

describe('the switchboard', () => {
  it('keeps tables and clusters until configuration or directory changes', () => {
    const directory = createDirectory()
    directory.apply({ workloads: pods, services: [reviews] })
    const listeners = new Set<() => void>()
    const config = {
      ...readConfig(RULE),
      podLabels: () => ({}),
      watch: (listener: () => void) => {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
    }
    const board = createSwitchboard({
      directory,
      config,
      gatewayNamespace: 'shop',
      clusterDomain: 'cluster.local',
    })
    const cluster = { namespace: 'shop', hostname: reviews.hostname, port: 80, subset: undefined }
    const [table, resolved] = [board.tableFor(reviews, 80), board.resolve(cluster)]
    expect(board.tableFor(reviews, 80)).toBe(table)
    expect(board.resolve(cluster)).toBe(resolved)
    directory.apply({ workloads: [podOf('v3-a', reviews, { addresses: ['10.0.0.5'] })] })
    expect(board.tableFor(reviews, 80)).toBe(table)
    expect(board.resolve(cluster).endpoints).toHaveLength(4)
    directory.apply({ services: [serviceOf('new')] })
    expect(board.tableFor(reviews, 80)).not.toBe(table)
    const second = board.tableFor(reviews, 80)
    for (const listener of listeners) listener()
    expect(board.tableFor(reviews, 80)).not.toBe(second)
    board.close()
    expect(listeners.size).toBe(0)
  })
})
