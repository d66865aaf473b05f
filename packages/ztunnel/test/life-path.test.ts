/** The life of a ztunnel on the whole path: workloads come and go, it drains, it shows what it holds. */
import type { Socket } from 'node:net'
import { parseSpiffeId } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import { connect } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { workload } from './fixtures.ts'
import { createTestMesh, echo, fieldsOf, outbound, SECRET, world } from './mesh.ts'
import { cleanup, connectTo, loopbackAddress, readAll, readBytes, serve, socksRequest } from './sockets.ts'

describe('enrolment', () => {
  it('and its end change the next connection, and let the present one finish', async () => {
    const { mesh, client, server } = await world(echo, {
      server: { protocol: 'TCP' },
    })
    const put = (protocol: 'HBONE' | 'TCP'): void =>
      void mesh.directory.apply({ workloads: [{ ...server, protocol }] })
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

describe('a listener that cannot bind', () => {
  it('disturbs no other workload and is tried again', async () => {
    const [taken, free] = [loopbackAddress(), loopbackAddress()]
    const blocker = await connectable(taken, 15008)
    const mesh = await createTestMesh([
      workload('taken', { addresses: [taken], node: 'a' }),
      workload('free', { addresses: [free], node: 'a' }),
    ])
    const clock = createManualClock(Date.now())
    const node = await mesh.node('a', {}, clock)
    expect(await node.line(/proxy could not start.*default\/taken/)).toContain('port 15008 is in use')
    await node.line(/proxy started.*default\/free/)
    expect(await connects(taken, 15080)).toBe(false)
    await blocker()
    clock.advance(5_000)
    await node.line(/proxy started.*default\/taken/)
    expect(await connects(taken, 15080)).toBe(true)
  })
})

/** Something else on a port; the result ends it. */
async function connectable(host: string, port: number): Promise<() => Promise<void>> {
  const listener = await listen({ host, port, onConnection: socket => void socket.destroy() })
  cleanup(() => listener.close())
  return () => listener.close()
}

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

  it('serves who was accepted before it, also in the middle of a SOCKS5 negotiation', async () => {
    const { a, client } = await world(echo)
    const address = client.addresses[0] ?? ''
    const socket = await connectTo(address, 15080, address)
    socket.write(Buffer.from([5, 1, 2]))
    expect([...(await readBytes(socket, 2))]).toEqual([5, 2])
    const closing = a.ztunnel.close({ graceMs: 10_000 })
    await a.line(/proxy stopped listening.*default\/client/)
    const [user, secret] = [Buffer.from('default/client'), Buffer.from(SECRET)]
    const request = socksRequest('web', 80)
    const password = Buffer.from([1, user.length, ...user, secret.length, ...secret])
    socket.write(Buffer.concat([password, request, Buffer.from('ping')]))
    const answer = await readBytes(socket, 2 + 10 + 4)
    expect(answer[3]).toBe(0)
    expect(answer.subarray(12).toString()).toBe('ping')
    socket.end()
    await closing
    expect(a.access()).toHaveLength(1)
  })

  it('and who was accepted but has not begun its handshake', async () => {
    const { mesh, b, client, server, app } = await world(echo)
    const address = server.addresses[0] ?? ''
    const socket = await connectTo(address, 15008)
    // Accepted in turn: when a later one works, this one is in.
    const { socket: later } = await mesh.connect(client, 'web', 80)
    later.end()
    await readAll(later)
    const closing = b.ztunnel.close({ graceMs: 10_000 })
    await b.line(/proxy stopped listening.*default\/server/)
    const tunnel = await connect({
      credentials: await mesh.credentials('client'),
      to: { address, port: 15008 },
      expect: [parseSpiffeId('spiffe://cluster.local/ns/default/sa/server')],
      authority: `${address}:${app.port}`,
      dial: () => Promise.resolve(socket),
    })
    const stream = tunnel.socket()
    stream.end('ping')
    expect((await readAll(stream)).text).toBe('ping')
    await closing
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
  await readBytes(socket, 3)
  socket.write(Buffer.from([5, 0]))
  const request = await readBytes(socket, 10)
  const host = request.subarray(4, 8).join('.')
  const port = request.readUInt16BE(8)
  seen.push(`${socket.remoteAddress} > ${host}:${port}`)
  const upstream = await connectTo(host, port, socket.remoteAddress)
  socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
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
