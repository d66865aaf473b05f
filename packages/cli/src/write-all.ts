/** Data of which there may be more than memory has: made no faster than it is read. */
import { finished, type Writable } from 'node:stream'
import type { CliHost } from './host.ts'

/**
 * Writes the texts one after another, each made when the ones before have been taken.
 * Ends without a word when the reader has gone, as in `ambient … | head`.
 * @throws the error of the output, of any other kind
 */
export async function writeAll(texts: Iterable<string>, host: CliHost): Promise<void> {
  const { output } = host
  for (const text of texts) {
    host.stdout(text)
    if (output.writableNeedDrain) await taken(output)
    if (output.destroyed) return
  }
}

/** Until the output wants more, or has ended. */
function taken(output: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (error?: NodeJS.ErrnoException | null): void => {
      forget()
      output.off('drain', end)
      if (!error || error.code === 'EPIPE' || error.code === 'ERR_STREAM_PREMATURE_CLOSE') resolve()
      else reject(error)
    }
    const forget = finished(output, { readable: false }, end)
    output.once('drain', end)
  })
}
