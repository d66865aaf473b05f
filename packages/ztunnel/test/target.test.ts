/** What a CONNECT may reach: the vectors of ztunnel's inbound tests. */
import type { GatewayAddress, Workload } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { decideTarget, guessService } from '../src/inbound/target.ts'
import { directoryOf, endpointOf, service, workload } from './fixtures.ts'

const CLIENT = '10.0.0.1'
const SERVER = '10.0.0.2'
const WAYPOINT = '10.0.0.3'
const SERVER_VIP = '10.10.0.1'
const WAYPOINT_VIP = '10.10.0.2'

interface Vector {
  readonly attached?: 'workload' | 'service'
  readonly by?: 'ip' | 'vip'
  readonly tunnel?: boolean
  readonly connected: string
  readonly target: string
}

function decide(vector: Vector) {
  const by: GatewayAddress = {
    destination: { kind: 'address', network: '', ip: vector.by === 'vip' ? WAYPOINT_VIP : WAYPOINT },
    hboneMtlsPort: 15008,
  }
  const web = service('server', SERVER_VIP, vector.attached === 'service' ? { waypoint: by } : {})
  const wpService = service('waypoint', WAYPOINT_VIP, { ports: new Map([[15008, 15008]]) })
  const client = workload('client', { addresses: [CLIENT] })
  const server = workload('server', {
    addresses: [SERVER],
    services: endpointOf(web),
    ...(vector.attached === 'workload' ? { waypoint: by } : {}),
  })
  const waypoint: Workload = workload('waypoint', {
    addresses: [WAYPOINT],
    services: endpointOf(wpService),
    ...(vector.tunnel === true ? { applicationTunnel: { protocol: 'PROXY', port: 15088 } } : {}),
  })
  return decideTarget({
    authority: vector.target,
    connected: { address: vector.connected, port: 15008 },
    workload: vector.connected === WAYPOINT ? waypoint : server,
    directory: directoryOf([client, server, waypoint], [web, wpService]),
    network: '',
    illegalPorts: new Set([15001, 15006, 15008, 15080]),
  })
}

const hop = (address: string, port: number, announce?: { address: string; port: number }) => ({
  kind: 'deliver',
  hop: { address, port },
  announce,
  onLoopback: announce !== undefined,
})

describe('delivered', () => {
  it.each([
    ['own address', { connected: SERVER, target: `${SERVER}:8080` }, hop(SERVER, 8080)],
    [
      'own service by name',
      { connected: SERVER, target: 'server.default.svc.cluster.local:80' },
      hop(SERVER, 8080),
    ],
    [
      'a workload behind us, by our address',
      { attached: 'workload', by: 'ip', connected: WAYPOINT, target: `${SERVER}:8080` },
      hop(WAYPOINT, 8080),
    ],
    [
      'a workload behind us, by our VIP',
      { attached: 'workload', by: 'vip', connected: WAYPOINT, target: `${SERVER}:8080` },
      hop(WAYPOINT, 8080),
    ],
    [
      'a workload behind us, through an application tunnel',
      { attached: 'workload', by: 'ip', tunnel: true, connected: WAYPOINT, target: `${SERVER}:8080` },
      hop(WAYPOINT, 15088, { address: SERVER, port: 8080 }),
    ],
    [
      'a service behind us, by our address',
      { attached: 'service', by: 'ip', connected: WAYPOINT, target: `${SERVER_VIP}:8080` },
      hop(WAYPOINT, 8080),
    ],
    [
      'a service behind us, by our VIP',
      { attached: 'service', by: 'vip', connected: WAYPOINT, target: `${SERVER_VIP}:8080` },
      hop(WAYPOINT, 8080),
    ],
    [
      'a service behind us, through an application tunnel',
      { attached: 'service', by: 'ip', tunnel: true, connected: WAYPOINT, target: `${SERVER_VIP}:8080` },
      hop(WAYPOINT, 15088, { address: SERVER_VIP, port: 8080 }),
    ],
  ] as const)('%s', (_, vector, expected) => {
    expect(decide(vector)).toEqual(expected)
  })
})

describe('refused', () => {
  it.each([
    [
      'another address',
      { connected: SERVER, target: `${CLIENT}:80` },
      400,
      `ip mismatch: ${SERVER} != ${CLIENT}`,
    ],
    [
      'another address, at a waypoint',
      { connected: WAYPOINT, target: `${CLIENT}:80` },
      400,
      `ip mismatch: ${WAYPOINT} != ${CLIENT}`,
    ],
    [
      'a workload whose service is behind us',
      { attached: 'service', by: 'ip', connected: WAYPOINT, target: `${SERVER}:8080` },
      400,
      `ip mismatch: ${WAYPOINT} != ${SERVER}`,
    ],
    [
      'a service whose workload is behind us',
      { attached: 'workload', by: 'ip', connected: WAYPOINT, target: `${SERVER_VIP}:8080` },
      400,
      `ip mismatch: ${WAYPOINT} != ${SERVER_VIP}`,
    ],
    [
      'an unknown name',
      { connected: SERVER, target: 'nobody.default.svc.cluster.local:80' },
      503,
      'no service or workload for hostname: nobody.default.svc.cluster.local',
    ],
    [
      'a port that the service does not have',
      { connected: SERVER, target: 'server.default.svc.cluster.local:81' },
      503,
      'requested service server.default.svc.cluster.local:81 found, but cannot resolve port',
    ],
    [
      'no port',
      { connected: SERVER, target: SERVER },
      400,
      'no valid authority pseudo header: port is missing',
    ],
    [
      'an ambiguous address',
      { connected: SERVER, target: '010.0.0.2:80' },
      400,
      'no valid authority pseudo header: host looks like a malformed IPv4 address',
    ],
  ] as const)('%s', (_, vector, status, reason) => {
    expect(decide(vector)).toEqual({ kind: 'refuse', status, reason })
  })

  it.each([15001, 15006, 15008, 15080])('our own port %i', port => {
    expect(decide({ connected: SERVER, target: `${SERVER}:${port}` })).toEqual({
      kind: 'refuse',
      status: 503,
      reason: 'attempted recursive call to ourselves',
    })
  })

  it.each([15000, 15020, 15021, 15090])('but not port %i, which is the application’s', port => {
    expect(decide({ connected: SERVER, target: `${SERVER}:${port}` })).toMatchObject({ kind: 'deliver' })
  })
})

describe('the service that telemetry names', () => {
  const [a, b] = [service('a', '10.10.0.1'), service('b', '10.10.0.2')]
  const server = workload('server', { addresses: [SERVER], services: endpointOf(a, b) })
  const directory = directoryOf([server], [a, b])
  const guess = (port: number, forwardedHost?: string) =>
    guessService({ workload: server, directory, port, forwardedHost })?.name

  it('is the one that the client meant, else the first with that port, else none', () => {
    expect(guess(8080, 'b.default.svc.cluster.local')).toBe('b')
    expect(guess(8080)).toBe('a')
    expect(guess(8080, 'elsewhere.example')).toBe('a')
    expect(guess(9999)).toBeUndefined()
  })
})
