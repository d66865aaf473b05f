/** Streams that are in no good state when they become channels, and what a Duplex sees of a reset. */
import { once } from 'node:events'
import { Duplex, PassThrough } from 'node:stream'
import { CoreError } from '@ambient/core'
import { duplexChannel, readFirstBytes, socketChannel } from '@ambient/core/node'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { socketPair } from './socket-pair.ts'

describe('duplexChannel', () => {
  it('destroys its Duplex with a coded error when it is reset', async () => {
    const duplex = new PassThrough()
    const channel = duplexChannel(duplex)
    const events = new Recorder()
    channel.start(events)
    const failed = once(duplex, 'error') as Promise<[Error]>
    channel.reset('INTERNAL_ERROR', 'policy changed')
    const [error] = await failed
    expect(error).toBeInstanceOf(CoreError)
    expect(error).toMatchObject({
      code: 'AMBIENT_E_CHANNEL_RESET',
      message: 'INTERNAL_ERROR: policy changed',
    })
    expect(events.log).toEqual([])
  })

  it('tells of a Duplex that fails, with its error as the cause', async () => {
    const duplex = new PassThrough()
    const channel = duplexChannel(duplex)
    const events = new Recorder()
    channel.start(events)
    const cause = new Error('the disk is full')
    duplex.destroy(cause)
    await events.seen('reset')
    expect(events.resetWith).toEqual({
      by: 'peer',
      code: 'CONNECT_ERROR',
      reason: 'the disk is full',
      cause,
    })
  })

  it('takes a Duplex that vanishes without an end for a reset', async () => {
    const duplex = new PassThrough()
    const channel = duplexChannel(duplex)
    const events = new Recorder()
    channel.start(events)
    duplex.destroy()
    await events.seen('reset')
    expect(events.resetWith?.reason).toContain('before both directions ended')
  })

  it('tells of a Duplex that was dead before it was started, and not from within `start`', async () => {
    const duplex = new PassThrough()
    const channel = duplexChannel(duplex)
    duplex.destroy(new Error('early death'))
    // `once` of node:events would reject with the error.
    await new Promise(resolve => duplex.on('close', resolve))
    const events = new Recorder()
    channel.start(events)
    expect(events.log).toEqual([])
    await events.seen('reset')
    expect(events.resetWith?.reason).toBe('early death')
  })

  it('says `drained` once for many held writes', async () => {
    const waiting: (() => void)[] = []
    const slow = new Duplex({
      read() {},
      write(_chunk, _encoding, done) {
        waiting.push(done)
      },
    })
    const channel = duplexChannel(slow)
    const events = new Recorder()
    channel.start(events)
    for (const size of [10, 20, 30]) expect(channel.write(new Uint8Array(size))).toBe(false)
    expect(channel.write(new Uint8Array(0))).toBe(true)
    while (slow.writableLength > 0) {
      waiting.shift()?.()
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(events.log).toEqual(['drained'])
    channel.reset('CANCEL', 'done')
    slow.on('error', () => {})
  })
})

describe('socketChannel', () => {
  it('tells of an end that was met behind a header, before there was a channel', async () => {
    const pair = await socketPair()
    const read = readFirstBytes(pair.accepted, {
      parse: bytes => ({ kind: 'done', value: String(bytes), length: bytes.length }),
      timeoutMs: 10_000,
      timeoutError: () => new Error('late'),
      endError: () => new Error('left'),
    })
    const ended = once(pair.accepted, 'end')
    pair.dialled.end('header')
    expect(await read).toBe('header')
    await ended
    const events = new Recorder()
    socketChannel(pair.accepted).start(events)
    expect(events.log).toEqual([])
    await events.seen('end')
    expect(events.log).toEqual(['end'])
    await pair.close()
  })

  it('reset right after the start leaves nothing behind', async () => {
    const pair = await socketPair()
    const far = new Recorder()
    socketChannel(pair.accepted).start(far)
    const channel = socketChannel(pair.dialled)
    channel.reset('INTERNAL_ERROR', 'changed my mind')
    channel.reset('INTERNAL_ERROR', 'twice')
    channel.end()
    await far.seen('reset')
    expect(pair.dialled.destroyed).toBe(true)
    await pair.close()
  })
})
