/** Two networks: a ztunnel in each, and between them a gateway that reads the outer CONNECT only and passes bytes on. */
import { createHash, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { type GatewayAddress, pump, type Workload } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createHboneServer, type HboneServer, type TunnelRequest } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { endpointOf, service, workload } from './fixtures.ts'
import {
  createTestMesh,
  echo,
  fieldsOf,
  inbound,
  outbound,
  policy,
  principal,
  type TestMesh,
  type TestNode,
} from './mesh.ts'
import { cleanup, loopbackAddress, readAll, serve } from './sockets.ts'

const GATEWAY_PORT = 15_443
const sanOf = (account: string): string => `spiffe://cluster.local/ns/default/sa/${account}`

interface Networks {
  readonly mesh: TestMesh
  readonly a: TestNode
  readonly b: TestNode
  readonly client: Workload
  readonly server: Workload
  readonly gateway: HboneServer
  readonly crossings: TunnelRequest[]
}

async function networks(
  onConnection: (socket: Socket) => void,
  options: { readonly sans?: readonly string[]; readonly gatewayAccount?: string } = {},
): Promise<Networks> {
  const [serverIp, gatewayIp, vip] = [loopbackAddress(), loopbackAddress(), loopbackAddress()]
  const app = await serve(onConnection, { host: serverIp })
  const web = service('web', undefined, {
    vips: [
      { network: 'net1', ip: vip },
      { network: 'net2', ip: vip },
    ],
    ports: new Map([[80, app.port]]),
    subjectAltNames: options.sans ?? [sanOf('server')],
  })
  const networkGateway: GatewayAddress = {
    destination: { kind: 'address', network: 'net2', ip: gatewayIp },
    hboneMtlsPort: GATEWAY_PORT,
  }
  const client = workload('client', { addresses: [loopbackAddress()], node: 'a', network: 'net1' })
  const server = workload('server', {
    addresses: [serverIp],
    node: 'b',
    network: 'net2',
    clusterId: 'second',
    services: endpointOf(web),
    networkGateway,
  })
  const eastwest = workload('eastwest', { addresses: [gatewayIp], node: 'elsewhere', network: 'net2' })
  const mesh = await createTestMesh([client, server, eastwest], [web])
  const { gateway, crossings } = await startGateway(mesh, gatewayIp, serverIp, options.gatewayAccount)
  const [a, b] = await Promise.all([
    mesh.node('a', { NETWORK: 'net1' }),
    mesh.node('b', { NETWORK: 'net2', CLUSTER_ID: 'second' }),
  ])
  return { mesh, a, b, client, server, gateway, crossings }
}

async function startGateway(
  mesh: TestMesh,
  gatewayIp: string,
  serverIp: string,
  account = 'eastwest',
): Promise<Pick<Networks, 'gateway' | 'crossings'>> {
  const credentials = await mesh.credentials(account)
  const crossings: TunnelRequest[] = []
  const gateway = createHboneServer({
    credentials: () => credentials,
    onTunnel: async request => {
      crossings.push(request)
      const socket = await dial({ host: serverIp, port: 15_008, timeoutMs: 1_000 })
      await pump(request.accept(), socketChannel(socket))
    },
  })
  const port = await listen({
    host: gatewayIp,
    port: GATEWAY_PORT,
    onConnection: socket => gateway.accept(socket),
  })
  cleanup(async () => {
    await port.close()
    await gateway.close({ graceMs: 0 })
  })
  return { gateway, crossings }
}

