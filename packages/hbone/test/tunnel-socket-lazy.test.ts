/** A socket before its tunnel: what waits, what aborts, what is said once. */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { Channel } from '@ambient/core'
import { channelPair } from '@ambient/core/testing'
import { createLazyTunnelSocket, createTunnelSocket, type Tunnel, type TunnelSocket } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { db, deferred, later } from './harness.ts'

interface Waiting {
  readonly socket: TunnelSocket
  readonly signal: () => AbortSignal | undefined
  readonly far: Channel
  readonly events: Recorder
  readonly open: () => void
  readonly fail: (error: unknown) => void
}

/** A closed socket waits for its peer's end; here it comes with the end of the test. */
function pair(windowBytes = 1 << 20): { near: Channel; far: Channel; events: Recorder } {
  const [near, far] = channelPair({ windowBytes })
  const events = new Recorder()
  far.start(events)
  later(async () => far.end())
  return { near, far, events }
}

function waiting(): Waiting {
  const { near, far, events } = pair()
  const answer = deferred<Tunnel | Error>()
  let given: AbortSignal | undefined
  const socket = createLazyTunnelSocket(async signal => {
    given = signal
    const got = await answer.promise
    if (got instanceof Error) throw got
    return got
  })
  const peer = { id: db.id, address: '10.0.0.1', port: 15_008, notAfter: 0 }
  const tunnel: Tunnel = {
    channel: near,
    peer,
    local: { address: '10.0.0.2', port: 4_000 },
    responseHeaders: [],
    draining: new AbortController().signal,
    socket: () => {
      throw new Error('the channel is taken')
    },
  }
  const fail = (error: unknown): void =>
    answer.resolve(error instanceof Error ? error : new Error(String(error)))
  return { socket, signal: () => given, far, events, open: () => answer.resolve(tunnel), fail }
}

describe('a socket before its tunnel', () => {
  it('is connecting, then says so once and knows its ends', async () => {
    const { socket, open } = waiting()
    let [connects, readies] = [0, 0]
    socket.on('connect', () => connects++).on('ready', () => readies++)
    expect(socket).toMatchObject({
      connecting: true,
      pending: true,
      readyState: 'opening',
      remoteAddress: undefined,
    })
    expect([socket.address(), socket.localAddress, socket.peer]).toEqual([{}, '', undefined])
    // A driver that dials what it is given waits for the same event.
    const dialled = new Promise<void>(resolve => void socket.connect(5432, 'db', resolve))
    open()
    await dialled
    expect(socket).toMatchObject({
      connecting: false,
      readyState: 'open',
      remoteAddress: '10.0.0.1',
      localPort: 4_000,
    })
    expect(socket.peer?.uri).toBe(db.id.uri)
    await new Promise(resolve => setImmediate(resolve))
    expect([connects, readies]).toEqual([1, 1])
    socket.destroy()
  })

  it('keeps what is written, and an end, until the tunnel is there; holds its writer back', async () => {
    const { socket, events, open, far } = waiting()
    const wrote = new Promise(resolve => void socket.write('first ', resolve))
    let filled = 0
    while (socket.write(Buffer.alloc(16_384))) filled += 16_384
    expect(filled).toBeLessThan(1 << 20)
    expect(socket.writableNeedDrain).toBe(true)
    socket.end('last')
    far.write(Buffer.from('hello'))
    far.end()
    open()
    await wrote
    expect(await text(socket)).toBe('hello')
    await events.seen('end')
    expect(events.bytes.subarray(0, 6).toString()).toBe('first ')
    expect(events.bytes.subarray(-4).toString()).toBe('last')
  })

  it('destroyed, takes the attempt back; a tunnel that comes all the same is reset', async () => {
    const { socket, signal, open, events } = waiting()
    const written = new Promise(resolve => void socket.write('lost', resolve))
    await Promise.resolve()
    socket.destroy()
    expect(await once(socket, 'close')).toEqual([false])
    expect(await written).toBeInstanceOf(Error)
    expect(signal()?.aborted).toBe(true)
    expect(socket.connecting).toBe(false)
    open()
    await events.seen('reset')
  })

  it('fails with the reason of the attempt, and closes with an error', async () => {
    const { socket, fail } = waiting()
    let connected = false
    socket.on('connect', () => {
      connected = true
    })
    const [failed, closed] = [once(socket, 'error'), new Promise(resolve => socket.once('close', resolve))]
    fail(new Error('no way there'))
    expect(((await failed) as [Error])[0].message).toBe('no way there')
    expect(await closed).toBe(true)
    expect(connected).toBe(false)
  })

  it('times out while connecting, and goes on if nobody minds', async () => {
    const { socket, open, events } = waiting()
    const timedOut = once(socket, 'timeout')
    expect(socket.setTimeout(5).timeout).toBe(5)
    await timedOut
    expect(socket.destroyed).toBe(false)
    open()
    await once(socket, 'connect')
    socket.setTimeout(0).end('late')
    await events.seen('end')
    expect(events.bytes.toString()).toBe('late')
    socket.destroy()
  })

  it('destroySoon and resetAndDestroy mean what they mean later', async () => {
    const soon = waiting()
    soon.socket.write('all')
    soon.socket.destroySoon()
    soon.open()
    await soon.events.seen('end')
    expect(soon.events.bytes.toString()).toBe('all')
    const cut = waiting()
    await Promise.resolve()
    cut.socket.resetAndDestroy()
    await once(cut.socket, 'close')
    expect(cut.signal()?.aborted).toBe(true)
  })
})

describe('a tunnel’s socket, like net.Socket', () => {
  const facts = { remoteAddress: '10.0.0.1', remotePort: 80, localAddress: 'fd00::2', localPort: 4_000 }

  it('closes when the peer has ended, if it was made so', async () => {
    const { near, far, events } = pair()
    const socket = createTunnelSocket(near, { ...facts, allowHalfOpen: false })
    far.end()
    expect(await once(socket, 'close')).toEqual([false])
    await events.seen('end')
    expect(socket.localFamily).toBe('IPv6')
  })

  it('sends what was written and nothing else, when the last piece of a batch is empty', async () => {
    for (const last of ['', Buffer.alloc(0)]) {
      const { near, events } = pair()
      const socket = createTunnelSocket(near, facts)
      socket.cork()
      socket.write('HTTP/1.1 200 OK\r\n\r\nhello')
      socket.write(last)
      socket.uncork()
      socket.end()
      await events.seen('end')
      expect(events.bytes.toString()).toBe('HTTP/1.1 200 OK\r\n\r\nhello')
      socket.destroy()
    }
  })

  it('does not time out while a large write moves', async () => {
    const { near } = pair(65_536)
    const socket = createTunnelSocket(near, facts)
    let timeouts = 0
    socket.setTimeout(200).on('timeout', () => timeouts++)
    await new Promise(resolve => void socket.write(Buffer.alloc(5_000_000), resolve))
    expect(timeouts).toBe(0)
    expect(socket.bytesWritten).toBe(5_000_000)
    socket.destroy()
  })

  it('takes no length of time that is none', () => {
    const { near } = pair()
    const socket = createTunnelSocket(near, facts)
    for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => socket.setTimeout(wrong)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
    expect(socket.setTimeout(2 ** 40).timeout).toBe(2 ** 31 - 1)
    socket.destroy()
  })
})
