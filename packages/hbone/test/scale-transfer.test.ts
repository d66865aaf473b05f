/** Long transfers: every byte of hundreds of megabytes each way, in order. */
import { describe, expect, it } from 'vitest'
import { harness } from './harness.ts'
import { Carrier, isSoak } from './scale-load.ts'

const MIB = 1 << 20
const EACH_WAY_BYTES = (isSoak ? 1_024 : 256) * MIB

describe('long transfers', () => {
  it(`${EACH_WAY_BYTES / MIB} MiB each way at the same time have the SHA-256 that they were sent with${isSoak ? '' : ' (1 GiB with AMBIENT_SOAK=1)'}`, {
    timeout: 180_000,
  }, async () => {
    let far: Carrier | undefined
    const { connect, pool, server } = await harness({
      onTunnel: request => {
        far = new Carrier(request.accept(), EACH_WAY_BYTES)
      },
    })
    const near = new Carrier((await connect()).channel, EACH_WAY_BYTES)
    await near.done
    await far?.done
    expect([near.received, far?.received]).toEqual([EACH_WAY_BYTES, EACH_WAY_BYTES])
    expect(far?.receivedHash.digest('hex')).toBe(near.sentHash.digest('hex'))
    expect(near.receivedHash.digest('hex')).toBe(far?.sentHash.digest('hex'))
    expect([pool.tunnels, server.tunnels]).toEqual([0, 0])
  })
})
