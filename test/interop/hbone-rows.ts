/**
 * The truth of bytes on a line of which one proxy is ours and the other is not: who ends first × how × how much is on the way
 * × from whom × whether it is read. What is held to account is ours: what it says to the peer, by the frames that the peer
 * reports, and what it shows to its application. Where the peer itself breaks a rule, the row says so by name.
 */
import { describe, expect, it } from 'vitest'
import type { Frames } from './hbone-frames.ts'
import type { EndApp } from './hbone-line.ts'

type Side = 'client' | 'server'

export interface PeerTraits {
  readonly name: string
  /** Beside which application it is. Ours is beside the other. */
  readonly side: Side
  /** It says END_STREAM when its application resets. */
  readonly saysEndForReset: boolean
  /** It gives up the whole tunnel when its application ends its direction. */
  readonly endsBoth: boolean
}

export interface Line {
  readonly client: EndApp
  readonly server: EndApp
  readonly frames: () => Frames
  /** Resolves when the peer has reported frames that are so. */
  readonly until: (condition: (frames: Frames) => boolean) => Promise<void>
  /** Both directions of ours are over: whose application failed, if any. */
  readonly over: () => Promise<Side | undefined>
}

export interface Bench extends PeerTraits {
  /** A line whose applications read nothing yet. */
  readonly open: () => Promise<Line>
}

const LOADS = { nothing: 0, 'a few bytes': 1_000, 'more than the windows': 32 << 20 } as const
type Load = keyof typeof LOADS
/** With more than a window under way, this much has arrived. */
const ARRIVED = 1 << 20
const UNREAD = 1 << 16

interface Row {
  readonly how: 'ends' | 'closes' | 'resets'
  readonly first: Side
  readonly from: Side
  readonly load: Load
  readonly isPaused: boolean
}

interface Loaded extends Line {
  readonly row: Row
  readonly first: EndApp
  readonly last: EndApp
  readonly reader: EndApp
  readonly sender: EndApp
  /** What the kernel of the one that ends first says when it closes. */
  readonly closing: 'FIN' | 'RST' | 'either'
}

const SIDES = ['client', 'server'] as const

function rowsOf(how: Row['how'], first: Side): Row[] {
  const loads = Object.keys(LOADS) as Load[]
  return loads.flatMap(load =>
    (load === 'nothing' ? [first] : SIDES).flatMap(from =>
      (load === 'nothing' ? [false] : [false, true]).map(isPaused => ({ how, first, from, load, isPaused })),
    ),
  )
}

function nameOf({ from, load, isPaused }: Row): string {
  return load === 'nothing'
    ? 'nothing on the way'
    : `${load} on the way from the ${from}, whose reader ${isPaused ? 'is paused' : 'reads'}`
}

/** All rows. `bench` is asked for in each. */
export function rowsWith(traits: PeerTraits, bench: () => Bench): void {
  const [near, far]: [Side, Side] = traits.side === 'client' ? ['server', 'client'] : ['client', 'server']
  for (const first of [near, far])
    for (const how of ['ends', 'closes', 'resets'] as const)
      describe(titleOf(how, first, traits), () => {
        for (const row of rowsOf(how, first))
          it(nameOf(row), async () => {
            const line = await load(row, await bench().open())
            if (how === 'ends' && (first === near || !traits.endsBoth)) await passesEnds(line)
            else if (first === near) await oursBreaks(line)
            else await itBreaks(line, traits)
          })
      })
}

function titleOf(
  how: Row['how'],
  first: Side,
  { name, side, saysEndForReset, endsBoth }: PeerTraits,
): string {
  const isOurs = first !== side
  const traps = {
    ends: !isOurs && endsBoth ? ` (${name} ends the other direction as well)` : '',
    closes: '',
    resets: isOurs ? ` (${name} shows an end)` : saysEndForReset ? ` (${name} says an end)` : '',
  }
  return `the ${first} beside ${isOurs ? 'ours' : name} ${how}${traps[how]}`
}

