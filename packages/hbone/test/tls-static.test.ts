/** Sessions read in either way: into memory that is used again, and by events where a process cannot. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect, createSecureContext, TLSSocket } from 'node:tls'
import { type Channel, pump } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Choosy, sha256 } from '../../../test/contracts/choosy.ts'
import { allowTlsReads, proveTlsReads, readTransport } from '../src/tls-static.ts'
import { db, deferred, failure, harness, identities, later } from './harness.ts'

const context = createSecureContext({
  cert: db.certificateChain,
  key: db.privateKey(),
  minVersion: 'TLSv1.3',
})

/** Two ends of one TCP connection, gone when the test ends. */
async function socketPair(): Promise<{ readonly dialled: Socket; readonly accepted: Socket }> {
  const { promise, resolve } = deferred<Socket>()
  const port = await listen({ host: '127.0.0.1', port: 0, onConnection: resolve })
  const dialled = await dial({ host: '127.0.0.1', port: port.port })
  const accepted = await promise
  for (const socket of [dialled, accepted]) socket.on('error', () => {})
  later(async () => {
    dialled.destroy()
    accepted.destroy()
    await port.close()
  })
  return { dialled, accepted }
}

/** TLS over two streams in memory; what goes to `near` can be held back. */
async function tlsOverStreams(): Promise<{
  readonly near: TLSSocket
  readonly far: TLSSocket
  readonly hold: () => void
  readonly release: () => void
}> {
  let held: Buffer[] | undefined
  const nearEnd = new Duplex({
    read() {},
    write: (chunk: Buffer, _encoding, done) => void done(void farEnd.push(chunk)),
  })
  const farEnd = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      if (held === undefined) nearEnd.push(chunk)
      else held.push(chunk)
      done()
    },
  })
  const far = new TLSSocket(farEnd, { isServer: true, secureContext: context })
  const near = connect({ socket: nearEnd, rejectUnauthorized: false })
  for (const socket of [near, far]) socket.on('error', () => {})
  later(async () => {
    near.destroy()
    far.destroy()
  })
  await once(near, 'secureConnect')
  return {
    near,
    far,
    hold() {
      held = []
    },
    release() {
      for (const chunk of held?.splice(0) ?? []) nearEnd.push(chunk)
      held = undefined
    },
  }
}

/** Sends its bytes back, with all the back-pressure there is. */
function echo(channel: Channel): void {
  channel.start({
    data(bytes) {
      if (channel.write(bytes)) return true
      channel.pause()
      return false
    },
    drained: () => channel.resume(),
    end: () => channel.end(),
    finished() {},
    reset() {},
  })
}

it.skipIf(process.platform === 'win32')('TLS can be read statically on this Node', async () => {
  expect(await proveTlsReads(context)).toBe(true)
})

it.skipIf(process.platform === 'win32')(
  'records that wait for more come before a failure of the same turn',
  async () => {
    await proveTlsReads(context)
    const { dialled, accepted } = await socketPair()
    const far = new TLSSocket(accepted, { isServer: true, secureContext: context })
    const near = connect({ socket: dialled, rejectUnauthorized: false })
    await once(near, 'secureConnect')
    const log: (number | string)[] = []
    readTransport(near, bytes => {
      log.push(bytes.length)
      return true
    })
    near.on('error', error => log.push(error.message))
    // What gathers full records asks for the end of the turn.
    const { setImmediate: later } = globalThis
    vi.spyOn(globalThis, 'setImmediate').mockImplementationOnce((...given) => {
      near.destroy(new Error('reset'))
      return later(...given)
    })
    near.resume()
    far.write(Buffer.alloc(16_384))
    await new Promise(resolve => near.once('close', resolve))
    vi.restoreAllMocks()
    expect(log).toEqual([16_384, 'reset'])
  },
)

