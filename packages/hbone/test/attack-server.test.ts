/** Clients that break rules or waste our time: the one session ends in time with the right code, its neighbour lives on. */
import { once } from 'node:events'
import { type Channel, silentLogger } from '@ambient/core'
import type { HboneFailure } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { encodeHeaders, type HeaderList } from '../src/http2/hpack.ts'
import { bomb, CODE, many, onConnection, onServer, onStream, REFUSED, UNANSWERED } from './attack-rows.ts'
import { onTunnel, victim } from './attack-victim.ts'
import { db, emptied, failure, harness, web } from './harness.ts'
import { CONNECT, frame, rawClient, type RawPeer, request, setting, TYPE, uint32 } from './raw-peer.ts'

/** Each ends the session within this time. */
const LIMIT_MS = 2_000

async function attacker(port: number, withStream: boolean): Promise<RawPeer> {
  const peer = await rawClient(port, web)
  peer.settings()
  if (withStream) {
    peer.write(request(1))
    await peer.until(() => peer.find(TYPE.headers, 1) !== undefined)
  }
  await peer.sync()
  return peer
}

async function answerPing(peer: RawPeer): Promise<void> {
  const asked = () => peer.all(TYPE.ping).find(entry => entry.flags === 0)
  await peer.until(() => asked() !== undefined)
  peer.write(frame(TYPE.ping, 1, 0, asked()?.payload ?? ''))
}

const attacks = [
  ...Object.entries({ ...onConnection, ...onServer }).map(row => ({ row, withStream: false })),
  ...Object.entries(onStream).map(row => ({ row, withStream: true })),
]

