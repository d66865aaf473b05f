/** Many tunnels at once and many one after the other: counted, alive, cheap, and gone when they are closed. */
import type { Channel } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { emptied, harness, type Harness } from './harness.ts'
import { caller, type Caller, echo, isSoak, memoryInUse } from './scale-load.ts'

const IDLE_TUNNELS = 10_000
const TUNNELS_PER_SESSION = 100
/** Both ends of a tunnel together, which here live in one process. */
const IDLE_TUNNEL_BYTES = 8_192
const MESSAGE = Buffer.alloc(1_024, 'm')

const CHURNED_TUNNELS = isSoak ? 100_000 : 20_000
/** Tables and caches that grow once; a leak of 100 bytes for each tunnel would be more. */
const CHURN_GROWTH_BYTES = 1 << 20

/** Runs `work` for 0 … `count` - 1, `atOnce` at a time. */
async function inBatches(
  count: number,
  atOnce: number,
  work: (index: number) => Promise<void>,
): Promise<void> {
  for (let start = 0; start < count; start += atOnce)
    await Promise.all(Array.from({ length: Math.min(atOnce, count - start) }, (_, i) => work(start + i)))
}

describe('many tunnels', () => {
  it('10,000 idle ones share 100 sessions, stay cheap, still carry bytes, and end at zero', {
    timeout: 60_000,
  }, async () => {
    const { connect, pool, server } = await harness({ onTunnel: request => echo(request.accept()) })
    const before = await memoryInUse()
    const callers: Caller[] = []
    await inBatches(IDLE_TUNNELS, 500, async () => {
      callers.push(caller((await connect()).channel, MESSAGE))
    })
    const sessions = IDLE_TUNNELS / TUNNELS_PER_SESSION
    expect([pool.tunnels, server.tunnels]).toEqual([IDLE_TUNNELS, IDLE_TUNNELS])
    expect([pool.sessions, server.sessions]).toEqual([sessions, sessions])

    await inBatches(IDLE_TUNNELS, 1_000, index => callers[index]?.call() ?? Promise.reject(index))
    const each = ((await memoryInUse()) - before) / IDLE_TUNNELS
    expect(each).toBeLessThan(IDLE_TUNNEL_BYTES)

    // Every tenth, after all the others have carried something.
    await inBatches(IDLE_TUNNELS / 10, 1_000, index => callers[index * 10]?.call() ?? Promise.reject(index))
    await inBatches(IDLE_TUNNELS, 1_000, index => callers[index]?.end() ?? Promise.reject(index))
    await noTunnels(server)
    expect([pool.tunnels, server.tunnels]).toEqual([0, 0])
    await pool.close()
    await emptied(server, 0)
    expect([pool.sessions, server.sessions]).toEqual([0, 0])
  })

  it(`${CHURNED_TUNNELS.toLocaleString('en')} opened and closed leave nothing behind${isSoak ? '' : ' (100,000 with AMBIENT_SOAK=1)'}`, {
    timeout: 120_000,
  }, async () => {
    const kit = await harness({ onTunnel: request => echo(request.accept()) })
    const churn = (tunnels: number): Promise<void> => inBatches(tunnels, 50, () => openUseAndClose(kit))
    await churn(2_000)
    const before = await memoryInUse()
    await churn(CHURNED_TUNNELS)
    await noTunnels(kit.server)
    expect((await memoryInUse()) - before).toBeLessThan(CHURN_GROWTH_BYTES)
    expect([kit.pool.tunnels, kit.server.tunnels]).toEqual([0, 0])
    expect([kit.pool.sessions, kit.server.sessions]).toEqual([1, 1])
  })
})

async function openUseAndClose({ connect }: Harness): Promise<void> {
  const { channel }: { readonly channel: Channel } = await connect()
  const one = caller(channel, MESSAGE)
  await one.call()
  await one.end()
}

/** The server hears of ends in its own time. */
async function noTunnels(server: Harness['server']): Promise<void> {
  while (server.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
}
