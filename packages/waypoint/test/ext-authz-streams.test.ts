/** CUSTOM and what is more than one request with one answer: HTTP/2, trailers, gRPC callers, WebSockets. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, type ClientHttp2Session, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { text as readText } from 'node:stream/consumers'
import { describe, expect, it, vi } from 'vitest'
import { custom, grpcProvider, join, mesh } from './ext-authz-world.ts'
import { cleanup, createWorld, loopbackAddress, type World } from './world.ts'

async function session(world: World): Promise<ClientHttp2Session> {
  const socket = (await world.tunnel()).socket()
  const client = connect('http://web', { createConnection: (): Duplex => socket })
  client.on('error', () => {})
  cleanup(() => client.destroy())
  return client
}

/** Takes `web` to a server of HTTP/2 with prior knowledge that echoes bodies and trailers. */
async function echoing(world: World): Promise<void> {
  const server = createHttp2Server()
  server.on('stream', async (stream, headers) => {
    let trailer = 'none'
    stream.on('error', () => {})
    stream.on('trailers', fields => {
      trailer = String(fields['x-last'])
    })
    const body = await readText(stream)
    stream.respond({ ':status': 200, 'x-judged': String(headers['x-judged'] ?? 'no') })
    stream.end(`${body.length} ${trailer}`)
  })
  const address = loopbackAddress()
  server.listen(0, address)
  await once(server, 'listening')
  cleanup(() => server.close())
  const { port } = server.address() as AddressInfo
  const ports = new Map([[80, port]])
  world.directory.apply({
    workloads: [
      {
        ...world.server,
        addresses: [address],
        protocol: 'TCP',
        services: new Map([[`default/${world.web.hostname}`, ports]]),
      },
    ],
    services: [{ ...world.web, ports }],
    remove: [],
  })
}

describe('over HTTP/2', () => {
  it('bodies that were looked at go on whole, with their trailers, stream by stream', async () => {
    const provider = await grpcProvider(request => {
      const http = request.attributes?.request?.http
      return http?.headers['x-stop'] === undefined
        ? {
            status: { code: 0 },
            httpResponse: {
              case: 'okResponse',
              value: { headers: [{ header: { key: 'x-judged', value: http?.body ?? '' } }] },
            },
          }
        : {
            status: { code: 7 },
            httpResponse: { case: 'deniedResponse', value: { status: { code: 409 }, body: 'stop' } },
          }
    })
    const world = await createWorld({
      protocol: 'HTTP2',
      policies: [custom()],
      meshConfig: mesh({
        kind: 'Grpc',
        fields: ['includeRequestBodyInCheck: { maxRequestBytes: 3, allowPartialMessage: true }'],
      }),
    })
    join(world, provider)
    await echoing(world)
    const client = await session(world)
    const ask = async (n: number): Promise<string> => {
      const isStopped = n % 5 === 4
      const stream = client.request(
        { ':method': 'POST', ':path': `/${n}`, ...(isStopped ? { 'x-stop': '1' } : {}) },
        { waitForTrailers: true },
      )
      stream.on('error', () => {})
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-last': `t${n}` }))
      stream.end('x'.repeat(n * 1_000))
      const [head] = await once(stream, 'response')
      return `${head[':status']} ${head['x-judged'] ?? ''} ${await readText(stream)}`
    }
    const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => ask(n)))
    expect(answers).toEqual(
      Array.from({ length: 30 }, (_, n) =>
        n % 5 === 4 ? '409  stop' : `200 ${n === 0 ? '' : 'xxx'} ${n * 1_000} t${n}`,
      ),
    )
    expect(
      provider.requests.every(({ attributes }) => attributes?.request?.http?.protocol === 'HTTP/2'),
    ).toBe(true)
    client.close()
  })

  it('a stream that is reset while its provider thinks goes nowhere, and its neighbours go on', async () => {
    const waiting: (() => void)[] = []
    const provider = await grpcProvider(
      request =>
        new Promise(resolve => {
          const go = (): void => resolve({ status: { code: 0 } })
          if (request.attributes?.request?.http?.path === '/slow') waiting.push(go)
          else go()
        }),
    )
    const world = await createWorld({
      protocol: 'HTTP2',
      policies: [custom()],
      meshConfig: mesh({ kind: 'Grpc' }),
    })
    join(world, provider)
    await echoing(world)
    const client = await session(world)
    const slow = client.request({ ':path': '/slow' })
    slow.on('error', () => {})
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    slow.close(8)
    expect(await world.line(/"GET \/slow/)).toMatch(/ 0 DC /)
    const stream = client.request({ ':path': '/next' })
    const [head] = await once(stream, 'response')
    expect(head[':status']).toBe(200)
    stream.resume()
    for (const go of waiting) go()
    expect(world.requests.filter(({ path, status }) => path === '/slow' && status !== 0)).toEqual([])
    client.close()
  })
})

describe('a WebSocket', () => {
  const upgrading =
    'GET /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  const accepting = (socket: Socket): void => {
    socket.on('error', () => {})
    socket.once('data', chunk => {
      const key = /^sec-websocket-key: (.*)$/im.exec(String(chunk))?.[1]?.trim() ?? ''
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      const fields = `connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}`
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\nready`)
    })
  }

  it('is asked about once, lives on while its provider is the same, and ends with a provider that was not asked', async () => {
    const provider = await grpcProvider(() => ({ status: { code: 0 } }))
    const world = await createWorld({
      protocol: 'HTTP11',
      tcp: accepting,
      policies: [custom('ask', { paths: ['/ws'] })],
      meshConfig: mesh(
        { kind: 'Grpc', fields: ['includeRequestBodyInCheck: { maxRequestBytes: 3 }'] },
        { kind: 'Grpc', name: 'other', host: 'opa.default.svc.cluster.local' },
      ),
    })
    join(world, provider)
    const socket = (await world.tunnel()).socket()
    let text = ''
    socket.on('error', () => {})
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.write(upgrading)
    await vi.waitFor(() => expect(text).toMatch(/101 [\s\S]*ready$/))
    world.store.set({ authorizationPolicies: [custom('renamed')] })
    expect([socket.destroyed, provider.requests.length]).toEqual([false, 1])
    const closed = new Promise(resolve => socket.once('close', resolve))
    world.store.set({ authorizationPolicies: [custom('ask', { provider: 'other' })] })
    await closed
    expect(await world.line(/"GET \/ws HTTP\/1.1" 101/)).toMatch(/ext_authz_error/)
  })
})
