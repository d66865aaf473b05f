/** Any Duplex as a channel. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Channel } from '../channel.ts'
import { CoreError } from '../errors.ts'
import { StreamChannel, type StreamMeans } from './stream-channel.ts'

const means: StreamMeans<Duplex> = {
  sendReset: (duplex, code, reason) => {
    duplex.destroy(new CoreError('AMBIENT_E_CHANNEL_RESET', `${code}: ${reason}`))
  },
  takesBytes: duplex => duplex instanceof Socket,
  writeThrough: undefined,
  readStatically: () => undefined,
}

/** Takes over a Duplex. A reset destroys it with an error, the nearest that streams have. */
export function duplexChannel(duplex: Duplex): Channel {
  return new StreamChannel(duplex, means)
}
