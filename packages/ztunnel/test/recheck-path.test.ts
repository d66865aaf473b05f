/** A certificate is revoked while connections live: they are cut on the side that hears of it, and written down. */
import { X509Certificate } from 'node:crypto'
import type { Rejudge } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { echo, fieldsOf, inbound, outbound, world } from './mesh.ts'
import { readAll, readBytes } from './sockets.ts'

/** What a revocation list would say of whoever has this identity. */
function revoking(account: string): Rejudge {
  return ({ chain, credentials, expect: expected, since }) => {
    const leaf = new X509Certificate(Buffer.from(chain[0] ?? []))
    return leaf.subjectAltName?.includes(`/sa/${account}`) === true
      ? { ok: false, problem: 'revoked', reason: `certificate ${leaf.serialNumber} was revoked` }
      : credentials.verifyPeer(chain, expected, since)
  }
}

describe('a revoked certificate', () => {
  it('of a caller cuts its connections, and nobody else’s', async () => {
    const w = await world(echo)
    const victim = await w.mesh.connect(w.client, 'web', 80)
    const other = await w.mesh.connect(w.stranger, 'web', 80)
    for (const { socket } of [victim, other]) {
      socket.write('here')
      expect(String(await readBytes(socket, 4))).toBe('here')
    }
    expect(w.b.ztunnel.recheckPeers(revoking('client'))).toBe(1)
    expect(await readAll(victim.socket)).toEqual({ text: '', end: 'reset' })
    expect(await w.mesh.record(inbound)).toMatchObject({
      flag: 'CERT_REVOKED',
      error: 'connection closed: peer certificate revoked by CRL',
    })
    await w.mesh.record(outbound)
    other.socket.end('still')
    expect(await readAll(other.socket)).toEqual({ text: 'still', end: 'fin' })
    const [line] = w.b.access().filter(entry => entry.includes('connection complete'))
    expect(fieldsOf(line ?? '')).toMatchObject({
      'src.identity': 'spiffe://cluster.local/ns/default/sa/client',
      error: 'connection closed: peer certificate revoked by CRL',
    })
    expect(w.b.ztunnel.recheckPeers()).toBe(0)
  })

  it('of a server cuts what its callers have with it', async () => {
    const w = await world(echo)
    const { socket } = await w.mesh.connect(w.client, 'web', 80)
    socket.write('here')
    expect(String(await readBytes(socket, 4))).toBe('here')
    expect(w.a.ztunnel.recheckPeers(revoking('server'))).toBe(1)
    expect(await readAll(socket)).toEqual({ text: '', end: 'reset' })
    expect(await w.mesh.record(outbound)).toMatchObject({
      flag: 'CERT_REVOKED',
      error: 'connection closed: peer certificate revoked by CRL',
    })
  })
})
