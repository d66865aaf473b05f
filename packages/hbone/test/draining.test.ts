/** What a tunnel says of its session: that nothing new should be put into it. */
import { once } from 'node:events'
import type { Channel } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { harness } from './harness.ts'

const accept = { onTunnel: (request: { accept(): Channel }) => void request.accept().start(new Recorder()) }

describe('a tunnel whose session drains', () => {
  it.each(['peer', 'pool'] as const)('hears of it at once, and goes on (%s)', async by => {
    const { connect, server, pool } = await harness(accept)
    const tunnel = await connect()
    expect(tunnel.draining.aborted).toBe(false)
    const heard = once(tunnel.draining, 'abort')
    if (by === 'peer') server.retire()
    else pool.retire()
    await heard
    expect(server.tunnels).toBe(1)
    const next = await connect()
    expect(next.draining.aborted).toBe(false)
  })

  it('hears of it when the session is lost', async () => {
    const { connect, server } = await harness(accept)
    const tunnel = await connect()
    const events = new Recorder()
    tunnel.channel.start(events)
    const heard = once(tunnel.draining, 'abort')
    await server.close({ graceMs: 0 })
    await heard
  })

  it('has as many listeners as it likes without a warning', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    const { connect } = await harness(accept)
    const { draining } = await connect()
    for (let count = 0; count < 50; count++) draining.addEventListener('abort', () => {})
    await new Promise(resolve => setImmediate(resolve))
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })
})
