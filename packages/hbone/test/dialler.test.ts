/** What surfaces open tunnels with. */
import { createHbonePool, tunnelsVia } from '@ambient/hbone'
import { expect, it, vi } from 'vitest'
import { db, web } from './harness.ts'

it.each([
  ['', 80],
  ['a b', 80],
  ['10.0.0.1', 0],
  ['10.0.0.1', 65_536],
  ['10.0.0.1\r\nx: y', 80],
  ['naïve', 80],
  ['host\u001b[31m', 80],
  ['host\u009b31m\u007f\u202e', 80],
])('%j and %j are no target: an error of the caller, and nothing is dialled', async (host, port) => {
  const dial = vi.fn(() => Promise.reject(new Error('dialled')))
  const pool = createHbonePool({ dial })
  const open = tunnelsVia({
    pool,
    credentials: () => web,
    to: { address: '127.0.0.1', port: 1 },
    expect: [db.id],
  })
  await expect(open({ host, port })).rejects.toMatchObject({
    code: 'AMBIENT_E_HBONE_OPTION',
    message: expect.not.stringMatching(/[\p{Cc}\p{Cf}]/u),
  })
  expect(dial).not.toHaveBeenCalled()
  await pool.close({ graceMs: 0 })
})
