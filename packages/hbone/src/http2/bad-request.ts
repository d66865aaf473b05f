/** How a request that is no tunnel is answered: 400, and words for whoever looks at it with a browser's eyes. */
import type { Clock } from '@ambient/core'
import type { RequestHead } from './message.ts'
import type { Http2Stream } from './stream.ts'

/**
 * Owns the stream. A CONNECT without a good authority gets the status alone, as ztunnel says it; every other method a text
 * as well. A body whose length was declared is waited for, at most `waitMs`, so that a wrong length is still found out;
 * any other body is not wanted, which RST_STREAM(NO_ERROR) tells the peer (RFC 9113 §8.1).
 */
export function answerBadRequest(
  stream: Http2Stream,
  head: Extract<RequestHead, { kind: 'refused' }>,
  { clock, waitMs }: { readonly clock: Clock; readonly waitMs: number },
): void {
  const text = head.method === 'CONNECT' ? '' : `${head.reason}\n`
  const withText = text !== '' && head.method !== 'HEAD'
  const length = String(Buffer.byteLength(text))
  stream.sendHeaders(
    text === ''
      ? [[':status', '400']]
      : [
          [':status', '400'],
          ['content-type', 'text/plain; charset=utf-8'],
          ['content-length', length],
        ],
    !withText,
  )
  const timer = clock.after(waitMs, () => stream.discard())
  const state = { sent: false, heard: stream.bodyLeft === undefined }
  const settle = (): void => {
    if (!state.sent || !state.heard) return
    timer.cancel()
    stream.discard()
  }
  stream.start({
    data: () => true,
    end: () => {
      state.heard = true
      settle()
    },
    drained: () => {},
    finished: () => {
      state.sent = true
      settle()
    },
    reset: () => timer.cancel(),
  })
  if (!withText) return
  stream.write(Buffer.from(text))
  stream.end()
}
