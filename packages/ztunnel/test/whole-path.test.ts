/** Two ztunnels, real TCP, real mutual TLS: what applications see, and what is written down. */
import { createHash, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Service, Workload } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { createTestMesh, fieldsOf, policy, principal, type TestMesh, type TestNode } from './mesh.ts'
import { endpointOf, service, workload } from './fixtures.ts'
import { connectTo, loopbackAddress, readAll, readBytes, serve, type TestServer } from './sockets.ts'

interface World {
  readonly mesh: TestMesh
  readonly a: TestNode
  readonly b: TestNode
  readonly client: Workload
  readonly stranger: Workload
  readonly server: Workload
  readonly outside: Workload
  readonly web: Service
  readonly app: TestServer
}

/** `client`, `stranger` and `outside` on node a, `server` on node b behind the service `web`, port 80. */
async function world(
  onConnection: (socket: Socket) => void,
  options: { env?: Record<string, string>; server?: Partial<Workload> } = {},
): Promise<World> {
  const serverIp = loopbackAddress()
  const app = await serve(onConnection, { host: serverIp })
  const web = service('web', loopbackAddress(), { ports: new Map([[80, app.port]]) })
  const on = (name: string, parts: Partial<Workload> = {}): Workload =>
    workload(name, { addresses: [loopbackAddress()], node: 'a', ...parts })
  const client = on('client')
  const stranger = on('stranger')
  const outside = on('outside', { protocol: 'TCP' })
  const server = workload('server', {
    addresses: [serverIp],
    node: 'b',
    services: endpointOf(web),
    ...options.server,
  })
  const mesh = await createTestMesh([client, stranger, outside, server], [web])
  const [a, b] = await Promise.all([mesh.node('a', options.env), mesh.node('b', options.env)])
  return { mesh, a, b, client, stranger, outside, server, web, app }
}

const echo = (socket: Socket): void => void socket.pipe(socket)
const inbound = (record: { connection: { direction: string } }): boolean =>
  record.connection.direction === 'inbound'
const outbound = (record: { connection: { direction: string } }): boolean => !inbound(record)

