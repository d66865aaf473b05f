/** Who is attacked: a server with a neighbour's tunnel that must not notice, a channel that echoes. */
import { once } from 'node:events'
import type { Channel } from '@ambient/core'
import type { HboneServerOptions, TunnelRequest } from '@ambient/hbone'
import { Recorder } from '../../../test/contracts/channel.ts'
import { REFUSED, UNANSWERED } from './attack-rows.ts'
import { harness, type Harness } from './harness.ts'

const authorityOf = (head: typeof REFUSED): string | undefined => head[1]?.[1]

/** Echoes tunnels, but for the two targets of the attacks. */
export async function onTunnel(tunnel: TunnelRequest): Promise<void> {
  if (tunnel.authority === authorityOf(UNANSWERED)) await once(tunnel.signal, 'abort')
  else if (tunnel.authority === authorityOf(REFUSED)) tunnel.refuse(403, [['reason', 'x'.repeat(8_000)]])
  else echo(tunnel.accept())
}

export interface Victim {
  readonly at: Harness
  /** Resolves when a tunnel on a session of its own, opened before the attack, still carries bytes. */
  readonly neighbour: () => Promise<void>
}

export async function victim(options: Partial<HboneServerOptions> = {}): Promise<Victim> {
  const at = await harness({ onTunnel, ...options })
  return { at, neighbour: await watchNeighbour(at) }
}

/** A tunnel to an echo, and a way to see that it lives. */
export async function watchNeighbour(at: Harness): Promise<() => Promise<void>> {
  const tunnel = await at.connect()
  const seen = new Recorder()
  tunnel.channel.start(seen)
  return async () => {
    const before = seen.received
    tunnel.channel.write(Buffer.from('still here'))
    await seen.until(() => seen.received === before + 10)
  }
}

export function echo(channel: Channel): void {
  channel.start({
    data: bytes => {
      if (channel.write(bytes)) return true
      channel.pause()
      return false
    },
    drained: () => channel.resume(),
    end: () => channel.end(),
    finished: () => {},
    reset: () => {},
  })
}
