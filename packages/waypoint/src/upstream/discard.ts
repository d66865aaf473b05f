/** A response that nobody wants: its connection is kept when the rest is short, and cut when it is not. */
import type { Clock } from '@ambient/core'
import type { HttpResponse } from '../http/message.ts'
import { upstreamLimits } from '../limits.ts'

export function discard(response: HttpResponse, clock: Clock): void {
  response.upgraded?.destroy()
  const { body } = response
  if (body === undefined) return
  let bytes = 0
  const timer = clock.after(upstreamLimits.discardMs, () => body.destroy())
  body.on('close', () => timer.cancel())
  body.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > upstreamLimits.discardBytes) body.destroy()
  })
}
