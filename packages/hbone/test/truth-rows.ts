/** The table of what can be under way when one side ends: who ends first × how much × from whom × whether it is read. */
import { type App, MUCH, until } from '../../../test/contracts/tcp-app.ts'
import { type Line, openLine, type Side } from './truth-line.ts'

const LOADS = { nothing: 0, 'a few bytes': 1_000, 'more than the windows': MUCH } as const

export interface Row {
  readonly first: Side
  /** Who sends. */
  readonly from: Side
  readonly load: keyof typeof LOADS
  /** Whether whom it is sent to reads, or does so only after the end. */
  readonly reader: 'reads' | 'is paused'
}

export interface Loaded extends Line {
  readonly first: App
  readonly last: App
  readonly sender: App
  readonly reader: App
}

const SIDES = ['client', 'server'] as const

export const rows: readonly Row[] = SIDES.flatMap(first =>
  SIDES.flatMap(from =>
    (Object.keys(LOADS) as Row['load'][]).flatMap(load =>
      (['reads', 'is paused'] as const).map(reader => ({ first, from, load, reader })),
    ),
  ),
)

export function nameOf({ first, from, load, reader }: Row, verb: string): string {
  return `the ${first} ${verb}, ${load} on the way from the ${from}, whose reader ${reader}`
}

export function otherSide(side: Side): Side {
  return side === 'client' ? 'server' : 'client'
}

/** The line of a row, with its bytes on the way: few of them have all arrived, of many more than a window has. */
export async function load(row: Row): Promise<Loaded> {
  const { first, from, reader } = row
  const to = otherSide(from)
  const line = await openLine(reader === 'is paused' ? { paused: to } : {})
  const bytes = LOADS[row.load]
  line[from].send(bytes)
  const { near, far } = line
  if (bytes > 0) await until(() => arrived(handedTo({ near, far }, to), bytes))
  // What the last proxy has written is in the kernel of its application at once.
  if (row.load === 'a few bytes' && reader === 'reads') await until(() => line[to].events.received === bytes)
  return { ...line, first: line[first], last: line[otherSide(first)], sender: line[from], reader: line[to] }
}

function arrived(count: number, sent: number): boolean {
  return count >= Math.min(sent, 1 << 20)
}

/** Bytes that the proxy beside an application was to write to it. */
function handedTo({ near, far }: Pick<Line, 'near' | 'far'>, side: Side): number {
  return side === 'client' ? near.counts.bToA : far.counts.aToB
}

/**
 * The last one goes on until it hears that nobody listens. A kernel answers the first bytes to a closed socket with a
 * reset; Node hears of it at its next write, once it has read to the end: first the proxy, then the application here.
 */
export async function speakUntilReset(line: Loaded, first: Side): Promise<void> {
  const { last, near, far } = line
  let isOver = false
  const over = Promise.all([near.done, far.done]).then(() => {
    isOver = true
  })
  for (let words = 0; words < 2 && !isOver; words++) {
    last.send(5)
    await until(() => isOver || handedTo(line, first) === last.sent)
  }
  await over
  last.send(5)
  await last.events.seen('reset')
}
