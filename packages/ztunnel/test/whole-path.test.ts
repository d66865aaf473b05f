/** Two ztunnels, real TCP, real mutual TLS: what applications see, and what is written down. */
import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { echo, fieldsOf, inbound, outbound, type TestNode, world } from './mesh.ts'
import { readAll, readBytes } from './sockets.ts'

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

describe('rotation', () => {
  it('leaves open connections alone; new ones use a session with the new certificate', async () => {
    const { mesh, client, a, b } = await world(echo, { env: { SECRET_TTL: '2s' } })
    const before = await mesh.connect(client, 'web', 80)
    const issued = /certificate available.*sa\/client/
    const count = a.lines().filter(line => issued.test(line)).length
    await a.line(issued, count + 1)
    const after = await mesh.connect(client, 'web', 80)
    for (const { socket } of [before, after]) {
      socket.write('x')
      expect((await readBytes(socket, 1)).toString()).toBe('x')
    }
    const text = await metricsOf(b)
    expect(text).toMatch(/istio_tcp_sockets_open\{reporter="destination"\} 2\n/)
    const expiry = /^istio_cert_expiry_seconds\{identity="spiffe:[^"]+"\} (\d+)$/m.exec(text)?.[1]
    expect(Math.abs(Number(expiry) - Date.now() / 1_000)).toBeLessThan(60)
  })
})

async function metricsOf(node: TestNode): Promise<string> {
  const response = await fetch(`http://${node.ztunnel.addresses().stats[0]}/metrics`, {
    headers: { connection: 'close' },
  })
  return response.text()
}
