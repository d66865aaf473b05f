/** Where connections to another network go: tables over the pure decision. */
import { describe, expect, it } from 'vitest'
import { endpointOf, service, workload } from './fixtures.ts'
import { brief, decide, gateway } from './routes.ts'

describe('another network', () => {
  const sans = { subjectAltNames: ['spiffe://cluster.local/ns/default/sa/far', 'no SPIFFE ID'] }
  const web = service('web', '10.10.0.1', sans)
  const remote = workload('web-1', {
    network: 'net2',
    capacity: 3,
    services: endpointOf(web),
    networkGateway: gateway('10.0.0.200'),
  })
  const eastwest = workload('eastwest', { addresses: ['10.0.0.200'] })

  it('is reached through its gateway, by host name and service port', () => {
    const route = decide('10.10.0.1|80', [remote, eastwest], [web])
    expect(brief(route)).toEqual({
      kind: 'gateway',
      to: '10.0.0.200:15008',
      authority: 'web.default.svc.cluster.local:80',
      gateway: ['eastwest'],
      // The service's word only: a workload of another network is none of ours to name.
      expect: ['far'],
    })
    expect(route).toMatchObject({ upstream: { name: 'eastwest' }, backends: 3 })
  })

  it('is reached through a gateway that is a service, at the port behind its own', () => {
    const entrance = service('entrance', '10.10.0.9', {
      ports: new Map([[15_009, 15_008]]),
      subjectAltNames: ['spiffe://cluster.local/ns/default/sa/entrance'],
    })
    const pod = workload('entrance-1', { addresses: ['10.0.0.201'], services: endpointOf(entrance) })
    const expected = {
      kind: 'gateway',
      to: '10.0.0.201:15008',
      gateway: ['entrance-1', 'entrance'],
      expect: ['far'],
    }
    for (const destination of [
      { kind: 'address', network: '', ip: '10.10.0.9' },
      { kind: 'hostname', namespace: 'default', hostname: 'entrance.default.svc.cluster.local' },
    ] as const) {
      const behind = { ...remote, networkGateway: { destination, hboneMtlsPort: 15_009 } }
      expect(brief(decide('10.10.0.1|80', [behind, pod], [web, entrance]))).toMatchObject(expected)
    }
  })

  it('expects what the waypoint’s service says, when a waypoint there is next', () => {
    const waypoints = service('waypoint', '10.10.0.5', {
      ports: new Map([[15_008, 15_008]]),
      subjectAltNames: ['spiffe://cluster.local/ns/default/sa/far-waypoint'],
    })
    const there = workload('waypoint-1', {
      network: 'net2',
      services: endpointOf(waypoints),
      networkGateway: gateway('10.0.0.200'),
    })
    const behind = { ...web, waypoint: gateway('10.10.0.5') }
    expect(brief(decide('10.10.0.1|80', [there, eastwest], [behind, waypoints]))).toEqual({
      kind: 'gateway',
      to: '10.0.0.200:15008',
      authority: 'web.default.svc.cluster.local:80',
      gateway: ['eastwest'],
      expect: ['far-waypoint'],
    })
  })

  it('whose gateway nobody knows, or that has none, is not reached', () => {
    expect(brief(decide('10.10.0.1|80', [remote], [web]))).toEqual({
      kind: 'refused',
      reason: 'unknown network gateway: /10.0.0.200',
    })
    const bare = { ...remote, addresses: ['10.1.0.1'] }
    delete bare.networkGateway
    expect(brief(decide('10.10.0.1|80', [bare], [web]))).toEqual({
      kind: 'refused',
      reason: 'no valid routing destination for workload: Kubernetes//Pod/default/web-1',
    })
  })
})