describe('a call in the mesh', () => {
  it('is carried by name over mutual TLS, and written down once on each side', async () => {
    const { mesh, a, b, client, server, app } = await world(echo)
    const { socket, reply } = await mesh.connect(client, 'web', 80)
    expect(reply).toBe(0)
    socket.end('hello')
    expect(await readAll(socket)).toEqual({ text: 'hello', end: 'fin' })
    await Promise.all([mesh.record(outbound), mesh.record(inbound)])
    await Promise.all([a.ztunnel.close(), b.ztunnel.close()])

    const common = {
      'src.workload': 'client',
      'src.identity': 'spiffe://cluster.local/ns/default/sa/client',
      'dst.addr': `${server.addresses[0]}:15008`,
      'dst.hbone_addr': `${server.addresses[0]}:${app.port}`,
      'dst.service': 'web.default.svc.cluster.local',
      'dst.workload': 'server',
      'dst.identity': 'spiffe://cluster.local/ns/default/sa/server',
      bytes_sent: '5',
      bytes_recv: '5',
    }
    expect(a.access().map(fieldsOf)).toEqual([expect.objectContaining({ ...common, direction: 'outbound' })])
    expect(b.access().map(fieldsOf)).toEqual([expect.objectContaining({ ...common, direction: 'inbound' })])
    expect(a.access()[0]).toMatch(/\tinfo\taccess\tconnection complete\t/)
    expect(a.access()[0]).not.toContain('error=')
  })

  it('comes from the client’s address, as the application sees it', async () => {
    const { mesh, client } = await world(socket => socket.end(String(socket.remoteAddress)))
    const { socket } = await mesh.connect(client, 'web.default', 80)
    expect((await readAll(socket)).text).toBe(client.addresses[0])
  })

  it('lets the server speak first', async () => {
    const { mesh, client } = await world(socket => {
      socket.write('banner')
      socket.once('data', chunk => socket.end(`got ${chunk}`))
    })
    const { socket } = await mesh.connect(client, 'web', 80)
    expect((await readBytes(socket, 6)).toString()).toBe('banner')
    socket.write('x')
    expect((await readAll(socket)).text).toBe('got x')
  })

  it('keeps the halves apart: the client ends first and gets the whole answer', async () => {
    const answer = randomBytes(3 * 1024 * 1024)
    const { mesh, client } = await world(socket => {
      const hash = createHash('sha256')
      socket.on('data', chunk => hash.update(chunk))
      socket.on('end', () => {
        socket.write(hash.digest())
        socket.end(answer)
      })
    })
    const { socket } = await mesh.connect(client, 'web', 80)
    const question = randomBytes(2 * 1024 * 1024)
    socket.end(question)
    const received = Buffer.from((await readAll(socket)).text, 'latin1')
    expect(received.subarray(0, 32).equals(createHash('sha256').update(question).digest())).toBe(true)
    expect(received.subarray(32).equals(answer)).toBe(true)
    const record = await mesh.record(inbound)
    expect(record).toMatchObject({ receivedBytes: question.length, sentBytes: 32 + answer.length, flag: '-' })
  })

  it('that the application resets is a reset for the client, and the other way round', async () => {
    const { mesh, client, app, a } = await world(socket => {
      socket.once('data', chunk => {
        if (chunk.toString() === 'die') socket.resetAndDestroy()
        else socket.write('alive')
      })
    })
    const first = await mesh.connect(client, 'web', 80)
    first.socket.write('die')
    expect(await readAll(first.socket)).toEqual({ text: '', end: 'reset' })

    const second = await mesh.connect(client, 'web', 80)
    second.socket.write('live')
    await readBytes(second.socket, 5)
    const [served] = [...app.sockets]
    expect(served).toBeDefined()
    const ended = served === undefined ? undefined : readAll(served)
    second.socket.resetAndDestroy()
    expect((await ended)?.end).toBe('reset')
    await mesh.record(outbound, 2)
    await a.ztunnel.close()
    expect(a.access().map(line => fieldsOf(line)['reset'])).toEqual(['destination', 'source'])
  })

  it('to a closed port is refused with code 5 and recorded as CONNECT', async () => {
    const { mesh, client, server } = await world(echo)
    const { reply, socket } = await mesh.connect(client, server.addresses[0] ?? '', 1)
    expect(reply).toBe(5)
    expect((await readAll(socket)).end).toBe('fin')
    expect(await mesh.record(inbound)).toMatchObject({ flag: 'CONNECT' })
    expect(await mesh.record(outbound)).toMatchObject({
      flag: 'CONNECT',
      error: 'http status: 503 Service Unavailable',
    })
  })

  it('shares sessions, never between identities', async () => {
    const { mesh, client, stranger, b } = await world(echo)
    const open = await Promise.all([
      mesh.connect(client, 'web', 80),
      mesh.connect(client, 'web', 80),
      mesh.connect(stranger, 'web', 80),
    ])
    expect(open.map(({ reply }) => reply)).toEqual([0, 0, 0])
    const text = await metricsOf(b)
    expect(text).toMatch(/istio_tcp_sockets_open\{reporter="destination"\} 2\n/)
    expect(text).toMatch(
      /connections_opened_total\{.*source_principal="spiffe:\/\/cluster.local\/ns\/default\/sa\/client".*\} 2\n/,
    )
  })
})

async function metricsOf(node: TestNode): Promise<string> {
  const response = await fetch(`http://${node.ztunnel.addresses().stats[0]}/metrics`, {
    headers: { connection: 'close' },
  })
  return response.text()
}

