/** Any Duplex as a channel. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Channel } from '../channel.ts'
import { CoreError } from '../errors.ts'
import { StreamChannel } from './stream-channel.ts'

/** Takes over a Duplex. A reset destroys it with an error, the nearest that streams have. */
export function duplexChannel(duplex: Duplex): Channel {
  return new StreamChannel(duplex, {
    sendReset: (code, reason) => {
      duplex.destroy(new CoreError('AMBIENT_E_CHANNEL_RESET', `${code}: ${reason}`))
    },
    takesBytes: duplex instanceof Socket,
    readStatically: () => undefined,
  })
}
