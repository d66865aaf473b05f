/** Start, admin and drain of a waypoint. */
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { dial } from '@ambient/core/node'
import { createLocalSigner } from '@ambient/identity'
import { createTestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { configFromEnvironment, createWaypoint, type Waypoint } from '../src/index.ts'
import { cleanup, createWorld } from './world.ts'

describe('the endpoints', () => {
  it('tell that it is ready, what it serves, and end it', async () => {
    const world = await createWorld()
    const readiness = `http://${world.waypointIp}:15021/healthz/ready`
    const ready = await fetch(readiness, { headers: { connection: 'close' } })
    expect([ready.status, await ready.text()]).toEqual([200, 'ready\n'])
    expect(world.waypoint.addresses()).toEqual({
      hbone: [`${world.waypointIp}:15008`],
      admin: [`${world.waypointIp}:15000`],
      stats: [`${world.waypointIp}:15020`],
      readiness: [`${world.waypointIp}:15021`],
    })
    const dump = await world.admin('/config_dump')
    expect(JSON.parse(dump.body)).toMatchObject({
      config: { gateway: { namespace: 'default', name: 'waypoint' }, tracing: { endpoint: null } },
      services: [
        {
          hostname: 'web.default.svc.cluster.local',
          ports: { '80': { http: [{ name: 'default', from: 'implicit', action: 'forward' }] } },
          endpoints: [{ uid: 'Kubernetes//Pod/default/server' }],
        },
      ],
      clusters: [
        'inbound-vip|80|http|web.default.svc.cluster.local',
        'inbound-vip|80|tcp|web.default.svc.cluster.local',
      ],
      certificates: [{ identity: 'spiffe://cluster.local/ns/default/sa/waypoint', state: 'Available' }],
    })
    expect(dump.body).not.toMatch(/PRIVATE/)
    expect((await world.admin('/logging?level=debug', 'POST')).body).toContain('info,debug')
    expect((await world.admin('/quitquitquit', 'POST')).status).toBe(200)
    await world.waypoint.closed
  })
})

describe('metrics', () => {
  it('of a request have Istio’s labels in Istio’s order, and Envoy’s buckets', async () => {
    const world = await createWorld()
    await world.fetch('/', { method: 'POST', body: 'hello' })
    const metrics = await world.metrics()
    const labels =
      'reporter="waypoint",source_workload="client",source_canonical_service="client",source_canonical_revision="v1",source_workload_namespace="default",source_principal="spiffe://cluster.local/ns/default/sa/client",source_app="client",source_version="v1",source_cluster="Kubernetes",destination_workload="server",destination_workload_namespace="default",destination_app="server",destination_version="v1",destination_canonical_service="server",destination_canonical_revision="v1",destination_cluster="Kubernetes",destination_principal="spiffe://cluster.local/ns/default/sa/server",destination_service="web.default.svc.cluster.local",destination_service_name="web",destination_service_namespace="default",request_protocol="http",response_code="200",response_flags="-",connection_security_policy="mutual_tls"'
    expect(metrics).toContain(`istio_requests_total{${labels}} 1\n`)
    for (const name of [
      'istio_request_duration_milliseconds',
      'istio_request_bytes',
      'istio_response_bytes',
    ]) {
      expect(metrics).toContain(`# TYPE ${name} histogram\n`)
      expect(metrics).toContain(`${name}_bucket{${labels},le="+Inf"} 1\n`)
      expect(metrics).toContain(`${name}_count{${labels}} 1\n`)
    }
    expect(metrics).toContain('istio_build{component="proxy",tag="')
    expect(metrics.endsWith('# EOF\n')).toBe(true)
  })

  it('from a caller that discovery does not know come from baggage and its certificate', async () => {
    const world = await createWorld()
    world.directory.apply({ workloads: [world.server], removed: [world.client.uid] } as never)
    await world.fetch('/', {
      account: 'stranger',
      headers: [['baggage', 'k8s.cluster.name=far,k8s.namespace.name=lies,k8s.deployment.name=caller']],
    })
    expect(await world.metrics()).toMatch(
      /istio_requests_total\{reporter="waypoint",source_workload="(caller|client)",.*source_workload_namespace="default",source_principal="spiffe:\/\/cluster\.local\/ns\/default\/sa\/stranger"/,
    )
  })
})

describe('a drain', () => {
  it('lets a request finish, tells the caller to leave, and takes no new connection', async () => {
    let answer: () => void = () => {}
    const world = await createWorld({
      app: (_request, response) => {
        answer = () => void response.end('late')
        response.flushHeaders()
      },
    })
    const socket = (await world.tunnel()).socket()
    const request = httpRequest({
      path: '/',
      headers: { host: 'web' },
      createConnection: () => socket as unknown as Socket,
    })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const closing = world.waypoint.close({ graceMs: 10_000 })
    await world.line(/draining/)
    await expect(dial({ host: world.waypointIp, port: 15008 })).rejects.toThrow('ECONNREFUSED')
    answer()
    expect(await text(response)).toBe('late')
    await closing
    expect(world.requests).toMatchObject([{ status: 200 }])
    expect(world.lines().filter(line => line.includes('"GET / '))).toHaveLength(1)
  })

  it('of an idle waypoint is short, however long it may take', async () => {
    const world = await createWorld()
    const tunnel = await world.tunnel()
    const socket = tunnel.socket()
    expect(await exchangeKeptAlive(socket as unknown as Socket)).toBe('hello')
    const ended = once(socket, 'close')
    await world.waypoint.close({ graceMs: 60_000 })
    await ended
  })

  it('cuts what outlives it, and says so', async () => {
    const world = await createWorld({ protocol: 'TCP', tcp: socket => void socket.write('hello') })
    const socket = (await world.tunnel()).socket()
    await once(socket, 'data')
    const failed = once(socket, 'error')
    await world.waypoint.close({ graceMs: 1 })
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(world.connections).toMatchObject([{ error: 'connection closed due to connection drain' }])
    expect(await world.line(/drain duration expired/)).toContain('connections=1')
  })

  it('fails readiness at once', async () => {
    const world = await createWorld({
      protocol: 'TCP',
      tcp: socket =>
        void socket
          .resume()
          .on('end', () => socket.end())
          .write('hello'),
    })
    const socket = (await world.tunnel()).socket()
    await once(socket, 'data')
    const closing = world.waypoint.close({ graceMs: 10_000 })
    const ready = await fetch(`http://${world.waypointIp}:15021/healthz/ready`, {
      headers: { connection: 'close' },
    })
    expect([ready.status, await ready.text()]).toEqual([500, 'not ready, pending: draining\n'])
    socket.destroy()
    await closing
  })
})

/** One request on a connection that stays. */
async function exchangeKeptAlive(socket: Socket): Promise<string> {
  socket.on('end', () => socket.end())
  const request = httpRequest({
    path: '/',
    headers: { host: 'web', connection: 'keep-alive' },
    createConnection: () => socket,
  })
  request.end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return text(response)
}

describe('a port that somebody has', () => {
  it('ends the waypoint, and `ready` says why', async () => {
    const { waypoint, waypointIp } = await createWorld()
    const other = createServer()
    await waypoint.close()
    other.listen(15008, waypointIp)
    await once(other, 'listening')
    cleanup(() => void other.close())
    const again = await createWaypointAt(waypointIp)
    await again.start()
    await expect(again.ready).rejects.toThrow(`cannot listen on ${waypointIp}:15008: port 15008 is in use`)
    await again.closed
    await expect(again.start()).rejects.toMatchObject({ code: 'AMBIENT_E_CLOSED' })
  })
})

async function createWaypointAt(ip: string): Promise<Waypoint> {
  const env = { POD_NAMESPACE: 'a', GATEWAY_NAME: 'w', INSTANCE_IP: ip, XDS_ADDRESS: '', CA_ADDRESS: '' }
  const { ca } = await createTestIdentities()
  return createWaypoint({
    config: configFromEnvironment(env, { read: () => undefined }),
    signer: createLocalSigner(ca),
  })
}
