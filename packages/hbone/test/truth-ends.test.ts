/**
 * Clean ends through plain TCP → tunnel → plain TCP: every byte arrives, an end is an end and leaves the other direction
 * alone. An application that closes its socket ends as the kernel says: FIN, or RST over bytes that it has not read.
 */
import { describe, expect, it } from 'vitest'
import { load, nameOf, rows, speakUntilReset } from './truth-rows.ts'

describe('FIN', () => {
  for (const row of rows)
    it(nameOf(row, 'ends first'), async () => {
      const { first, last, sender, reader, ...line } = await load(row)
      first.end()
      if (row.reader === 'is paused') {
        // The end of a side that sends nothing passes whatever the other direction does.
        if (first === reader) await last.events.seen('end')
        reader.resume()
      }
      await last.events.seen('end')
      last.send(5)
      last.end()
      await first.events.seen('end')
      expect([reader.events.received, sender.events.received]).toEqual([sender.sent, reader.sent])
      expect([first.ending, last.ending]).toEqual(['end', 'end'])
      expect([first.hasTrueBytes, last.hasTrueBytes]).toEqual([true, true])
      const [near, far] = await Promise.all([line.near.done, line.far.done])
      expect([near.ending, far.ending]).toEqual([{ kind: 'ended' }, { kind: 'ended' }])
      expect([near.aToB, near.bToA]).toEqual([line.client.sent, line.server.sent])
      expect([far.aToB, far.bToA]).toEqual([line.client.sent, line.server.sent])
    })
})

describe('close', () => {
  for (const row of rows)
    it(nameOf(row, 'closes its socket'), async () => {
      const line = await load(row)
      const { first, last, sender, reader } = line
      const isMuch = row.load === 'more than the windows'
      const isUnread = first === reader && row.load !== 'nothing' && row.reader === 'is paused'
      first.close()
      if (last === reader && row.reader === 'is paused') last.resume()
      // Over bytes that are on their way the kernel says RST, maybe after its FIN.
      if (isUnread || (first === reader && isMuch)) await last.events.seen('reset')
      else {
        await last.events.seen('end')
        await speakUntilReset(line, row.first)
      }
      if (isUnread) expect(last.ending).toBe('reset')
      if (last === reader && !isMuch) expect(last.events.received).toBe(sender.sent)
      expect(last.hasTrueBytes).toBe(true)
      const [near, far] = await Promise.all([line.near.done, line.far.done])
      expect([near.ending.kind, far.ending.kind]).toEqual(['reset', 'reset'])
    })
})