describe('policy', () => {
  it('refuses with code 2, status 401 and the reason', async () => {
    const { mesh, client, stranger, b } = await world(echo)
    mesh.policies.replace([policy('only-client', 'Allow', { principals: [principal('client')] })])
    expect((await mesh.connect(client, 'web', 80)).reply).toBe(0)
    expect((await mesh.connect(stranger, 'web', 80)).reply).toBe(2)
    expect(await mesh.record(record => outbound(record) && record.flag !== '-')).toMatchObject({
      error: 'http status: 401 Unauthorized',
    })
    const denied = await mesh.record(record => inbound(record) && record.flag === 'DENY')
    expect(denied.error).toBe(
      'connection closed due to policy rejection: allow policies exist, but none allowed',
    )
    await b.ztunnel.close({ graceMs: 0 })
    const line = b.access().find(text => text.includes('rejection'))
    expect(fieldsOf(line ?? '')).toMatchObject({
      'src.identity': 'spiffe://cluster.local/ns/default/sa/stranger',
      policy: 'default/only-client',
    })
  })

  it('that changes closes what it no longer allows, at once, and leaves the rest alone', async () => {
    const { mesh, client, stranger, app } = await world(echo)
    const kept = await mesh.connect(client, 'web', 80)
    const cut = await mesh.connect(stranger, 'web', 80)
    cut.socket.write('x')
    await readBytes(cut.socket, 1)
    const ended = readAll(cut.socket)
    const began = Date.now()
    mesh.policies.replace([policy('no-strangers', 'Deny', { principals: [principal('stranger')] })])
    expect((await ended).end).toBe('reset')
    expect(Date.now() - began).toBeLessThan(1_000)
    expect(await mesh.record(record => inbound(record) && record.flag === 'DENY')).toMatchObject({
      error: 'connection closed due to policy change',
      denial: { reason: 'explicitly denied by: default/no-strangers' },
    })
    kept.socket.write('still')
    expect((await readBytes(kept.socket, 5)).toString()).toBe('still')
    expect(app.sockets.size).toBe(1)
  })

  it('that the workload begins to name counts for open connections', async () => {
    const { mesh, stranger, server, client, outside, web } = await world(echo)
    const cut = await mesh.connect(stranger, 'web', 80)
    const ended = readAll(cut.socket)
    const named = { ...server, authorizationPolicies: ['default/by-name'] }
    mesh.directory.replace({ workloads: [client, stranger, outside, named], services: [web] })
    mesh.policies.replace([
      policy('by-name', 'Deny', { principals: [principal('stranger')] }, { scope: 'WorkloadSelector' }),
    ])
    expect((await ended).end).toBe('reset')
  })
})

describe('plaintext', () => {
  it('from outside the mesh reaches a workload inside it by its entrance, without identity', async () => {
    const { mesh, outside, a, b } = await world(echo)
    const { socket, reply } = await mesh.connect(outside, 'web', 80)
    expect(reply).toBe(0)
    socket.end('plain')
    expect((await readAll(socket)).text).toBe('plain')
    const record = await mesh.record(inbound)
    expect(record.securityPolicy).toBe('unknown')
    expect(record.connection.source.identity).toBeUndefined()
    await Promise.all([a.ztunnel.close(), b.ztunnel.close()])
    expect(a.access()).toEqual([])
    expect(b.access().map(fieldsOf)).toEqual([
      expect.objectContaining({ 'src.workload': 'outside', bytes_sent: '5', bytes_recv: '5' }),
    ])
  })

  it('is refused where mutual TLS is required, before the application sees it', async () => {
    const { mesh, outside, client, app } = await world(echo, {
      server: { authorizationPolicies: ['istio-system/istio_converted_static_strict'] },
    })
    mesh.policies.replace([
      policy(
        'istio_converted_static_strict',
        'Deny',
        { notPrincipals: [{ kind: 'presence' }] },
        { namespace: 'istio-system', scope: 'WorkloadSelector' },
      ),
    ])
    const { socket } = await mesh.connect(outside, 'web', 80)
    socket.write('plain')
    expect(await readAll(socket)).toEqual({ text: '', end: 'reset' })
    expect(app.sockets.size).toBe(0)
    expect(await mesh.record(inbound)).toMatchObject({
      flag: 'DENY',
      denial: { reason: 'explicitly denied by: istio-system/istio_converted_static_strict' },
    })
    expect((await mesh.connect(client, 'web', 80)).reply).toBe(0)
  })

  it('to a workload outside the mesh is recorded by the client’s side alone', async () => {
    const { mesh, client } = await world(echo, { server: { protocol: 'TCP' } })
    const { socket, reply } = await mesh.connect(client, 'web', 80)
    expect(reply).toBe(0)
    socket.end('plain')
    expect((await readAll(socket)).text).toBe('plain')
    const record = await mesh.record(outbound)
    expect(record.securityPolicy).toBe('unknown')
    expect(mesh.records.filter(inbound)).toEqual([])
  })

  it('passes through to addresses that nobody knows; names that nobody knows are code 4', async () => {
    const { mesh, client } = await world(echo)
    const elsewhere = await serve(echo)
    const { socket, reply } = await mesh.connect(client, elsewhere.address, elsewhere.port)
    expect(reply).toBe(0)
    socket.end('x')
    expect((await readAll(socket)).text).toBe('x')
    expect((await mesh.connect(client, 'nobody', 80)).reply).toBe(4)
    expect((await mesh.connect(client, 'web', 81)).reply).toBe(4)
  })

  it('at the entrance without a header, or for another address, is reset', async () => {
    const { server, b, mesh } = await world(echo)
    const socket = await connectTo(server.addresses[0] ?? '', 15006)
    socket.write('GET / HTTP/1.1\r\n\r\n')
    expect((await readAll(socket)).end).toBe('reset')
    expect(mesh.records).toEqual([])
    await b.ztunnel.close()
    expect(b.access()).toHaveLength(1)
    expect(b.access()[0]).toContain('PROXY protocol header refused')
  })
})