async function load(row: Row, line: Line): Promise<Loaded> {
  const { client, server } = line
  const [sender, reader] = row.from === 'client' ? [client, server] : [server, client]
  const [first, last] = row.first === 'client' ? [client, server] : [server, client]
  sender.read()
  if (!row.isPaused) reader.read()
  const bytes = LOADS[row.load]
  sender.send(bytes)
  if (row.isPaused) await reader.unread(Math.min(bytes, UNREAD))
  else await reader.until(() => reader.received >= Math.min(bytes, ARRIVED))
  const isRead = reader === first && bytes > 0
  const closing = !isRead ? 'FIN' : row.isPaused ? 'RST' : row.load === 'a few bytes' ? 'FIN' : 'either'
  return { ...line, row, first, last, reader, sender, closing }
}

/** All bytes and the end, and then those of the other direction. */
async function passesEnds({ first, last, reader, frames, until, over }: Loaded): Promise<void> {
  first.end()
  reader.read()
  expect(await last.ended()).toBe('end')
  last.send(5)
  last.end()
  expect(await first.ended()).toBe('end')
  expect([first.received, last.received]).toEqual([last.sent, first.sent])
  expect([first.hasTrueBytes, last.hasTrueBytes]).toEqual([true, true])
  expect(await over()).toBeUndefined()
  await until(({ told }) => told.length > 0)
  const { told, said } = frames()
  expect(told).toEqual(['END'])
  expect(said.filter(frame => frame !== 'END')).toEqual([])
}

/** Ours tells of a TCP reset by CONNECT_ERROR, without an end before it; an end that was true stays one. */
async function oursBreaks(line: Loaded): Promise<void> {
  const { row, first, last, reader, sender, closing, frames, until, over } = line
  if (row.how === 'resets') first.reset()
  else first.close()
  // Without an end, what is in its kernel is all that it gets.
  if (reader === last) {
    if (row.how === 'resets' && row.load === 'a few bytes') await until(({ told }) => told.length > 0)
    reader.read()
  }
  if ((await last.ended()) === 'end') await last.speakUntilReset()
  await until(({ told }) => told.includes('CONNECT_ERROR'))
  const { told } = frames()
  expect(told.at(-1)).toBe('CONNECT_ERROR')
  if (row.how === 'resets') expect(told).toEqual(['CONNECT_ERROR'])
  else if (closing === 'FIN') expect(told).toEqual(['END', 'CONNECT_ERROR'])
  if (reader === last && row.load === 'a few bytes') expect(last.received).toBe(sender.sent)
  expect(last.hasTrueBytes).toBe(true)
  expect(await over()).toBe(row.first)
}

/** Ours shows an end only where one was said; what arrived before comes first; whoever sends on hears a reset. */
async function itBreaks(line: Loaded, { saysEndForReset }: PeerTraits): Promise<void> {
  const { row, first, last, reader, sender, closing, frames, until, over } = line
  if (row.how === 'resets') first.reset()
  else if (row.how === 'closes') first.close()
  else first.end()
  if (reader === last) {
    if (row.how === 'resets' && row.load === 'a few bytes') await until(({ said }) => said.length > 0)
    reader.read()
  }
  const ending = await last.ended()
  if (ending === 'end') await last.speakUntilReset()
  const isReset = row.how === 'resets' || (row.how === 'closes' && closing === 'RST')
  await until(({ said }) => said.some(frame => frame !== 'END'))
  const { said } = frames()
  if (saysEndForReset) {
    if (!said.includes('END')) expect(ending).toBe('reset')
  } else if (isReset) expect(ending).toBe('reset')
  // A transfer that was cut is no end.
  if (row.how === 'ends' && ending === 'end' && reader === last) expect(last.received).toBe(sender.sent)
  if (reader === last && row.load === 'a few bytes') expect(last.received).toBe(sender.sent)
  expect(last.hasTrueBytes).toBe(true)
  expect(await over()).toBe(row.first)
}
