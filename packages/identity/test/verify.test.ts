/** The verdict on a chain: every row of the table, and what is no row of it: damage, bundles, order, expectations. */
import { parseSpiffeId, type PeerVerdict } from '@ambient/core'
import { beforeAll, describe, expect, it } from 'vitest'
import { explainChain, verifyPeerChain, type VerifyPeerOptions } from '../src/index.ts'
import { HOUR, intermediate, leaf, type Made, NOW, root, TRUST_DOMAIN, WEB } from './fixtures.ts'
import { createWorld, type Presented, rows, type World } from './verify-rows.ts'

let world: World
let anchor: Made
let otherAnchor: Made

beforeAll(async () => {
  world = await createWorld()
  anchor = world.anchor
  otherAnchor = await root('O=third.example')
})

const verify = (
  chain: readonly Made[],
  bundle: readonly Made[] = [anchor],
  now = NOW,
  expected?: string,
): PeerVerdict =>
  verifyPeerChain({
    ...optionsOf({ chain, bundle }),
    expect:
      expected === undefined
        ? { kind: 'own-trust-domain' }
        : { kind: 'one-of', ids: [parseSpiffeId(expected)] },
    now,
  })

function optionsOf({ chain, bundle = [anchor] }: Presented): VerifyPeerOptions {
  return {
    chain: chain.map(made => made.der),
    trustBundle: bundle.map(made => made.pem).join(''),
    ownTrustDomain: TRUST_DOMAIN,
    federatedBundles: new Map([['other.example', world.other.pem]]),
    expect: { kind: 'any' },
    now: NOW,
  }
}

const accepted = { ok: true, id: { uri: WEB } }

describe('the table', () => {
  for (const { name, build, refused } of rows)
    it(`${refused === undefined ? 'accepts' : 'refuses'} ${name}`, async () => {
      const options = optionsOf(await build(world))
      const verdict = verifyPeerChain(options)
      const { verdict: explained, rules } = explainChain(options)
      const failed = rules.filter(({ outcome }) => outcome === 'fail')
      if (refused === undefined) {
        expect(verdict).toMatchObject({ ok: true, id: { trustDomain: TRUST_DOMAIN } })
        expect(explained).toEqual(verdict)
        expect(failed).toEqual([])
        return
      }
      const { problem, reason, rule, certificate } = refused
      expect(verdict).toEqual({ ok: false, problem, reason: expect.stringMatching(reason) })
      // The reason begins with the certificate that it is about.
      expect(verdict.ok ? '' : verdict.reason).toMatch(new RegExp(`^${certificate}(?: \\(spiffe:.*?\\))?: `))
      expect(explained).toEqual({ ...verdict, rule, certificate })
      expect(failed).toContainEqual(expect.objectContaining({ rule, certificate }))
    })
})

describe('a chain', () => {
  it('is refused when it is empty, unreadable, or followed by bytes', async () => {
    const good = await leaf(anchor)
    expect(verify([])).toMatchObject({ problem: 'no-certificate' })
    expect(verify([{ ...good, der: new Uint8Array([1, 2, 3]) }])).toMatchObject({ problem: 'malformed' })
    expect(verify([{ ...good, der: Buffer.concat([good.der, Buffer.from([0])]) }])).toMatchObject({
      problem: 'malformed',
      reason: expect.stringMatching(/^leaf: certificate: 1 bytes too many/),
    })
  })

  it('is refused when any byte of the leaf is changed', async () => {
    const good = await leaf(anchor)
    for (let at = 0; at < good.der.length; at += 7) {
      const der = Uint8Array.from(good.der)
      der[at] = (der[at] ?? 0) ^ 0x01
      expect(verify([{ ...good, der }]).ok, `byte ${at}`).toBe(false)
    }
  })

  it('needs the anchors of a bundle that can be read, and only those', async () => {
    const good = await leaf(anchor)
    const broken = { ...anchor, pem: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' }
    expect(verify([good], [broken, anchor])).toMatchObject(accepted)
    const cut = { ...anchor, pem: anchor.pem.slice(0, 300) }
    const notBase64 = { ...anchor, pem: anchor.pem.replace('MII', 'M*I') }
    expect(verify([good], [cut, notBase64, anchor])).toMatchObject(accepted)
    expect(verify([good], [cut, notBase64])).toMatchObject({ problem: 'untrusted' })
    expect(verify([good], [broken])).toMatchObject({ problem: 'untrusted' })
    expect(verify([good], [])).toMatchObject({ problem: 'untrusted' })
  })

  it('may have three intermediates, in any order, with junk among them, and the root', async () => {
    const one = await intermediate(anchor, 'CN=one')
    const two = await intermediate(one, 'CN=two')
    const three = await intermediate(two, 'CN=three')
    const good = await leaf(three)
    expect(verify([good, three, two, one])).toMatchObject(accepted)
    expect(verify([good, one, three, two])).toMatchObject(accepted)
    expect(verify([good, three, two, one, anchor])).toMatchObject(accepted)
    expect(verify([await leaf(two), two, one, otherAnchor])).toMatchObject(accepted)
    expect(verify([good, three, one])).toMatchObject({ problem: 'untrusted' })
  })

  it('ends as soon as its shortest-lived certificate', async () => {
    const short = await intermediate(anchor, 'CN=short', { notAfter: NOW + 60_000 })
    expect(verify([await leaf(short), short])).toMatchObject({ ok: true, notAfter: NOW + 60_000 })
  })
})

describe('the expectation', () => {
  it('is one of the named IDs, exactly', async () => {
    const good = await leaf(anchor)
    expect(verify([good], [anchor], NOW, WEB)).toMatchObject(accepted)
    expect(verify([good], [anchor], NOW, `${WEB}2`)).toEqual({
      ok: false,
      problem: 'unexpected-identity',
      reason: `leaf: peer is ${WEB}, expected ${WEB}2`,
    })
  })

  it('is asked only of a proven chain', async () => {
    expect(verify([await leaf(otherAnchor)], [anchor], NOW, `${WEB}2`)).toMatchObject({
      problem: 'untrusted',
    })
    expect(verify([await leaf(anchor)], [anchor], NOW + 2 * HOUR, WEB)).toMatchObject({ problem: 'expired' })
  })
})
