/** At most N signing calls at once; whoever is waited for goes first. */

/** Lower goes first. */
export const priorities = Object.freeze({
  /** Somebody waits. */
  realTime: 0,
  /** Somebody will. */
  warmup: 1,
  /** A renewal: the present certificate is still good. */
  background: 2,
})

export type Priority = (typeof priorities)[keyof typeof priorities]

export interface QueueTicket {
  /** Moves a call that still waits; never back. */
  raise(priority: Priority): void
  /** Takes a call that still waits out of the queue. */
  cancel(): void
}

export interface SigningQueue {
  /** Runs the task when its turn comes. The task must not reject. */
  add(priority: Priority, task: () => Promise<void>): QueueTicket
  /** Resolves when no task runs. */
  idle(): Promise<void>
}

interface Waiting {
  readonly task: () => Promise<void>
  priority: Priority
}

export function createSigningQueue(maxConcurrent: number): SigningQueue {
  const waiting = new Set<Waiting>()
  const running = new Set<Promise<void>>()

  const next = (): Waiting | undefined => {
    let best: Waiting | undefined
    for (const entry of waiting) if (best === undefined || entry.priority < best.priority) best = entry
    return best
  }

  const fill = (): void => {
    while (running.size < maxConcurrent) {
      const entry = next()
      if (entry === undefined) return
      waiting.delete(entry)
      const run = entry.task().finally(() => {
        running.delete(run)
        fill()
      })
      running.add(run)
    }
  }

  return {
    add(priority, task) {
      const entry: Waiting = { task, priority }
      waiting.add(entry)
      fill()
      return {
        raise: to => {
          if (to < entry.priority) entry.priority = to
        },
        cancel: () => void waiting.delete(entry),
      }
    },
    async idle() {
      await Promise.all(running)
    },
  }
}