describe('enrolment', () => {
  it('and its end change the next connection, and let the present one finish', async () => {
    const { mesh, client, server, stranger, outside, web } = await world(echo, {
      server: { protocol: 'TCP' },
    })
    const put = (protocol: 'HBONE' | 'TCP'): void =>
      void mesh.directory.apply({ workloads: [{ ...server, protocol }] })
    expect([stranger.name, outside.name, web.name]).toHaveLength(3)
    const plain = await mesh.connect(client, 'web', 80)
    put('HBONE')
    const secured = await mesh.connect(client, 'web', 80)
    put('TCP')
    const plainAgain = await mesh.connect(client, 'web', 80)
    for (const { socket } of [plain, secured, plainAgain]) {
      socket.end('x')
      expect((await readAll(socket)).text).toBe('x')
    }
    await mesh.record(outbound, 3)
    expect(mesh.records.filter(outbound).map(({ securityPolicy }) => securityPolicy)).toEqual([
      'unknown',
      'mutual_tls',
      'unknown',
    ])
  })

  it('of a new workload needs no restart; one that left is closed', async () => {
    const { mesh, client, web, b } = await world(echo)
    const late = workload('late', { addresses: [loopbackAddress()], node: 'b' })
    const app = await serve(echo, { host: late.addresses[0] ?? '' })
    mesh.directory.apply({ workloads: [late] })
    await b.line(/proxy started.*default\/late/)
    expect((await mesh.connect(client, late.addresses[0] ?? '', app.port)).reply).toBe(0)
    mesh.directory.apply({ remove: [late.uid] })
    await b.line(/proxy stopped listening.*default\/late/)
    expect(await connects(late.addresses[0] ?? '', 15008)).toBe(false)
    expect((await mesh.connect(client, web.vips[0]?.ip ?? '', 80)).reply).toBe(0)
  })
})

async function connects(host: string, port: number): Promise<boolean> {
  try {
    const socket = await connectTo(host, port)
    socket.destroy()
    return true
  } catch {
    return false
  }
}

