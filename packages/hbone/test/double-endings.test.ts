/** HBONE in HBONE: a cut in either layer is a cut within, and GOAWAY of either layer lets tunnels finish. */
import { once } from 'node:events'
import type { Tunnel } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { gateway, talk, type World, world } from './double-world.ts'
import { failure } from './harness.ts'

/** Resolves with how the socket ended: its bytes, and whether that was an end. */
async function endingOf(tunnel: Tunnel): Promise<{ readonly bytes: number; readonly ended: boolean }> {
  const socket = tunnel.socket()
  let bytes = 0
  let ended = false
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  socket.on('end', () => (ended = true))
  socket.on('error', () => {})
  await new Promise(resolve => socket.once('close', resolve))
  return { bytes, ended }
}

describe('a cut is no end', () => {
  const cuts: [string, (w: World) => unknown][] = [
    ['the gateway resets the outer tunnel', w => w.breaker.abort(new Error('cut'))],
    ['the gateway ends the outer tunnel', w => w.carriers[0]?.end()],
    ['the gateway goes down', w => w.gate.close({ graceMs: 0 })],
    ['the far end goes down', w => w.far.close({ graceMs: 0 })],
    ['the outer pool is closed', w => w.outer.close({ graceMs: 0 })],
    ['the inner pool is closed', w => w.inner.close({ graceMs: 0 })],
  ]
  it.each(cuts)('when %s', async (_, cut) => {
    const w = await world({
      onTunnel: request => {
        const channel = request.accept()
        channel.start({ data: () => true, end() {}, drained() {}, finished() {}, reset() {} })
        channel.write(Buffer.from('owed'))
      },
    })
    const tunnel = await w.connect()
    const ending = endingOf(tunnel)
    await w
      .connect()
      .then(other => other.channel.reset('CANCEL', 'only to know that the first bytes are out'))
    cut(w)
    expect(await ending).toEqual({ bytes: 4, ended: false })
    while (w.inner.sessions > 0 || w.outer.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
  })
})

it('a session that is not made leaves no tunnel of the gateway behind', async () => {
  const silent = await world({
    inner: { limits: { handshakeMs: 50 } },
    passOn: request => {
      request.accept().start({ data: () => true, end() {}, drained() {}, finished() {}, reset() {} })
    },
  })
  const strange = await world({ far: { credentials: () => gateway } })
  expect((await failure(silent.connect())).code).toBe('AMBIENT_E_HBONE_TIMEOUT')
  expect((await failure(strange.connect())).code).toBe('AMBIENT_E_PEER_IDENTITY')
  expect([silent.outer.tunnels, strange.outer.tunnels]).toEqual([0, 0])
})

async function drained({ draining }: Tunnel): Promise<void> {
  if (!draining.aborted) await once(draining, 'abort')
}

describe('GOAWAY', () => {
  it('of the gateway: what is open goes on, what is new takes another way', async () => {
    const w = await world()
    const old = await w.connect()
    const socket = old.socket()
    w.gate.retire()
    await drained(old)
    const young = await w.connect()
    expect([w.inner.sessions, w.outer.sessions]).toEqual([2, 2])
    socket.end('still here')
    for await (const bytes of socket) expect(String(bytes)).toBe('still here')
    expect(await talk(young, 'new')).toBe('new')
    while (w.outer.sessions > 1) await new Promise(resolve => setImmediate(resolve))
    expect(w.inner.sessions).toBe(1)
  })

  it('of the far end: the same, on the same session with the gateway', async () => {
    const w = await world()
    const old = await w.connect()
    w.far.retire()
    await drained(old)
    const young = await w.connect()
    expect([w.inner.sessions, w.outer.sessions, w.outer.tunnels]).toEqual([2, 1, 2])
    expect(await talk(old, 'old')).toBe('old')
    expect(await talk(young, 'young')).toBe('young')
    while (w.outer.tunnels > 1) await new Promise(resolve => setImmediate(resolve))
  })

  it('of the pool: close lets tunnels finish in both layers', async () => {
    const w = await world()
    const tunnel = await w.connect()
    const closing = w.inner.close({ graceMs: 5_000 })
    expect(await talk(tunnel, 'last words')).toBe('last words')
    await closing
    expect(await failure(w.connect())).toMatchObject({ code: 'AMBIENT_E_CLOSED' })
    await w.outer.close({ graceMs: 5_000 })
    expect(w.outer.sessions).toBe(0)
  })
})
