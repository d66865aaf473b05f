/** A moment of the wall clock as a timer, on machines that sleep and whose clocks are set. */
import type { Clock, Timer } from '@ambient/core'
import { managerDefaults } from '../defaults.ts'

/**
 * Runs once the wall clock has reached `at`: it may jump forward, and timers sleep with the machine, so it is looked at again
 * and again. A clock that is set back does not put it off: what was so far away when it was planned is due after that time.
 */
export function atWallTime(clock: Clock, at: number, run: () => void): Timer {
  const due = clock.monotonic() + (at - clock.now())
  let timer: Timer | undefined
  const arm = (): void => {
    const left = Math.min(at - clock.now(), due - clock.monotonic())
    timer = clock.after(Math.min(Math.max(0, left), managerDefaults.recheckMs), () => {
      if (clock.now() < at && clock.monotonic() < due) arm()
      else run()
    })
  }
  arm()
  return { cancel: () => timer?.cancel() }
}
