/** Work that is all JavaScript, one piece for each turn of the event loop: a thousand renewals at once stall nobody. */

export interface Turns {
  /** Runs the work when its turn comes, in order; the next one has a turn of its own. */
  take<T>(work: () => T | Promise<T>): Promise<T>
}

export function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve()
  return {
    take(work) {
      const run = last.then(nextTurn).then(work)
      last = run.catch(() => {})
      return run
    },
  }
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => void setImmediate(resolve))
}