describe('the end', () => {
  it('waits for connections, which go on working, and takes no new ones', async () => {
    const { mesh, client, b, server } = await world(echo)
    const { socket } = await mesh.connect(client, 'web', 80)
    const closing = b.ztunnel.close({ graceMs: 10_000 })
    await b.line(/proxy stopped listening.*default\/server/)
    expect(await connects(server.addresses[0] ?? '', 15008)).toBe(false)
    socket.write('going on')
    expect((await readBytes(socket, 8)).toString()).toBe('going on')
    socket.end()
    expect((await readAll(socket)).end).toBe('fin')
    await closing
    expect(b.access()).toHaveLength(1)
    expect(b.access()[0]).toMatch(/\tinfo\t/)
  })

  it('cuts what is left at the deadline, as a reset', async () => {
    const { mesh, client, b } = await world(echo)
    const { socket } = await mesh.connect(client, 'web', 80)
    const ended = readAll(socket)
    await b.ztunnel.close({ graceMs: 50 })
    expect((await ended).end).toBe('reset')
    expect(fieldsOf(b.access()[0] ?? '')).toMatchObject({
      error: 'connection closed due to connection drain',
    })
    expect(b.lines().some(line => line.includes('drain duration expired with pending connections'))).toBe(
      true,
    )
  })
})

describe('between nodes', () => {
  it('a relay carries what crosses, and only that', async () => {
    const seen: string[] = []
    const relay = await serve(socket => void relayOne(socket, seen))
    const { mesh, client, server, outside } = await world(echo, {
      env: { NODE_RELAY: `socks5://127.0.0.1:${relay.port}` },
    })
    for (const from of [client, outside]) {
      const { socket, reply } = await mesh.connect(from, 'web', 80)
      expect(reply).toBe(0)
      socket.end('marker')
      expect((await readAll(socket)).text).toBe('marker')
    }
    expect(seen).toEqual([
      `${client.addresses[0]} > ${server.addresses[0]}:15008`,
      `${outside.addresses[0]} > ${server.addresses[0]}:15006`,
    ])
  })
})

/** A SOCKS5 relay without authentication that keeps the source address. */
async function relayOne(socket: Socket, seen: string[]): Promise<void> {
  socket.pause()
  const head = await readBytes(socket, 3 + 10)
  const host = head.subarray(7, 11).join('.')
  const port = head.readUInt16BE(11)
  seen.push(`${socket.remoteAddress} > ${host}:${port}`)
  const upstream = await connectTo(host, port, socket.remoteAddress)
  socket.write(Buffer.from([5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
  upstream.pipe(socket)
  socket.pipe(upstream)
}

describe('the admin port', () => {
  it('dumps what istioctl reads, and no key', async () => {
    const { mesh, client, b, server } = await world(echo)
    await mesh.connect(client, 'web', 80)
    const response = await fetch(`http://${b.ztunnel.addresses().admin[0]}/config_dump`, {
      headers: { connection: 'close' },
    })
    const text = await response.text()
    expect(text).not.toMatch(/PRIVATE KEY|BEGIN CERT/)
    const dump: unknown = JSON.parse(text)
    expect(dump).toMatchObject({
      workloads: expect.arrayContaining([
        expect.objectContaining({ uid: server.uid, protocol: 'HBONE', workloadIps: server.addresses }),
      ]),
      services: [expect.objectContaining({ hostname: 'web.default.svc.cluster.local' })],
      certificates: [
        {
          identity: 'spiffe://cluster.local/ns/default/sa/server',
          state: 'Available',
          certChain: [expect.objectContaining({ serialNumber: expect.stringMatching(/^[0-9]+$/) })],
          rootCerts: [expect.objectContaining({ expirationTime: expect.stringMatching(/Z$/) })],
        },
      ],
      workloadState: {
        [server.uid]: {
          state: 'Up',
          connections: {
            inbound: [
              expect.objectContaining({ protocol: 'HBONE', originalDst: 'web.default.svc.cluster.local' }),
            ],
            outbound: [],
          },
          info: { name: 'server', namespace: 'default', serviceAccount: 'server' },
        },
      },
    })
  })

  it('quits', async () => {
    const { a } = await world(echo)
    const url = `http://${a.ztunnel.addresses().admin[0]}/quitquitquit`
    await fetch(url, { method: 'POST', headers: { connection: 'close' } })
    await a.ztunnel.closed
    expect(a.lines().at(-1)).toContain('shutdown complete')
  })
})
