/** Flow control against a model: 100,000 random histories of windows, and whole sessions in which nothing may get stuck. */
import { createManualClock } from '@ambient/core/testing'
import { describe } from 'vitest'
import { type GrowthBudget, MAX_WINDOW, ReceiveWindow, SendWindow } from '../src/http2/flow.ts'
import { property, type Random } from './property.ts'
import { moveBytes } from './session-pair.ts'

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}

/** The peer's view of one of our windows: what it may send, what lies unread with us. */
interface Modelled {
  readonly window: ReceiveWindow
  credit: number
  unread: number
  isOver: boolean
}

interface World {
  readonly windows: readonly Modelled[]
  readonly budget: GrowthBudget
  readonly initial: number
  readonly max: number
  readonly total: number
  readonly advance: (ms: number) => void
}

function world(random: Random): World {
  const initial = random.int(1, 2_000)
  const max = initial * random.int(1, 64)
  const total = random.int(0, 100_000)
  const clock = createManualClock()
  const budget: GrowthBudget = { left: total }
  const windows = Array.from({ length: random.int(1, 4) }, () => ({
    window: new ReceiveWindow(initial, max, budget, () => clock.monotonic()),
    credit: initial,
    unread: 0,
    isOver: false,
  }))
  return { windows, budget, initial, max, total, advance: ms => clock.advance(ms) }
}

function step(random: Random, { windows, advance }: World): void {
  advance(random.pick([0, 0, 1, 60, 2_000]))
  const one = random.pick(windows)
  if (one.isOver) return
  if (random.chance(0.5)) {
    const bytes = random.chance(0.3) ? one.credit : random.int(0, one.credit)
    check(one.window.receive(bytes), `${bytes} bytes of ${one.credit} were refused`)
    one.credit -= bytes
    one.unread += bytes
  } else if (random.chance(0.95)) {
    const bytes = random.chance(0.5) ? one.unread : random.int(0, one.unread)
    one.unread -= bytes
    const increment = one.window.consume(bytes)
    check(increment >= 0, `an increment of ${increment}`)
    one.credit += increment
  } else {
    one.isOver = true
    one.window.release()
  }
}

function invariants({ windows, budget, initial, max, total }: World): void {
  let grown = 0
  for (const { window, credit, unread, isOver } of windows) {
    if (isOver) {
      check(window.size === initial, 'a window that is over has kept what it grew by')
      continue
    }
    const owed = window.size - credit - unread
    check(window.size >= initial && window.size <= Math.max(initial, max), `a size of ${window.size}`)
    check(owed >= 0, `the peer may send ${-owed} bytes more than the window`)
    check(owed === 0 || owed * 2 < window.size, `${owed} of ${window.size} bytes are not given back`)
    check(unread > 0 || credit > 0, 'a reader that has read everything waits for a peer that may not send')
    grown += window.size - initial
  }
  check(budget.left >= 0, `the windows grew ${-budget.left} bytes too much`)
  check(budget.left + grown === total, 'what windows grew by is not what was taken')
}

describe('flow control', () => {
  property(
    'of one session: windows grow and shrink within their sum, and never leave a peer waiting',
    80_000,
    random => {
      const all = world(random)
      for (let steps = random.int(5, 30); steps > 0; steps--) {
        step(random, all)
        invariants(all)
      }
      const one = random.pick(all.windows)
      if (!one.isOver) check(!one.window.receive(one.credit + 1), 'more than the credit was taken')
    },
  )

  property('of what we send: credit is what was granted less what was sent', 19_000, random => {
    let credit = random.int(0, 65_535)
    const window = new SendWindow(credit)
    for (let steps = random.int(1, 30); steps > 0; steps--) {
      const delta = random.pick([
        1,
        1_000,
        -1_000,
        65_535,
        -65_535,
        0x7fff_ffff,
        random.int(-credit, MAX_WINDOW),
      ])
      if (random.chance(0.5) && credit > 0) {
        const bytes = random.int(1, credit)
        window.take(bytes)
        credit -= bytes
      } else {
        credit += delta
        if (window.add(delta) !== credit <= MAX_WINDOW) throw new Error(`the window is ${credit}`)
        if (credit > MAX_WINDOW) return
      }
      check(window.credit === credit, `${window.credit} is not ${credit}`)
    }
  })

  property('of whole sessions: whatever the windows, everything that is read arrives', 1_000, random =>
    moveBytes(random),
  )
})
