/**
 * Resets through plain TCP → tunnel → plain TCP: a reset is a reset at the other end, after the bytes that had arrived;
 * it is never an end.
 */
import { describe, expect, it } from 'vitest'
import { load, nameOf, rows, speakUntilReset } from './truth-rows.ts'

describe('RST', () => {
  for (const row of rows)
    it(nameOf(row, 'resets'), async () => {
      const { first, last, sender, reader, ...line } = await load(row)
      first.reset()
      if (reader === last && row.reader === 'is paused') {
        if (row.load !== 'more than the windows') await Promise.all([line.near.done, line.far.done])
        reader.resume()
      }
      await last.events.seen('reset')
      expect(last.ending).toBe('reset')
      expect(last.hasTrueBytes).toBe(true)
      if (last === reader && row.load !== 'more than the windows')
        expect(last.events.received).toBe(sender.sent)
      const [near, far] = await Promise.all([line.near.done, line.far.done])
      const [told, heard] = row.first === 'client' ? [near, far] : [far, near]
      // The proxy beside the application that failed, and the one at the other end of the tunnel.
      const side = row.first === 'client' ? 'a' : 'b'
      expect(told.ending).toMatchObject({ kind: 'reset', side, reset: { code: 'CONNECT_ERROR' } })
      expect(heard.ending).toMatchObject({
        kind: 'reset',
        side,
        reset: { code: 'CONNECT_ERROR', by: 'peer' },
      })
    })

  for (const row of rows.filter(({ load: bytes }) => bytes !== 'more than the windows'))
    it(nameOf(row, 'ends, then resets'), async () => {
      const line = await load(row)
      const { first, last, sender, reader } = line
      first.end()
      if (reader === last && row.reader === 'is paused') reader.resume()
      await last.events.seen('end')
      first.reset()
      await speakUntilReset(line, row.first)
      if (last === reader) expect(last.events.received).toBe(sender.sent)
    })
})
