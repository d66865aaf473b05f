/** Waits for pods, but not for ever: one that never gets ready must not hide the others. */
import type { Clock, Timer } from '@ambient/core'
import { meshDefaults } from '../defaults.ts'
import type { MeshListener } from '../events.ts'

export interface ReadinessWatch {
  /** Names of those that are not ready yet. */
  readonly waiting: () => readonly string[]
  /** Calls back with each event; returns the function that ends it. */
  readonly subscribe: (listener: MeshListener) => () => void
  /** Once, when the wait is long enough to be wondered at. */
  readonly onLong: (names: readonly string[]) => void
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** Resolves with the names of those that did not get ready in time; at once when the signal is aborted. */
export async function awaitReady(watch: ReadinessWatch): Promise<readonly string[]> {
  const { waiting, clock, signal } = watch
  let unsubscribe = (): void => {}
  let long: Timer | undefined
  await new Promise<void>(resolve => {
    const timer = clock.after(meshDefaults.podReadyTimeoutMs, resolve, { keepAlive: true })
    long = clock.after(meshDefaults.tellWaitingMs, () => watch.onLong(waiting()))
    const look = (): void => {
      if (waiting().length > 0 && !signal.aborted) return
      timer.cancel()
      resolve()
    }
    unsubscribe = watch.subscribe(event => {
      if (['pod-ready', 'waypoint-ready', 'exited', 'pod-removed', 'waypoint-removed'].includes(event.kind))
        look()
    })
    signal.addEventListener('abort', look, { once: true })
    look()
  })
  unsubscribe()
  long?.cancel()
  return waiting()
}
