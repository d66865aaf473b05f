/**
 * A session that is lost under tunnels: whoever was owed an end or bytes hears of a reset, what had arrived is delivered
 * first, and what had ended before stays ended.
 */
import { describe, expect, it } from 'vitest'
import { type Loaded, load, rows, speakUntilReset } from './truth-rows.ts'

// Nobody's end is the first here: rows that differ in nothing else are one.
const table = rows
  .filter(row => row.first === 'client')
  .flatMap(row => (['FIN', 'RST'] as const).map(cut => ({ ...row, cut })))

function expectBytes(line: Loaded, sent: number, isMuch: boolean): void {
  const { reader } = line
  expect(reader.hasTrueBytes).toBe(true)
  if (isMuch) expect(reader.events.received).toBeLessThanOrEqual(sent)
  else expect(reader.events.received).toBe(sent)
}

describe('a lost session', () => {
  for (const { from, load: bytes, reader, cut, ...row } of table)
    it(`${cut}, ${bytes} on the way from the ${from}, whose reader ${reader}`, async () => {
      const line = await load({ ...row, from, load: bytes, reader })
      line.cut(cut)
      if (reader === 'is paused') {
        if (bytes !== 'more than the windows') await Promise.all([line.near.done, line.far.done])
        line.reader.resume()
      }
      await Promise.all([line.client.events.seen('reset'), line.server.events.seen('reset')])
      expect([line.client.ending, line.server.ending]).toEqual(['reset', 'reset'])
      expectBytes(line, line.sender.sent, bytes === 'more than the windows')
      const [near, far] = await Promise.all([line.near.done, line.far.done])
      expect([near.ending, far.ending]).toMatchObject([
        { kind: 'reset', side: 'b' },
        { kind: 'reset', side: 'a' },
      ])
    })
})

describe('a lost session after one end', () => {
  const ended = (['client', 'server'] as const).flatMap(first => table.map(row => ({ ...row, first })))
  for (const { first, from, load: bytes, reader, cut } of ended)
    it(`${cut} after the ${first}’s end, ${bytes} on the way from the ${from}, whose reader ${reader}`, async () => {
      const line = await load({ first, from, load: bytes, reader })
      const { sent } = line.sender
      line.first.end()
      if (reader === 'is paused' && line.last === line.reader) line.reader.resume()
      await line.last.events.seen('end')
      line.cut(cut)
      if (reader === 'is paused' && line.first === line.reader) line.reader.resume()
      await line.first.events.seen('reset')
      expect(line.first.ending).toBe('reset')
      await line.last.events.seen('end')
      // The last one hears when it has more to say: what it read is not cut on its way onwards.
      await speakUntilReset(line, first)
      expectBytes(line, sent, from !== first && bytes === 'more than the windows')
    })
})
