/** What becomes of a command whose standard output fails. */
import type { Writable } from 'node:stream'
import { isAmbientError } from '@ambient/core'

export interface OutputWays {
  /** The reader has gone, as in `ambient … | head`: that is no failure of ours. */
  gone(): void
  /** Nothing can be written any more: the disk is full, for example. */
  failed(error: Error): void
}

export function guardOutput(output: Writable, ways: OutputWays): void {
  output.on('error', error => {
    // A tunnel that was cut or interrupted takes the output with it; its command says why.
    if (isAmbientError(error)) return
    if ('code' in error && error.code === 'EPIPE') return ways.gone()
    ways.failed(error)
  })
}
