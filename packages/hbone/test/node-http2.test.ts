/** Node's own HTTP/2 as an independent peer, in both roles: bytes, ends in either order, resets, refusals. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as http2Connect,
  constants,
  createSecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { buffer } from 'node:stream/consumers'
import { connect as tlsConnect, type TLSSocket } from 'node:tls'
import type { Channel } from '@ambient/core'
import { duplexChannel } from '@ambient/core/node'
import { pump } from '@ambient/core'
import type { Tunnel } from '@ambient/hbone'
import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { db, failure, harness, later, web } from './harness.ts'

const MIB = 1 << 20
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** The far side of each tunnel: the stream of one library or the channel of the other. */
interface NodeClient {
  readonly session: ClientHttp2Session
  readonly socket: TLSSocket
  readonly open: () => ClientHttp2Stream
}

/** Node's client towards our server. */
async function nodeClient(port: number): Promise<NodeClient> {
  const socket = tlsConnect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    cert: web.certificateChain,
    key: web.privateKey(),
    ALPNProtocols: ['h2'],
  })
  await once(socket, 'secureConnect')
  const session = http2Connect('https://127.0.0.1', { createConnection: () => socket })
  session.on('error', () => {})
  later(async () => session.destroy())
  return {
    session,
    socket,
    open: () => session.request({ ':method': 'CONNECT', ':authority': '127.0.0.1:8080' }),
  }
}

