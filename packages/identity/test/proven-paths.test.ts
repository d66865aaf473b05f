/** What was proven once is not proven again, and never counts for more than it did. */
import { X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createTestIdentities } from '../src/testing/index.ts'
import { createProvenPaths, provenPath } from '../src/svid/proven-paths.ts'
import { verifyPeerChain } from '../src/svid/verify.ts'

const identities = await createTestIdentities({ trustDomain: 'a.example' })
const web = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
const chain = [new X509Certificate(web.certificateChain).raw]
const base = {
  chain,
  trustBundle: identities.ca.rootPem,
  ownTrustDomain: 'a.example',
  expect: { kind: 'any' },
  now: web.notBefore + 3_600_000,
} as const

describe('a chain that was proven', () => {
  it('is refused before and after its time', () => {
    expect(verifyPeerChain(base)).toMatchObject({ ok: true })
    expect(verifyPeerChain({ ...base, now: web.notAfter })).toMatchObject({ ok: true })
    expect(verifyPeerChain({ ...base, now: web.notAfter + 1 })).toMatchObject({ problem: 'expired' })
    expect(verifyPeerChain({ ...base, now: web.notBefore - 60_001 })).toMatchObject({
      problem: 'not-yet-valid',
    })
  })

  it('counts for its own trust domain only, also where another one has the same bundle', () => {
    expect(verifyPeerChain(base)).toMatchObject({ ok: true })
    expect(verifyPeerChain({ ...base, ownTrustDomain: 'b.example' })).toMatchObject({
      problem: 'trust-domain',
    })
    const federatedBundles = new Map([['a.example', identities.ca.rootPem]])
    expect(verifyPeerChain({ ...base, ownTrustDomain: 'b.example', federatedBundles })).toMatchObject({
      ok: true,
    })
    expect(
      verifyPeerChain({
        ...base,
        ownTrustDomain: 'b.example',
        federatedBundles,
        expect: { kind: 'own-trust-domain' },
      }),
    ).toMatchObject({ problem: 'trust-domain' })
    expect(
      verifyPeerChain({
        ...base,
        ownTrustDomain: 'b.example',
        federatedBundles,
        expect: { kind: 'member-of', trustDomain: 'b.example' },
      }),
    ).toMatchObject({ problem: 'unexpected-identity' })
  })

  it('is asked for revocations each time', () => {
    const revocations = {
      problemOf: () => ({ problem: 'revoked', reason: 'leaf: revoked' }) as const,
    }
    expect(verifyPeerChain(base)).toMatchObject({ ok: true })
    expect(verifyPeerChain({ ...base, revocations })).toMatchObject({ problem: 'revoked' })
  })

  it('is not another chain with the same bytes cut elsewhere', () => {
    const [leaf] = chain
    if (leaf === undefined) throw new Error('no leaf')
    expect(verifyPeerChain(base)).toMatchObject({ ok: true })
    expect(verifyPeerChain({ ...base, chain: [leaf.subarray(0, 10), leaf.subarray(10)] })).toMatchObject({
      problem: 'malformed',
    })
  })
})

it('keeps the paths that were used last', () => {
  const paths = createProvenPaths(2)
  const path = provenPath(web.id, [])
  for (const key of ['a', 'b']) paths.add(key, path)
  paths.get('a')
  paths.add('c', path)
  expect(['a', 'b', 'c'].map(key => paths.get(key) !== undefined)).toEqual([true, false, true])
})
