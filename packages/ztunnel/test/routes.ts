/** The route decision as tables ask it, and as they want to see it. */
import type { GatewayAddress, Service, Workload } from '@ambient/core'
import { decideRoute, type Route, type RouteQuestion } from '../src/outbound/route.ts'
import { directoryOf, workload } from './fixtures.ts'

const illegalPorts = new Set([15001, 15006, 15008])
export const client = workload('client', { addresses: ['10.0.0.9'] })

export function decide(
  destination: string,
  workloads: readonly Workload[],
  services: readonly Service[] = [],
  more: Partial<RouteQuestion> = {},
): Route {
  const [address = '', port = ''] = destination.split('|')
  return decideRoute({
    source: client,
    destination: { address, port: Number(port) },
    directory: directoryOf([client, ...workloads], services),
    network: '',
    trustDomain: 'cluster.local',
    random: () => 0,
    hbonePort: 15008,
    illegalPorts,
    ...more,
  })
}

/** The parts that a table wants to see. */
export function brief(route: Route): Record<string, unknown> {
  switch (route.kind) {
    case 'passthrough':
      return { kind: route.kind, to: `${route.to.address}:${route.to.port}` }
    case 'plaintext':
      return { kind: route.kind, to: `${route.to.address}:${route.to.port}`, upstream: route.upstream.name }
    case 'tunnel':
      return {
        kind: route.kind,
        via: route.via,
        to: `${route.to.address}:${route.to.port}`,
        authority: route.authority,
        expect: route.expect.map(id => id.uri.replace('spiffe://cluster.local/ns/default/sa/', '')),
      }
    case 'gateway':
      return {
        kind: route.kind,
        to: `${route.to.address}:${route.to.port}`,
        authority: route.authority,
        gateway: route.gateway.map(id => id.uri.replace('spiffe://cluster.local/ns/default/sa/', '')),
        expect: route.expect.map(id => id.uri.replace('spiffe://cluster.local/ns/default/sa/', '')),
      }
    case 'refused':
      return { kind: route.kind, reason: route.reason }
  }
}

export function gateway(ip: string): GatewayAddress {
  return { destination: { kind: 'address', network: '', ip }, hboneMtlsPort: 15008 }
}
