/** How a command that serves ends: the first Ctrl-C or SIGTERM drains, the second one cuts what is left. */
import type { CliHost } from '../host.ts'

export function untilInterrupted(
  host: CliHost,
  ways: { drain(): Promise<unknown>; cut(): void },
): Promise<void> {
  return new Promise((resolve, reject) => {
    let isDraining = false
    const unsubscribe = host.onInterrupt(() => {
      if (isDraining) return ways.cut()
      isDraining = true
      host.stderr('draining for at most 5 s; once more cuts what is open\n')
      ways
        .drain()
        .finally(unsubscribe)
        .then(() => resolve(), reject)
    })
  })
}
