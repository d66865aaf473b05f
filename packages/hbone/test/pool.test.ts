/** The pool: who shares a session, when it is replaced, what is tried again, and that nothing is left at the end. */
import { once, setMaxListeners } from 'node:events'
import { createServer } from 'node:net'
import type { Channel } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { dial } from '@ambient/core/node'
import type { Tunnel, TunnelRequest } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { encodeHeaders } from '../src/http2/hpack.ts'
import { db, deferred, emptied, failure, harness, identities, web } from './harness.ts'
import { frame, onRequests, rawServer, setting, TYPE, uint32 } from './raw-peer.ts'

const accept = { onTunnel: (request: { accept(): Channel }) => void request.accept().start(new Recorder()) }
const OK = encodeHeaders([[':status', '200']])

/** A clock that jumps leaves no time to answer. */
const noPing = { pingAfterMs: 1_000_000_000 }

/** Ours is over at once. */
function finish(tunnel: Tunnel): void {
  tunnel.channel.reset('CANCEL', 'done')
}

/** Resolves when it has failed. */
function failing(opening: Promise<unknown>): Promise<void> {
  return opening.then(
    () => {
      throw new Error('it did not fail')
    },
    () => {},
  )
}

/** Counts the sockets that are dialled. */
function countingDial(): { readonly count: () => number; readonly dial: typeof dial } {
  let dialed = 0
  return {
    count: () => dialed,
    dial: options => {
      dialed++
      return dial(options)
    },
  }
}

