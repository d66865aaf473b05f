/** The first handshake of a process: what is found out for it must not hide a peer that leaves meanwhile. */
import { createTestIdentities } from '@ambient/identity/testing'
import { listen } from '@ambient/core/node'
import { expect, it } from 'vitest'
import { createHbonePool } from '../src/index.ts'

it('with a peer that closes at once fails at once', async () => {
  const identities = await createTestIdentities()
  const credentials = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection(socket) {
      socket.on('error', () => {})
      socket.destroy()
    },
  })
  const pool = createHbonePool({ limits: { handshakeMs: 15_000 } })
  const failed = pool.connect({
    credentials,
    to: listener,
    expect: [credentials.id],
    authority: '10.0.0.1:80',
  })
  await expect(failed).rejects.toMatchObject({
    code: 'AMBIENT_E_TLS',
    message: expect.stringContaining('the peer closed the connection'),
  })
  await pool.close({ graceMs: 0 })
  await listener.close()
}, 10_000)