describe('a call to another network', () => {
  it('goes through the gateway, within a tunnel that the far end proves', async () => {
    const w = await networks(echo)
    const { socket, reply } = await w.mesh.connect(w.client, 'web', 80)
    expect(reply).toBe(0)
    socket.end('hello')
    expect(await readAll(socket)).toEqual({ text: 'hello', end: 'fin' })
    await Promise.all([w.mesh.record(outbound), w.mesh.record(inbound)])
    await Promise.all([w.a.ztunnel.close(), w.b.ztunnel.close()])

    const [crossing] = w.crossings
    expect(crossing?.peer.id.uri).toBe(sanOf('client'))
    expect(crossing?.authority).toBe('web.default.svc.cluster.local:80')
    expect(crossing?.headers.map(([name]) => name)).toEqual(['baggage', 'forwarded', 'traceparent'])

    const gatewayAt = `${crossing?.local.address}:${GATEWAY_PORT}`
    expect(w.a.access().map(fieldsOf)).toEqual([
      expect.objectContaining({
        'src.workload': 'client',
        'src.identity': sanOf('client'),
        'dst.addr': gatewayAt,
        'dst.hbone_addr': 'web.default.svc.cluster.local:80',
        'dst.service': 'web.default.svc.cluster.local',
        'dst.namespace': 'default',
        // From the far end's own baggage, and from what it proved.
        'dst.workload': 'server',
        'dst.cluster': 'second',
        'dst.identity': sanOf('server'),
        bytes_sent: '5',
        bytes_recv: '5',
        direction: 'outbound',
      }),
    ])
    expect(w.b.access().map(fieldsOf)).toEqual([
      expect.objectContaining({
        'src.identity': sanOf('client'),
        // From baggage: an address of another network says nothing here.
        'src.workload': 'client',
        'dst.workload': 'server',
        'dst.service': 'web.default.svc.cluster.local',
        direction: 'inbound',
      }),
    ])
  })

  it('carries much, both ways', async () => {
    const answer = randomBytes(3 * 1024 * 1024)
    const question = randomBytes(3 * 1024 * 1024)
    const w = await networks(socket => {
      const hash = createHash('sha256')
      socket.on('data', chunk => hash.update(chunk))
      socket.on('end', () => {
        socket.write(hash.digest())
        socket.end(answer)
      })
    })
    const { socket } = await w.mesh.connect(w.client, 'web', 80)
    socket.end(question)
    const received = Buffer.from((await readAll(socket)).text, 'latin1')
    expect(received.subarray(0, 32).equals(createHash('sha256').update(question).digest())).toBe(true)
    expect(received.subarray(32).equals(answer)).toBe(true)
  })

  it('shares the session within the tunnel with the next one', async () => {
    const w = await networks(echo)
    for (const text of ['one', 'two', 'three']) {
      const { socket } = await w.mesh.connect(w.client, 'web', 80)
      socket.end(text)
      expect(await readAll(socket)).toEqual({ text, end: 'fin' })
    }
    expect(w.crossings).toHaveLength(1)
  })

  it('that is cut on its way is a reset, never an end', async () => {
    const w = await networks(socket => socket.write('half'))
    const { socket } = await w.mesh.connect(w.client, 'web', 80)
    socket.once('data', () => void w.gateway.close({ graceMs: 0 }))
    expect(await readAll(socket)).toEqual({ text: 'half', end: 'reset' })
  })

  it.each(['server', 'eastwest'])('is cut when the certificate of %s is revoked', async account => {
    const w = await networks(echo)
    const { socket } = await w.mesh.connect(w.client, 'web', 80)
    const ended = w.a.ztunnel.recheckPeers(({ peer, credentials, chain, expect: expected, since }) =>
      peer.id.uri === sanOf(account)
        ? { ok: false, problem: 'revoked', reason: 'revoked' }
        : credentials.verifyPeer(chain, expected, since),
    )
    expect(ended).toBe(1)
    expect(await readAll(socket)).toEqual({ text: '', end: 'reset' })
    expect(await w.mesh.record(outbound)).toMatchObject({ flag: 'CERT_REVOKED' })
  })

  it('is judged by the far end’s policy, for the caller and not for the gateway', async () => {
    const w = await networks(echo)
    const denial = policy('no-clients', 'Deny', { principals: [principal('client')] })
    w.mesh.policies.apply({ upsert: [denial], remove: [] })
    const { reply, socket } = await w.mesh.connect(w.client, 'web', 80)
    expect(reply).toBe(2)
    socket.destroy()
    expect(await w.mesh.record(inbound)).toMatchObject({ flag: 'DENY' })
    expect(await w.mesh.record(outbound)).toMatchObject({
      flag: 'CONNECT',
      error: 'http status: 401 Unauthorized',
    })
  })
})

describe('a call to another network fails', () => {
  it.each([
    [
      'another gateway than the one expected',
      { gatewayAccount: 'imposter' },
      /peer is .*imposter, expected .*eastwest/,
    ],
    [
      'a far end that the service does not name',
      { sans: [sanOf('else')] },
      /through .*peer is .*server, expected .*else/,
    ],
    [
      'a service that names nobody: its workloads’ own identities do not count',
      { sans: [] },
      /expected nobody/,
    ],
  ])('for %s', async (_, options, error) => {
    const w = await networks(echo, options)
    const { reply, socket } = await w.mesh.connect(w.client, 'web', 80)
    expect(reply).toBe(1)
    socket.destroy()
    const record = await w.mesh.record(outbound)
    expect(record).toMatchObject({ flag: 'TLS_FAILURE' })
    expect(record.error).toMatch(error)
  })
})