describe('pool', () => {
  it('dials once for 60 connects at the same time', async () => {
    const counter = countingDial()
    const { connect: open, pool, server } = await harness(accept, { dial: counter.dial })
    await Promise.all(Array.from({ length: 60 }, () => open()))
    expect(counter.count()).toBe(1)
    expect([pool.sessions, pool.tunnels, server.sessions, server.tunnels]).toEqual([1, 60, 1, 60])
  })

  it('puts 100 tunnels on a session and the 101st on another, also when all wait for the first dial', async () => {
    const counter = countingDial()
    const { connect: open, pool } = await harness(accept, { dial: counter.dial })
    await Promise.all(Array.from({ length: 330 }, () => open()))
    expect([counter.count(), pool.sessions, pool.tunnels]).toEqual([4, 4, 330])
  })

  it('respects a smaller limit of the peer, and its own', async () => {
    const theirs = await harness({ ...accept, limits: { maxConcurrentStreams: 2 } })
    const first = await theirs.connect()
    await theirs.connect()
    await theirs.connect()
    expect(theirs.pool.sessions).toBe(2)
    finish(first)
    await theirs.connect()
    expect(theirs.pool.sessions).toBe(2)
    const ours = await harness(accept, { limits: { poolStreams: 1 } })
    await Promise.all([ours.connect(), ours.connect(), ours.connect()])
    expect(ours.pool.sessions).toBe(3)
  })

  it('shares a session only between equals', async () => {
    const { connect: open, pool, request } = await harness({ ...accept })
    await open()
    await open({ authority: '10.9.9.9:1' })
    expect(pool.sessions).toBe(1)
    await open({ localAddress: '127.0.0.1' })
    expect(pool.sessions).toBe(2)
    await open({ expect: [db.id, web.id] })
    expect(pool.sessions).toBe(3)
    await open({ credentials: await identities.credentials({ namespace: 'shop', serviceAccount: 'cron' }) })
    expect(pool.sessions).toBe(4)
    const next = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
    await open({
      credentials: { ...next, id: web.id, generation: web.generation + 1, privateKey: next.privateKey },
    })
    expect(pool.sessions).toBe(5)
    await pool.connect(request())
    expect(pool.sessions).toBe(5)
  })

  it('tells all who wait for a dial that it failed, and dials again for the next one', async () => {
    const counter = countingDial()
    const closed = createServer()
    closed.listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const address = closed.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    closed.close()
    await once(closed, 'close')
    const { connect: open, pool } = await harness(accept, { dial: counter.dial })
    const to = { address: '127.0.0.1', port }
    const errors = await Promise.all(Array.from({ length: 5 }, () => failure(open({ to }))))
    expect(new Set(errors.map(error => error.code))).toEqual(new Set(['AMBIENT_E_HBONE_UNREACHABLE']))
    expect(counter.count()).toBe(1)
    const message = `no HBONE session with 127.0.0.1:${port}: connect ECONNREFUSED`
    expect((await failure(open({ to }))).message).toBe(message)
    const from = await failure(open({ to, localAddress: '192.0.2.1' }))
    expect(from.message).toMatch(/^no HBONE session with [\d.:]+: \w+ EADDRNOTAVAIL from 192\.0\.2\.1$/)
    expect(counter.count()).toBe(3)
    expect(pool.sessions).toBe(0)
  })

  it('lets one waiter give up without the others', async () => {
    const { connect: open, pool } = await harness(accept)
    const given = new AbortController()
    const first = open({ signal: given.signal })
    const second = open()
    given.abort(new Error('no patience'))
    await expect(first).rejects.toThrow('no patience')
    await second
    expect(pool.tunnels).toBe(1)
    await expect(open({ signal: given.signal })).rejects.toThrow('no patience')
  })

  it('takes a request back that was given up before its answer; the server hears of it', async () => {
    let heard: unknown
    const { promise: asked, resolve: onAsked } = deferred<void>()
    const { promise: told, resolve: onTold } = deferred<void>()
    const {
      connect: open,
      pool,
      server,
    } = await harness({
      onTunnel: async request => {
        onAsked()
        await once(request.signal, 'abort')
        heard = request.signal.reason
        onTold()
        // Too late, and harmless.
        request.accept().start(new Recorder())
      },
    })
    const given = new AbortController()
    const opening = open({ signal: given.signal })
    await asked
    given.abort(new Error('no patience'))
    await expect(opening).rejects.toThrow('no patience')
    await told
    expect(heard).toMatchObject({ code: 'AMBIENT_E_HBONE_RESET', h2Code: 'CANCEL' })
    expect([pool.tunnels, server.tunnels, pool.sessions]).toEqual([0, 0, 1])
  })

  it('replaces a session on which much was given up, before its peer ends it with everybody’s tunnels', async () => {
    const dials = countingDial()
    let asked = 0
    const onTunnel = async (request: TunnelRequest): Promise<void> => {
      if (!request.authority.endsWith(':1')) return request.accept().start(new Recorder())
      asked++
      await once(request.signal, 'abort')
    }
    const { connect: open, pool } = await harness({ onTunnel }, { dial: dials.dial })
    const neighbour = await open()
    const heard = new Recorder()
    neighbour.channel.start(heard)
    for (let round = 1; round <= 5; round++) {
      const given = new AbortController()
      setMaxListeners(0, given.signal)
      const openings = Array.from({ length: 90 }, () =>
        failing(open({ authority: '127.0.0.1:1', signal: given.signal })),
      )
      await expect.poll(() => asked).toBe(round * 90)
      given.abort(new Error('no patience'))
      await Promise.all(openings)
    }
    expect(dials.count()).toBe(3)
    expect(heard.resetWith).toBeUndefined()
    finish(neighbour)
    await expect.poll(() => pool.sessions).toBe(1)
  })

  it('replaces a session on which many tunnels were reset', async () => {
    const dials = countingDial()
    const { connect: open } = await harness(accept, { dial: dials.dial, limits: { poolResets: 3 } })
    for (let count = 0; count < 7; count++) finish(await open())
    expect(dials.count()).toBe(3)
  })

  it('replaces a session that was retired on either side, and lets its tunnels finish', async () => {
    const channels: Channel[] = []
    const {
      connect: open,
      pool,
      server,
    } = await harness({
      onTunnel: request => void channels.push(request.accept()),
    })
    for (const retire of [() => server.retire(), () => pool.retire()]) {
      const tunnel = await open()
      const [near, far] = [new Recorder(), new Recorder()]
      tunnel.channel.start(near)
      channels.at(-1)?.start(far)
      retire()
      // The session that replaces it is opened once the client knows.
      let sessions = server.sessions
      const others: Tunnel[] = []
      while (sessions < 2) {
        others.push(await open())
        sessions = server.sessions
      }
      tunnel.channel.write(Buffer.from('still'))
      await far.until(() => far.received === 5)
      tunnel.channel.end()
      channels[channels.length - 1 - others.length]?.end()
      await Promise.all([near.seen('finished'), near.seen('end'), far.seen('finished')])
      expect(near.log).not.toContain('reset')
      for (const other of others) finish(other)
      await emptied(server, 1)
    }
    expect(pool.tunnels).toBe(0)
  })

  it('closes a session that nobody used for a while', async () => {
    const clock = createManualClock()
    const { connect: open, pool, server } = await harness(accept, { clock, limits: noPing })
    finish(await open())
    clock.advance(299_000)
    finish(await open())
    expect([pool.sessions, server.sessions]).toEqual([1, 1])
    clock.advance(299_000)
    expect(pool.sessions).toBe(1)
    clock.advance(1_000)
    expect(pool.sessions).toBe(0)
    await emptied(server, 0)
    await open()
    clock.advance(1_000_000)
    expect(pool.sessions).toBe(1)
  })

  it('closes an idle session also when a request with bad headers came between', async () => {
    const clock = createManualClock()
    const { connect: open, pool } = await harness(accept, { clock, limits: noPing })
    finish(await open())
    expect((await failure(open({ headers: [['Upper', 'x']] }))).code).toBe('AMBIENT_E_HBONE_OPTION')
    clock.advance(300_000)
    expect(pool.sessions).toBe(0)
  })

  it('sends a request once more when the peer refused to look at it, and only once', async () => {
    let asked = 0
    const peers = await rawServer(db, peer => {
      peer.settings()
      onRequests(peer, id => {
        asked++
        if (asked % 3 === 0) peer.write(frame(TYPE.headers, 4, id, OK))
        else peer.write(frame(TYPE.reset, 0, id, uint32(7)))
      })
    })
    const { pool, request } = await harness(accept)
    const to = { address: '127.0.0.1', port: peers.port }
    const error = await failure(pool.connect(request({ to })))
    expect([error.code, error.unprocessed, error.h2Code, asked]).toEqual([
      'AMBIENT_E_HBONE_RESET',
      true,
      'REFUSED_STREAM',
      2,
    ])
    asked = 1
    await pool.connect(request({ to }))
    expect([asked, pool.sessions, pool.tunnels]).toEqual([3, 1, 1])
  })

  it('sends requests once more that a GOAWAY says were not looked at, on a new session', async () => {
    const peers = await rawServer(db, peer => {
      peer.settings()
      const isFirst = peers === undefined || peers.peers.length === 1
      onRequests(peer, id => {
        if (!isFirst || id === 1) peer.write(frame(TYPE.headers, 4, id, OK))
        else if (id === 5) peer.write(frame(TYPE.goaway, 0, 0, uint32(1, 0)))
      })
    })
    const { pool, request } = await harness(accept)
    const to = { address: '127.0.0.1', port: peers.port }
    const kept = await pool.connect(request({ to }))
    await Promise.all([pool.connect(request({ to })), pool.connect(request({ to }))])
    expect([peers.peers.length, pool.sessions, pool.tunnels]).toEqual([2, 2, 3])
    finish(kept)
    expect(pool.sessions).toBe(1)
  })

  it('does not repeat a request that the peer may have seen', async () => {
    let asked = 0
    const peers = await rawServer(db, peer => {
      peer.settings()
      onRequests(peer, id => {
        asked++
        if (asked === 1) peer.write(frame(TYPE.reset, 0, id, uint32(2)))
        else if (asked === 2) peer.write(frame(TYPE.goaway, 0, 0, uint32(99, 11)))
        if (asked === 2) peer.socket.end()
      })
    })
    const { pool, request } = await harness(accept)
    const to = { address: '127.0.0.1', port: peers.port }
    expect(await failure(pool.connect(request({ to })))).toMatchObject({
      code: 'AMBIENT_E_HBONE_RESET',
      h2Code: 'INTERNAL_ERROR',
    })
    const lost = await failure(pool.connect(request({ to })))
    expect(lost.code).toBe('AMBIENT_E_HBONE_SESSION_LOST')
    expect(lost.message).toContain('GOAWAY (ENHANCE_YOUR_CALM)')
    expect(asked).toBe(2)
  })

  it('reads an interim answer, padding and trailers as what they are', async () => {
    const peers = await rawServer(db, peer => {
      peer.settings()
      onRequests(peer, id => {
        const padded = Buffer.concat([Buffer.from([2]), OK, Buffer.alloc(2)])
        peer.write(
          frame(TYPE.headers, 4, id, encodeHeaders([[':status', '103']])),
          frame(TYPE.headers, 12, id, padded),
          frame(TYPE.data, 8, id, Buffer.from([1, 104, 105, 0])),
          frame(TYPE.headers, 5, id, encodeHeaders([['x', 'y']])),
        )
      })
    })
    const { pool, request } = await harness(accept)
    const tunnel = await pool.connect(request({ to: { address: '127.0.0.1', port: peers.port } }))
    const events = new Recorder()
    tunnel.channel.start(events)
    await events.seen('end')
    expect(events.bytes.toString()).toBe('hi')
    tunnel.channel.reset('CANCEL', 'done')
  })

  it('follows a peer that changes its limits and windows while tunnels are open', async () => {
    const peers = await rawServer(db, peer => {
      peer.settings(setting(4, 10))
      onRequests(peer, id => peer.write(frame(TYPE.headers, 4, id, OK)))
    })
    const { pool, request } = await harness(accept)
    const tunnel = await pool.connect(request({ to: { address: '127.0.0.1', port: peers.port } }))
    const [peer] = peers.peers
    if (peer === undefined) throw new Error('no session')
    const events = new Recorder()
    tunnel.channel.start(events)
    const got = (): string => Buffer.concat(peer.all(TYPE.data, 1).map(entry => entry.payload)).toString()
    expect(tunnel.channel.write(Buffer.from('0123456789abcdefghij'))).toBe(false)
    await peer.until(() => got() === '0123456789')
    // Shrunk to 4: six bytes below zero. 8 more make room for two.
    peer.settings(setting(4, 4))
    peer.write(frame(TYPE.update, 0, 1, uint32(8)))
    await peer.until(() => got() === '0123456789ab')
    peer.settings(setting(4, 5))
    await peer.until(() => got() === '0123456789abc')
    expect(events.log).toEqual([])
    tunnel.channel.end()
    peer.settings(setting(4, 65_535))
    await peer.until(() => (peer.all(TYPE.data, 1).at(-1)?.flags ?? 0) === 1)
    expect(got()).toBe('0123456789abcdefghij')
    await events.seen('finished')
    expect(events.log).toEqual(['drained', 'finished'])
    peer.settings(setting(3, 1))
    await peer.until(() => peer.all(TYPE.settings).filter(entry => entry.flags === 1).length === 5)
    await pool.connect(request({ to: { address: '127.0.0.1', port: peers.port } }))
    expect(peers.peers).toHaveLength(2)
  })
})
