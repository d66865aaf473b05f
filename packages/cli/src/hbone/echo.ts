/** A tunnel that answers with its own bytes. */
import type { Channel } from '@ambient/core'

/** Owns the channel: what comes in goes out, an end as an end; a reader that stops stops the sender. */
export function echo(channel: Channel, signal: AbortSignal): void {
  const cut = (): void => channel.reset('INTERNAL_ERROR', 'cut')
  const over = (): void => signal.removeEventListener('abort', cut)
  signal.addEventListener('abort', cut)
  channel.start({
    data(bytes) {
      if (channel.write(bytes)) return true
      channel.pause()
      return false
    },
    drained: () => channel.resume(),
    end: () => channel.end(),
    finished: over,
    reset: over,
  })
}