/** Our client towards Node's server; `onStream` answers. */
async function nodeServer(
  onStream: (stream: ServerHttp2Stream) => void,
): Promise<{ connect: () => Promise<Tunnel>; sessions: readonly ServerHttp2Session[] }> {
  const sessions: ServerHttp2Session[] = []
  const server = createSecureServer({
    cert: db.certificateChain,
    key: db.privateKey(),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
  })
  server.on('session', session => {
    sessions.push(session)
    session.on('error', () => {})
  })
  server.on('stream', stream => {
    stream.on('error', () => {})
    onStream(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const { pool, request } = await harness({ onTunnel: () => {} })
  return { sessions, connect: () => pool.connect(request({ to: { address: '127.0.0.1', port } })) }
}

/** Our channel as a stream of bytes: what it got, and what it is to send. */
async function exchange(channel: Channel, send: Buffer, order: 'first' | 'last'): Promise<Buffer> {
  const events = new Recorder()
  channel.start(events)
  const sendAll = async (): Promise<void> => {
    for (let at = 0; at < send.length; at += 50_000) {
      const drained = events.log.filter(entry => entry === 'drained').length
      if (!channel.write(send.subarray(at, at + 50_000)))
        await events.until(() => events.log.filter(entry => entry === 'drained').length > drained)
    }
    channel.end()
  }
  if (order === 'last') await events.seen('end')
  await sendAll()
  await Promise.all([events.seen('end'), events.seen('finished')])
  expect(events.log).not.toContain('reset')
  return events.bytes
}

const status = async (stream: ClientHttp2Stream): Promise<unknown> => {
  const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
  return headers[':status']
}

describe('Node’s http2 as client', () => {
  for (const order of ['first', 'last'] as const)
    it(`8 MiB each way, our side ends ${order}`, async () => {
      const [up, down] = [randomBytes(8 * MIB), randomBytes(8 * MIB)]
      let got: Promise<Buffer> | undefined
      const { port, server } = await harness({
        onTunnel: request => {
          got = exchange(request.accept([['x', 'y']]), down, order)
        },
      })
      const { open } = await nodeClient(port.port)
      const stream = open()
      stream.end(up)
      expect(await status(stream)).toBe(200)
      expect(sha256(await buffer(stream))).toBe(sha256(down))
      expect(sha256((await got) ?? Buffer.alloc(0))).toBe(sha256(up))
      expect(server.tunnels).toBe(0)
    })

  it('50 tunnels at once through the pump', async () => {
    const { port, server } = await harness({
      onTunnel: request => void pump(request.accept(), duplexChannel(new PassThrough())),
    })
    const { open } = await nodeClient(port.port)
    const all = Array.from({ length: 50 }, async () => {
      // All of them together stay below the session memory that Node allows itself.
      const sent = randomBytes(100_000)
      const stream = open()
      stream.end(sent)
      expect((await buffer(stream)).equals(sent)).toBe(true)
    })
    await Promise.all(all)
    while (server.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
  })

  it('sees our reset as a reset, with its code', async () => {
    const { port } = await harness({
      onTunnel: request => {
        const channel = request.accept()
        channel.write(Buffer.from('some'))
        channel.reset('CONNECT_ERROR', 'the application has gone')
      },
    })
    const stream = (await nodeClient(port.port)).open()
    const ended: string[] = []
    stream.on('end', () => ended.push('end'))
    stream.resume()
    await expect(once(stream, 'close')).rejects.toThrow(/CONNECT_ERROR/)
    expect(stream.rstCode).toBe(constants.NGHTTP2_CONNECT_ERROR)
  })

  it('is seen to reset, and to die', async () => {
    const seen: Recorder[] = []
    const { port } = await harness({
      onTunnel: request => {
        const events = new Recorder()
        seen.push(events)
        request.accept().start(events)
      },
    })
    const { open, socket } = await nodeClient(port.port)
    const [first, second] = [open(), open()]
    for (const stream of [first, second]) stream.on('error', () => {})
    await Promise.all([status(first), status(second)])
    first.write('some')
    await seen[0]?.until(() => seen[0]?.received === 4)
    first.destroy(new Error('broken'))
    await seen[0]?.seen('reset')
    expect(seen[0]?.resetWith).toMatchObject({ by: 'peer', code: 'INTERNAL_ERROR' })
    expect(seen[0]?.log).not.toContain('end')
    socket.destroy()
    await seen[1]?.seen('reset')
    expect(seen[1]?.log).toEqual(['reset'])
  })

  it('is refused with a status, and with 400 for anything but CONNECT', async () => {
    const { port } = await harness({ onTunnel: request => request.refuse(401) })
    const { open, session } = await nodeClient(port.port)
    const refused = open()
    refused.resume()
    expect(await status(refused)).toBe(401)
    const get = session.request({ ':path': '/' })
    get.resume()
    expect(await status(get)).toBe(400)
  })

  it('finishes its tunnels on a retired session', async () => {
    const { port, server } = await harness({
      onTunnel: request => void pump(request.accept(), duplexChannel(new PassThrough())),
    })
    const { open, session } = await nodeClient(port.port)
    const stream = open()
    expect(await status(stream)).toBe(200)
    const goaway = once(session, 'goaway')
    server.retire()
    await goaway
    stream.end('still')
    expect((await buffer(stream)).toString()).toBe('still')
    await server.close({ graceMs: 5_000 })
  })
})

describe('Node’s http2 as server', () => {
  for (const order of ['first', 'last'] as const)
    it(`8 MiB each way, our side ends ${order}`, async () => {
      const [up, down] = [randomBytes(8 * MIB), randomBytes(8 * MIB)]
      let got: Promise<Buffer> | undefined
      const { connect } = await nodeServer(stream => {
        stream.respond({ ':status': 200 })
        got = buffer(stream)
        stream.end(down)
      })
      const { channel } = await connect()
      expect(sha256(await exchange(channel, up, order))).toBe(sha256(down))
      expect(sha256((await got) ?? Buffer.alloc(0))).toBe(sha256(up))
    })

  it('answers after we have ended', async () => {
    const { connect } = await nodeServer(stream => {
      stream.respond({ ':status': 200 })
      buffer(stream).then(bytes => stream.end(`got ${bytes.length}`))
    })
    const { channel } = await connect()
    expect((await exchange(channel, Buffer.alloc(1_000_000), 'first')).toString()).toBe('got 1000000')
  })

  it('sees our reset as one, and we see its', async () => {
    const streams: ServerHttp2Stream[] = []
    const { connect } = await nodeServer(stream => {
      stream.respond({ ':status': 200 })
      stream.resume()
      streams.push(stream)
    })
    const ours = await connect()
    ours.channel.start(new Recorder())
    ours.channel.write(Buffer.from('some'))
    ours.channel.reset('INTERNAL_ERROR', 'cut')
    const [stream] = streams
    if (stream?.closed !== true) await once(stream ?? new PassThrough(), 'close').catch(() => {})
    expect(stream?.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR)
    const theirs = await connect()
    const events = new Recorder()
    theirs.channel.start(events)
    streams[1]?.destroy(new Error('broken'))
    await events.seen('reset')
    expect(events.log).toEqual(['reset'])
  })

  it('dies, and every tunnel knows', async () => {
    const { connect, sessions } = await nodeServer(stream => stream.respond({ ':status': 200 }))
    const tunnels = await Promise.all([connect(), connect()])
    const events = tunnels.map(({ channel }) => {
      const recorder = new Recorder()
      channel.start(recorder)
      return recorder
    })
    sessions[0]?.destroy()
    await Promise.all(events.map(recorder => recorder.seen('reset')))
    for (const recorder of events) expect(recorder.log).toEqual(['reset'])
  })

  it('refuses with a status', async () => {
    const { connect } = await nodeServer(stream => stream.respond({ ':status': 503 }, { endStream: true }))
    expect(await failure(connect())).toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED', status: 503 })
  })
})