it.skipIf(process.platform === 'win32')(
  'what had been read before the reader came is told before a read that comes in the same turn',
  async () => {
    await proveTlsReads(context)
    const { near, far, hold, release } = await tlsOverStreams()
    far.write('first')
    // Read by the handshake's own reading, when nobody listened.
    while (near.readableLength === 0) await new Promise(resolve => setImmediate(resolve))
    hold()
    await new Promise<void>(resolve => far.write('second', () => resolve()))
    const heard: string[] = []
    const take = (bytes: Uint8Array): boolean => {
      heard.push(Buffer.from(bytes).toString())
      return true
    }
    expect(readTransport(near, take)).toBe(true)
    near.on('data', take)
    // As an outer tunnel delivers, before the tick in which the queue would be told.
    release()
    expect(heard).toEqual(['first', 'second'])
    far.write('third')
    while (heard.length < 3) await new Promise(resolve => setImmediate(resolve))
    expect(heard).toEqual(['first', 'second', 'third'])
  },
)

describe.each(['static reads', 'events'])('a session read by %s', how => {
  beforeEach(async () => {
    await proveTlsReads(context)
    allowTlsReads(how === 'static reads')
  })
  afterEach(() => allowTlsReads(true))

  it('carries 16 MiB there and back on each of four tunnels; kept views stay as they were', async () => {
    const { connect } = await harness({ onTunnel: request => echo(request.accept()) })
    const all = Array.from({ length: 4 }, async () => {
      const sent = randomBytes(16 << 20)
      const { channel } = await connect()
      const { dialled, accepted } = await socketPair()
      const choosy = new Choosy(channel)
      const source = socketChannel(accepted)
      // One direction by hand, so that the reader can be choosy.
      channel.start({
        data: bytes => choosy.data(bytes),
        end: () => choosy.end(),
        drained: () => source.resume(),
        finished() {},
        reset() {},
      })
      source.start({
        data(bytes) {
          if (channel.write(bytes)) return true
          source.pause()
          return false
        },
        end: () => channel.end(),
        drained() {},
        finished() {},
        reset() {},
      })
      dialled.end(sent)
      await choosy.ended
      expect(choosy.hash.digest('hex')).toBe(sha256(sent))
      for (const { view, digest } of choosy.kept) expect(sha256(view)).toBe(digest)
    })
    await Promise.all(all)
  })

  it('keeps many small messages apart', async () => {
    const { connect } = await harness({ onTunnel: request => echo(request.accept()) })
    const { channel } = await connect()
    const heard: Uint8Array[] = []
    const ended = new Promise<void>(resolve => {
      channel.start({
        data(bytes) {
          heard.push(bytes)
          return false
        },
        end: resolve,
        drained() {},
        finished() {},
        reset() {},
      })
    })
    let said = ''
    for (let i = 0; i < 2_000; i++) {
      channel.write(Buffer.from(`message ${i};`))
      said += `message ${i};`
      if (i % 50 === 0) await new Promise(resolve => setImmediate(resolve))
    }
    channel.end()
    await ended
    expect(Buffer.concat(heard).toString()).toBe(said)
  })

  it('passes a reset on after the bytes before it', async () => {
    const { dialled, accepted } = await socketPair()
    const { connect } = await harness({
      onTunnel: request => void pump(request.accept(), socketChannel(accepted)),
    })
    const { channel } = await connect()
    const log: string[] = []
    let received = 0
    const reset = new Promise<void>(resolve => {
      channel.start({
        data(bytes) {
          received += bytes.length
          return true
        },
        end: () => log.push('end'),
        drained() {},
        finished() {},
        reset: ({ code }) => {
          log.push(code)
          resolve()
        },
      })
    })
    dialled.write(Buffer.alloc(100_000), () => {
      const wait = (): void => void (received < 100_000 ? setImmediate(wait) : dialled.resetAndDestroy())
      wait()
    })
    await reset
    expect([received, log]).toEqual([100_000, ['CONNECT_ERROR']])
  })

  it('gives no byte of a stranger to anyone', async () => {
    const stranger = await identities.credentials({ namespace: 'shop', serviceAccount: 'stranger' })
    let asked = 0
    const { connect, server } = await harness({
      credentials: () => stranger,
      onTunnel: () => {
        asked++
      },
    })
    expect((await failure(connect())).code).toBe('AMBIENT_E_PEER_IDENTITY')
    expect([asked, server.tunnels]).toEqual([0, 0])
  })
})
