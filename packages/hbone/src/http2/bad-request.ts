/** How a request that is no tunnel is answered: 400, and words for whoever looks at it with a browser's eyes. */
import type { Clock } from '@ambient/core'
import type { HeaderList } from './hpack.ts'
import type { RequestHead } from './message.ts'
import type { Http2Stream } from './stream.ts'

/** More of a body is not waited for. */
const MAX_BODY_BYTES = 65_536

/**
 * Owns the stream. A CONNECT without a good authority gets the status alone, as ztunnel says it; every other method a text
 * as well. The rest of the request has `waitMs` to come, so that what is wrong with it is still found out; then, or when it
 * is long, RST_STREAM(NO_ERROR) tells the peer to stop sending (RFC 9113 §8.1).
 */
export function answerBadRequest(
  stream: Http2Stream,
  head: Extract<RequestHead, { kind: 'refused' }>,
  { clock, waitMs }: { readonly clock: Clock; readonly waitMs: number },
): void {
  const text = head.method === 'CONNECT' ? '' : `${head.reason}\n`
  const withText = text !== '' && head.method !== 'HEAD'
  const fields: HeaderList = [
    ['content-type', 'text/plain; charset=utf-8'],
    ['content-length', String(Buffer.byteLength(text))],
  ]
  stream.sendHeaders([[':status', '400'], ...(text === '' ? [] : fields)], !withText)
  const stop = (): void => {
    timer.cancel()
    stream.discard()
  }
  const timer = clock.after(waitMs, stop)
  let [open, bytesLeft] = [2, MAX_BODY_BYTES]
  const endOne = (): void => {
    open--
    if (open === 0) timer.cancel()
  }
  stream.start({
    data: bytes => {
      bytesLeft -= bytes.length
      if (bytesLeft < 0) stop()
      return true
    },
    end: endOne,
    drained: () => {},
    finished: endOne,
    reset: () => timer.cancel(),
  })
  if (!withText) return
  stream.write(Buffer.from(text))
  stream.end()
}