describe('a session ends', () => {
  for (const { row, withStream } of attacks) {
    const [name, [code, bytes]] = row
    it(`with its code after ${name}`, { timeout: 5_000 }, async () => {
      const { at, neighbour } = await victim()
      const peer = await attacker(at.port.port, withStream)
      const since = performance.now()
      peer.write(bytes)
      await peer.closed
      expect(performance.now() - since).toBeLessThan(LIMIT_MS)
      expect(peer.goawayCode).toBe(code)
      await neighbour()
      expect([at.server.sessions, at.server.tunnels]).toEqual([1, 1])
    })
  }

  for (const { row, withStream } of attacks) {
    const [name, [, bytes]] = row
    it(`when nobody reads its answers after ${name}`, { timeout: 5_000 }, async () => {
      const { at, neighbour } = await victim()
      const peer = await attacker(at.port.port, withStream)
      peer.socket.pause()
      const since = performance.now()
      peer.write(bytes)
      await emptied(at.server, 1)
      expect(performance.now() - since).toBeLessThan(LIMIT_MS)
      await neighbour()
      expect([at.server.sessions, at.server.tunnels]).toEqual([1, 1])
    })
  }

  it('that does not begin with SETTINGS, or not with HTTP/2', async () => {
    const { at, neighbour } = await victim()
    const early = await rawClient(at.port.port, web)
    early.write(request(1))
    await early.closed
    expect(early.goawayCode).toBe(CODE.protocol)
    const other = await rawClient(at.port.port, web)
    // The preface was said already, so this is no frame; a preface of another protocol is the same to the reader.
    other.write(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
    await other.closed
    expect(other.goawayCode).toBe(CODE.frameSize)
    await neighbour()
  })

  it('that asks and asks and reads none of the answers', { timeout: 10_000 }, async () => {
    const { at, neighbour } = await victim()
    const peer = await attacker(at.port.port, false)
    peer.socket.pause()
    let id = 1
    const one = (): Buffer => {
      id += 2
      return request(id, 5, REFUSED)
    }
    while (at.server.sessions > 1 && id < 100_000) {
      if (!peer.socket.destroyed) peer.write(many(100, one))
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(at.server.sessions).toBe(1)
    await neighbour()
  })

  it('that uploads for ever and does not read that it may', { timeout: 20_000 }, async () => {
    const at = await harness({
      onTunnel: tunnel => {
        const channel = tunnel.accept()
        // Takes everything, and has said more than the peer ever reads.
        channel.start({
          ...new Recorder(),
          data: () => true,
          end() {},
          drained() {},
          finished() {},
          reset() {},
        })
        // More than the kernel holds for a peer that reads nothing.
        channel.write(Buffer.alloc(32 << 20))
      },
      limits: { maxQueuedControlFrames: 20 },
    })
    const peer = await attacker(at.port.port, false)
    peer.write(frame(TYPE.settings, 0, 0, setting(4, 0x7fff_ffff)), frame(TYPE.update, 0, 0, uint32(1 << 30)))
    peer.write(request(1))
    await peer.until(() => peer.find(TYPE.data, 1) !== undefined)
    peer.socket.pause()
    const piece = frame(TYPE.data, 0, 1, Buffer.alloc(16_384))
    for (let sent = 0; at.server.sessions > 0 && sent < 20_000; sent++) {
      if (!peer.socket.destroyed) peer.write(piece)
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(at.server.sessions).toBe(0)
  })

  it('that floods streams after the last GOAWAY', async () => {
    const { at, neighbour } = await victim()
    const peer = await attacker(at.port.port, true)
    at.server.retire()
    await answerPing(peer)
    await peer.until(() => peer.all(TYPE.goaway).length === 2)
    peer.write(many(20_000, index => request(2 * index + 3)))
    await peer.closed
    expect(peer.goawayCode).toBe(CODE.calm)
    await neighbour()
  })
})

describe('a session lives', () => {
  it('with as many streams as were announced; more are refused', async () => {
    const at = await harness({
      onTunnel: tunnel => void tunnel.accept(),
      limits: { maxConcurrentStreams: 3 },
    })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    await peer.until(() => peer.find(TYPE.settings) !== undefined)
    expect(peer.find(TYPE.settings)?.payload.subarray(0, 6)).toEqual(setting(3, 3))
    peer.write(...[1, 3, 5, 7].map(id => request(id)))
    await peer.until(() => peer.find(TYPE.reset) !== undefined)
    expect(peer.find(TYPE.reset)).toMatchObject({ id: 7, payload: uint32(CODE.refused) })
    peer.write(frame(TYPE.reset, 0, 1, uint32(8)), request(9))
    await peer.until(() => peer.find(TYPE.headers, 9) !== undefined)
    expect(at.server.tunnels).toBe(3)
  })

  it('without room for bytes in streams that it has reset', async () => {
    const channels: Channel[] = []
    const at = await harness({
      onTunnel: tunnel => {
        const channel = tunnel.accept()
        channels.push(channel)
        channel.start(new Recorder())
        channel.pause()
      },
      limits: { maxConcurrentStreams: 3 },
    })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    for (const id of [1, 3, 5]) {
      peer.write(request(id))
      await peer.until(() => peer.find(TYPE.headers, id) !== undefined)
      peer.write(frame(TYPE.data, 0, id, Buffer.alloc(16_384)), frame(TYPE.reset, 0, id, uint32(2)))
    }
    peer.write(request(7))
    await peer.until(() => peer.find(TYPE.reset, 7) !== undefined)
    expect(at.server.tunnels).toBe(0)
    // Once a reader has taken what is its own, there is room again.
    for (const channel of channels) channel.resume()
    peer.write(request(9))
    await peer.until(() => peer.find(TYPE.headers, 9) !== undefined)
  })

  const lists: Readonly<Record<string, Buffer>> = {
    'an entry of 4 KB thirty times': Buffer.concat([encodeHeaders(CONNECT), bomb(30)]),
    'a thousand fields': encodeHeaders([...CONNECT, ...fields(1_000, 'x')]),
    'two thousand crumbs of a cookie (CVE-2026-47774)': encodeHeaders([
      ...CONNECT,
      ...fields(2_000, 'cookie'),
    ]),
    'one field more than is allowed': encodeHeaders([...CONNECT, ...fields(99, 'x')]),
  }
  for (const [name, block] of Object.entries(lists))
    it(`when a list of headers is too long: ${name}`, async () => {
      const { at, neighbour } = await victim()
      const peer = await rawClient(at.port.port, web)
      peer.settings()
      peer.write(frame(TYPE.headers, 4, 1, block), request(3))
      await peer.until(() => peer.find(TYPE.headers, 3) !== undefined)
      expect(peer.find(TYPE.reset)).toMatchObject({ id: 1, payload: uint32(CODE.calm) })
      await neighbour()
    })

  it('with as many fields and as many bytes of headers as are allowed, and not with one more', async () => {
    const { at } = await victim()
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    // Of 65,536 bytes the pseudo headers take 7 + 7 + 32 and 10 + 14 + 32, the field its name and 32.
    const left = 65_536 - 46 - 56 - 33
    const heads = [
      [...CONNECT, ...fields(98, 'x')],
      [...CONNECT, ['x', 'y'.repeat(left)]],
      [...CONNECT, ['x', 'y'.repeat(left + 1)]],
    ] satisfies HeaderList[]
    for (const [index, head] of heads.entries()) {
      const block = encodeHeaders(head)
      const parts = [0, 1, 2, 3, 4].map(part => block.subarray(part * 16_000, (part + 1) * 16_000))
      const id = 2 * index + 1
      peer.write(
        ...parts.map((part, at) =>
          frame(at === 0 ? TYPE.headers : TYPE.continuation, at === 4 ? 4 : 0, id, part),
        ),
      )
    }
    await peer.until(() => peer.find(TYPE.reset, 5) !== undefined)
    expect(peer.all(TYPE.headers).map(entry => entry.id)).toEqual([1, 3])
    expect(peer.find(TYPE.reset)?.payload).toEqual(uint32(CODE.calm))
  })

  it('to the end of its stream ids: the last one is served, then it is replaced', async () => {
    const { at, neighbour } = await victim()
    const peer = await attacker(at.port.port, false)
    peer.write(request(0x4000_0001))
    await peer.until(
      () => peer.find(TYPE.headers, 0x4000_0001) !== undefined && peer.find(TYPE.goaway) !== undefined,
    )
    expect(peer.find(TYPE.goaway)?.payload).toEqual(uint32(0x7fff_ffff, CODE.none))
    peer.write(frame(TYPE.data, 1, 0x4000_0001, 'bye'))
    await answerPing(peer)
    await peer.closed
    expect(peer.goawayCode).toBe(CODE.none)
    expect(peer.find(TYPE.data)?.payload.toString()).toBe('bye')
    await neighbour()
  })

  it('for its neighbour when the peer cuts the connection in the middle of anything (CVE-2025-59465)', async () => {
    const { at, neighbour } = await victim()
    const broken = frame(TYPE.headers, 4, 1, Buffer.alloc(64, 0xff))
    for (const bytes of [broken, broken.subarray(0, 20), request(1), request(1).subarray(0, 9), padded()]) {
      const peer = await attacker(at.port.port, false)
      peer.write(bytes)
      peer.socket.destroy()
      await peer.closed
    }
    await emptied(at.server, 1)
    await neighbour()
  })

  it('when a listener of failures or refusals throws, and so does its neighbour', async () => {
    const lines: string[] = []
    const fail = (): never => {
      throw new Error('mine alone')
    }
    const logger = { ...silentLogger, error: (_fields: unknown, message: string) => void lines.push(message) }
    const { at, neighbour } = await victim({ onRefused: fail, onFailure: fail, logger })
    const peer = await attacker(at.port.port, false)
    peer.write(request(1, 5, [...CONNECT.slice(0, 1), [':authority', 'nowhere']]), request(3))
    await peer.until(() => peer.find(TYPE.headers, 3) !== undefined)
    const other = await attacker(at.port.port, false)
    other.write(frame(TYPE.data, 0, 0, 'x'))
    await other.closed
    expect(other.goawayCode).toBe(CODE.protocol)
    expect(lines).toEqual(['listener failed', 'listener failed'])
    await neighbour()
  })

  it('while tunnels end in resets as fast as busy applications end them', async () => {
    const { at, neighbour } = await victim()
    const peer = await attacker(at.port.port, false)
    for (let round = 0; round < 50; round++) {
      const ids = Array.from({ length: 40 }, (_, index) => 2 * (round * 40 + index) + 1)
      peer.write(...ids.map(id => request(id)))
      await peer.until(() => ids.every(id => peer.find(TYPE.headers, id) !== undefined))
      peer.write(...ids.map(id => frame(TYPE.reset, 0, id, uint32(2))))
      peer.frames.length = 0
    }
    await peer.sync()
    expect([at.server.sessions, at.server.tunnels]).toEqual([2, 1])
    await neighbour()
  })
})

/** DATA that begins and has its padding still to come. */
function padded(): Buffer {
  return Buffer.concat([request(1), frame(TYPE.data, 8, 1, Buffer.alloc(200, 9)).subarray(0, 60)])
}

function fields(count: number, name: string): HeaderList {
  return Array.from({ length: count }, () => [name, 'y'] as const)
}

describe('what a client makes us hold', () => {
  it('are as many sessions as one identity may have; others find room', async () => {
    const failures: HboneFailure[] = []
    const at = await harness({
      onTunnel,
      onFailure: failure => void failures.push(failure),
      limits: { maxSessionsPerIdentity: 3 },
    })
    const peers = [1, 2, 3].map(() => attacker(at.port.port, false))
    const [first] = await Promise.all(peers)
    const late = await rawClient(at.port.port, web)
    await late.closed
    expect(late.goawayCode).toBe(CODE.calm)
    expect(late.find(TYPE.goaway)?.payload.toString('latin1', 8)).toBe(`${web.id.uri} has 3 sessions already`)
    expect(failures.map(({ error }) => error.h2Code)).toEqual(['ENHANCE_YOUR_CALM'])
    expect((await failure(at.connect())).code).toBe('AMBIENT_E_HBONE_RESET')
    const other = await at.connect({ credentials: db })
    other.channel.start(new Recorder())
    first?.socket.destroy()
    await emptied(at.server, 3)
    const tunnel = await at.connect()
    tunnel.channel.start(new Recorder())
  })

  it('are 200 lists of 60 KB at most, and nothing once it has gone (CVE-2026-56846)', async () => {
    let held = 0
    const at = await harness({
      onTunnel: async tunnel => {
        held++
        await onTunnel(tunnel)
        held--
      },
    })
    const peer = await attacker(at.port.port, false)
    const head: HeaderList = [...UNANSWERED, ['x', 'y'.repeat(60_000)]]
    const block = encodeHeaders(head)
    peer.write(
      many(400, index =>
        Buffer.concat([
          frame(TYPE.headers, 0, 2 * index + 1, block.subarray(0, 16_000)),
          many(2, part =>
            frame(
              TYPE.continuation,
              0,
              2 * index + 1,
              block.subarray((part + 1) * 16_000, (part + 2) * 16_000),
            ),
          ),
          frame(TYPE.continuation, 4, 2 * index + 1, block.subarray(48_000)),
        ]),
      ),
    )
    await peer.until(() => peer.all(TYPE.reset).length === 200)
    expect([held, at.server.tunnels]).toEqual([200, 200])
    const gone = once(peer.socket, 'close')
    peer.socket.destroy()
    await gone
    await emptied(at.server, 0)
    while (held > 0) await new Promise(resolve => setImmediate(resolve))
  })
})
