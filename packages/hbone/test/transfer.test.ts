/** Many bytes on many streams: all arrive, in order, whatever one slow reader does. */
import { createHash, randomBytes } from 'node:crypto'
import type { Channel, ChannelEvents, ChannelReset } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { harness } from './harness.ts'

const MIB = 1 << 20

/** Hashes what arrives, and sends `bytes` in pieces of many sizes with back-pressure. Settles when both directions ended. */
class Mover implements ChannelEvents {
  readonly ended: Promise<string>
  sent = 0
  received = 0
  readonly #channel: Channel
  readonly #bytes: Buffer
  readonly #hash = createHash('sha256')
  #isHeld = false
  #isFinished = false
  #digest = ''
  #resolve: (digest: string) => void = () => {}
  #reject: (reason: unknown) => void = () => {}

  constructor(channel: Channel, bytes: Buffer) {
    this.#channel = channel
    this.#bytes = bytes
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    channel.start(this)
    this.#send()
  }

  get isHeld(): boolean {
    return this.#isHeld
  }

  data(bytes: Uint8Array): boolean {
    this.received += bytes.length
    this.#hash.update(bytes)
    return true
  }

  end(): void {
    this.#digest = this.#hash.digest('hex')
    this.#settle()
  }

  drained(): void {
    this.#isHeld = false
    this.#send()
  }

  finished(): void {
    this.#isFinished = true
    this.#settle()
  }

  reset(reset: ChannelReset): void {
    this.#reject(new Error(reset.reason))
  }

  #send(): void {
    while (!this.#isHeld && this.sent < this.#bytes.length) {
      const size = 1 + ((this.sent * 7_919) % 100_000)
      const piece = this.#bytes.subarray(this.sent, this.sent + size)
      this.sent += piece.length
      this.#isHeld = !this.#channel.write(piece)
    }
    if (!this.#isHeld) this.#channel.end()
  }

  #settle(): void {
    if (this.#isFinished && this.#digest !== '') this.#resolve(this.#digest)
  }
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

describe('transfers', () => {
  it('32 MiB each way at the same time arrive as they were sent', { timeout: 30_000 }, async () => {
    const [up, down] = [randomBytes(32 * MIB), randomBytes(32 * MIB)]
    let far: Mover | undefined
    const { connect } = await harness({
      onTunnel: request => {
        far = new Mover(request.accept(), down)
      },
    })
    const tunnel = await connect()
    const near = new Mover(tunnel.channel, up)
    expect(await near.ended).toBe(sha256(down))
    expect(await far?.ended).toBe(sha256(up))
  })

  it('20 streams at once do not disturb one another, and one that is not read holds no more than its window', {
    timeout: 30_000,
  }, async () => {
    const bytes = Array.from({ length: 20 }, () => randomBytes(4 * MIB))
    const far = new Map<string, { readonly mover: Mover; readonly channel: Channel }>()
    const { connect, pool } = await harness({
      onTunnel: request => {
        const index = Number(request.header('index'))
        const channel = request.accept()
        if (index === 0) channel.pause()
        far.set(String(index), { channel, mover: new Mover(channel, bytes[index] ?? Buffer.alloc(0)) })
      },
    })
    const tunnels = await Promise.all(
      bytes.map((_, index) => connect({ headers: [['index', String(index)]] })),
    )
    expect(pool.sessions).toBe(1)
    const near = tunnels.map(({ channel }, index) => new Mover(channel, bytes[index] ?? Buffer.alloc(0)))
    const digests = bytes.map(sha256)
    expect(await Promise.all(near.slice(1).map(mover => mover.ended))).toEqual(digests.slice(1))
    expect(
      await Promise.all(near.slice(1).map((_, index) => far.get(String(index + 1))?.mover.ended)),
    ).toEqual(digests.slice(1))
    // Nobody reads number 0: its writer was held after one window and the piece that did not fit.
    const [stalled] = near
    const other = far.get('0')
    expect(stalled?.isHeld).toBe(true)
    expect(stalled?.sent).toBeLessThanOrEqual(65_536 + 100_000)
    expect(other?.mover.received).toBe(0)
    other?.channel.resume()
    expect(await stalled?.ended).toBe(digests[0])
    expect(await other?.mover.ended).toBe(digests[0])
    expect(pool.tunnels).toBe(0)
  })

  it('1,000 short tunnels leave nothing behind', { timeout: 30_000 }, async () => {
    const { connect, pool, server } = await harness({
      onTunnel: request => void new Mover(request.accept(), Buffer.from('bye')),
    })
    for (let round = 0; round < 20; round++)
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const { channel } = await connect()
          await new Mover(channel, Buffer.from('hello')).ended
        }),
      )
    expect([pool.sessions, pool.tunnels, server.sessions, server.tunnels]).toEqual([1, 0, 1, 0])
  })
})
