/** Waits until somebody listens. A port that opens has no event for others: one has to try. */
import type { Clock } from '@ambient/core'
import { dial } from '@ambient/core/node'
import { meshDefaults } from '../defaults.ts'

/** Rejects only with the signal's reason. */
export async function awaitListener(
  address: string,
  port: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    try {
      const socket = await dial({ host: address, port, signal, timeoutMs: 1_000 })
      socket.on('error', () => {})
      socket.destroy()
      return
    } catch {
      await new Promise<void>(resolve => {
        const onAbort = (): void => {
          timer.cancel()
          resolve()
        }
        const timer = clock.after(meshDefaults.pollMs, () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        })
        signal.addEventListener('abort', onAbort, { once: true })
      })
    }
  }
}
