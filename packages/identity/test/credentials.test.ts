import { X509Certificate } from 'node:crypto'
import { inspect } from 'node:util'
import { parseSpiffeId } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { createTestIdentities } from '../src/testing/index.ts'
import { createCredentials, createCertificateRequest } from '../src/index.ts'

const der = (pem: string): Uint8Array => new X509Certificate(pem).raw

describe('credentials', () => {
  it('prove each other within one trust domain', async () => {
    const identities = await createTestIdentities()
    const web = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const db = await identities.credentials('spiffe://cluster.local/ns/shop/sa/db')
    const chain = [der(db.certificateChain)]
    expect(web.verifyPeer(chain, { kind: 'own-trust-domain' })).toEqual({
      ok: true,
      id: db.id,
      notAfter: db.notAfter,
    })
    expect(web.verifyPeer(chain, { kind: 'one-of', ids: [db.id] }).ok).toBe(true)
    expect(web.verifyPeer(chain, { kind: 'one-of', ids: [web.id] })).toEqual({
      ok: false,
      problem: 'unexpected-identity',
      reason:
        'leaf: peer is spiffe://cluster.local/ns/shop/sa/db, expected spiffe://cluster.local/ns/shop/sa/web',
    })
    expect(web.verifyPeer(chain, { kind: 'one-of', ids: [] }).ok).toBe(false)
  })

  it('never show their key', async () => {
    const identities = await createTestIdentities()
    const web = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const request = await createCertificateRequest(web.id)
    const server = await identities.ca.issueServerCertificate({ dnsNames: ['localhost'], ipAddresses: [] })
    for (const holder of [web, request, server, identities.ca]) {
      const dump = inspect(holder, { depth: 9, showHidden: true }) + JSON.stringify(holder)
      expect(dump).not.toContain('PRIVATE KEY')
    }
    expect(JSON.stringify(web)).toContain('[redacted]')
    expect(web.privateKey()).toContain('BEGIN PRIVATE KEY')
    expect(Object.isFrozen(web)).toBe(true)
  })

  it('refuse a key of another certificate, no chain and no anchors', async () => {
    const identities = await createTestIdentities()
    const web = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const other = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const good = {
      certificateChain: web.certificateChain,
      privateKey: web.privateKey(),
      trustBundle: web.trustBundle,
    }
    const code = (change: Partial<typeof good>): unknown => {
      try {
        createCredentials({ ...good, ...change })
        return 'accepted'
      } catch (error) {
        return error instanceof Error && 'code' in error ? error.code : error
      }
    }
    expect(code({})).toBe('accepted')
    expect(code({ privateKey: other.privateKey() })).toBe('AMBIENT_E_PRIVATE_KEY')
    expect(code({ privateKey: 'nonsense' })).toBe('AMBIENT_E_PRIVATE_KEY')
    expect(code({ certificateChain: '' })).toBe('AMBIENT_E_CERTIFICATE')
    expect(code({ certificateChain: web.trustBundle })).toBe('AMBIENT_E_CERTIFICATE')
    expect(code({ trustBundle: '' })).toBe('AMBIENT_E_TRUST_BUNDLE')
  })

  it('stop believing at the end of a certificate, by the given clock', async () => {
    const clock = createManualClock()
    const identities = await createTestIdentities({ clock })
    const web = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const chain = [der(web.certificateChain)]
    expect(web.verifyPeer(chain, { kind: 'own-trust-domain' }).ok).toBe(true)
    clock.advance(24 * 3_600_000)
    expect(web.verifyPeer(chain, { kind: 'own-trust-domain' }).ok).toBe(true)
    clock.advance(1_000)
    expect(web.verifyPeer(chain, { kind: 'own-trust-domain' })).toMatchObject({ problem: 'expired' })
  })
})

describe('the test source', () => {
  it('issues once per identity and tells watchers of a rotation', async () => {
    const source = (await createTestIdentities()).source()
    const id = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
    expect(source.current(id)).toBeUndefined()
    const [first, again] = await Promise.all([source.get(id), source.get(id)])
    expect(again).toBe(first)
    const seen: number[] = []
    const stop = source.watch(id, credentials => seen.push(credentials.generation))
    const rotated = await source.rotate(id)
    stop()
    await source.rotate(id)
    expect(rotated.generation).toBeGreaterThan(first.generation)
    expect(seen).toEqual([rotated.generation])
  })
})
