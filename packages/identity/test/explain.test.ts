/** `explainChain`: the verdict of `verifyPeerChain`, and the rule that decided it, over every fixture there is. */
import { parseSpiffeId } from '@ambient/core'
import { beforeAll, describe, expect, it } from 'vitest'
import { explainChain, verifyPeerChain, type VerifyPeerOptions } from '../src/index.ts'
import {
  caExtensions,
  ext,
  HOUR,
  intermediate,
  leaf,
  leafExtensions,
  type Made,
  make,
  NOW,
  root,
  rsa,
  SERVER,
  TRUST_DOMAIN,
  WEB,
} from './fixtures.ts'

let anchor: Made

beforeAll(async () => {
  anchor = await root()
})

const options = (chain: readonly Made[], more: Partial<VerifyPeerOptions> = {}): VerifyPeerOptions => ({
  chain: chain.map(made => made.der),
  trustBundle: anchor.pem,
  ownTrustDomain: TRUST_DOMAIN,
  expect: { kind: 'own-trust-domain' },
  now: NOW,
  ...more,
})

describe('explainChain', () => {
  it('tells every rule of every certificate of a good chain', async () => {
    const ca = await intermediate(anchor, 'CN=ca')
    const stranger = await root('O=stranger')
    const { verdict, rules } = explainChain(options([await leaf(ca), stranger, ca]))
    expect(verdict).toEqual({ ok: true, id: parseSpiffeId(WEB), notAfter: NOW + HOUR })
    expect(rules.filter(({ outcome }) => outcome === 'fail')).toEqual([])
    const of = (certificate: string): string[] =>
      rules.filter(row => row.certificate === certificate).map(({ rule, outcome }) => `${rule} ${outcome}`)
    expect(of('chain')).toEqual(['chain-bytes pass', 'chain-length pass', 'chain-not-empty pass'])
    expect(of('leaf')).toEqual([
      'der pass',
      'uri-san pass',
      'san-critical pass',
      'spiffe-id pass',
      'spiffe-id-path pass',
      'basic-constraints pass',
      'key-usage pass',
      'key-usage-critical pass',
      'key-usage-cert-sign pass',
      'key-usage-crl-sign pass',
      'key-usage-digital-signature pass',
      'extended-key-usage pass',
      'critical-extensions pass',
      'key-strength pass',
      'trust-domain pass',
      'trust-bundle pass',
      'not-after pass',
      'not-before pass',
      'signature-algorithm pass',
      'signature pass',
      'revocation pass',
      'expectation pass',
    ])
    const signer = [
      'critical-extensions pass',
      'key-strength pass',
      'basic-constraints pass',
      'path-length pass',
      'key-usage-cert-sign pass',
      'extended-key-usage pass',
      'spiffe-id pass',
      'not-after pass',
      'not-before pass',
    ]
    expect(of('certificate 2 of 3')).toEqual(['der pass', 'signature skip'])
    expect(of('certificate 3 of 3')).toEqual([
      'der pass',
      ...signer,
      'signature-algorithm pass',
      'signature pass',
    ])
    expect(of('trust anchor 1')).toEqual(signer)
    expect(rules).toContainEqual({
      certificate: 'leaf',
      rule: 'signature',
      outcome: 'pass',
      detail: 'by certificate 3 of 3',
    })
  })

  it('tells everything that is wrong, not only what decided', async () => {
    const bad = await intermediate(anchor, 'CN=bad', {
      notAfter: NOW - 1_000,
      extensions: caExtensions({ bc: ext.bc(false), more: [ext.uriConstraint('other.example')] }),
    })
    const { verdict, rules } = explainChain(
      options([await leaf(bad, { ku: null, eku: ext.eku(SERVER) }), bad], {
        expect: { kind: 'one-of', ids: [parseSpiffeId(`${WEB}2`)] },
      }),
    )
    expect(verdict).toMatchObject({ ok: false, problem: 'key-usage', rule: 'key-usage', certificate: 'leaf' })
    const failed = rules.filter(({ outcome }) => outcome === 'fail')
    expect(failed).toEqual([
      { certificate: 'leaf', rule: 'key-usage', outcome: 'fail', detail: 'has no key usage' },
      {
        certificate: 'leaf',
        rule: 'extended-key-usage',
        outcome: 'fail',
        detail: 'its extended key usage lacks clientAuth',
      },
      {
        certificate: 'certificate 2 of 2',
        rule: 'basic-constraints',
        outcome: 'fail',
        detail: 'signs certificates but is not a CA',
      },
      {
        certificate: 'certificate 2 of 2',
        rule: 'not-after',
        outcome: 'fail',
        detail: 'expired at 2026-05-31T23:59:59.000Z',
      },
      {
        certificate: 'leaf',
        rule: 'name-constraints',
        outcome: 'fail',
        detail: `its name "${WEB}" is outside the name constraints (name constraints of certificate 2 of 2)`,
      },
      {
        certificate: 'leaf',
        rule: 'expectation',
        outcome: 'fail',
        detail: `peer is ${WEB}, expected ${WEB}2`,
      },
    ])
  })

  it('says of a revoked certificate which one it is', async () => {
    const ca = await intermediate(anchor, 'CN=ca')
    const revocations = {
      problemOf: () => ({ problem: 'revoked', reason: 'certificate 2 of 2: revoked by its issuer' }) as const,
    }
    const { verdict, rules } = explainChain(options([await leaf(ca), ca], { revocations }))
    expect(verdict).toMatchObject({ ok: false, rule: 'revocation', certificate: 'certificate 2 of 2' })
    expect(rules).toContainEqual({
      certificate: 'certificate 2 of 2',
      rule: 'revocation',
      outcome: 'fail',
      detail: 'revoked by its issuer',
    })
  })
})

interface Fixture {
  readonly name: string
  readonly options: VerifyPeerOptions
}

/** One of each kind of verdict, and combinations of what is wrong. */
async function fixtures(): Promise<readonly Fixture[]> {
  const stranger = await root('O=stranger')
  const [one, two, three, four] = await ladder(anchor, 4)
  const capped = await root('O=capped', { extensions: caExtensions({ pathLength: 0 }) })
  const under = await intermediate(capped, 'CN=under')
  const old = await root('O=old', { keys: await rsa(2048, 'SHA-1') })
  const expired = await intermediate(anchor, 'CN=expired', { notAfter: NOW - 1 })
  const nonCa = await intermediate(anchor, 'CN=leaf', { extensions: leafExtensions() })
  const limited = await intermediate(anchor, 'CN=limited', {
    extensions: caExtensions({ more: [ext.uriConstraint('other.example')] }),
  })
  const good = await leaf(anchor)
  const chains: readonly (readonly [string, readonly Made[], (readonly Made[])?])[] = [
    ['nothing', []],
    ['good', [good]],
    ['good, without a bundle', [good], []],
    ['three CAs', [await leaf(three), three, two, one]],
    ['four CAs', [await leaf(four), four, three, two, one]],
    ['four CAs and the root', [await leaf(four), four, three, two, one, anchor]],
    ['a CA missing', [await leaf(three), three, one]],
    ['unknown CA', [await leaf(stranger)]],
    ['unknown CA, presented', [await leaf(stranger), stranger]],
    ['self-signed', [await make({ extensions: leafExtensions() })]],
    ['path length', [await leaf(under), under], [capped]],
    ['SHA-1', [await leaf(old)], [old]],
    ['expired CA', [await leaf(expired), expired]],
    ['no CA', [await leaf(nonCa), nonCa]],
    ['name constraint', [await leaf(limited), limited]],
    ['no SAN', [await leaf(anchor, { san: null })]],
    ['no path', [await leaf(anchor, { uri: 'spiffe://td.example' })]],
    ['other domain', [await leaf(anchor, { uri: 'spiffe://other.example/x' })]],
    ['CA:TRUE', [await leaf(anchor, { bc: ext.bc(true) })]],
    ['no key usage, expired', [await leaf(anchor, { ku: null }, { notAfter: NOW - 1 })]],
    ['garbage', [{ ...good, der: Uint8Array.of(1, 2, 3) }]],
    ['garbage behind', [good, { ...good, der: Uint8Array.of(0x30, 0x80) }]],
    ['64 KiB', [good, { ...good, der: new Uint8Array(65_536) }]],
  ]
  const expectations: readonly VerifyPeerOptions['expect'][] = [
    { kind: 'any' },
    { kind: 'own-trust-domain' },
    { kind: 'one-of', ids: [parseSpiffeId(`${WEB}2`)] },
    { kind: 'member-of', trustDomain: 'other.example' },
  ]
  return chains.flatMap(([name, chain, bundle = [anchor]]) =>
    expectations.flatMap(expected =>
      [NOW, NOW - 2 * HOUR, NOW + 2 * HOUR].map(now => ({
        name: `${name} ${expected.kind} ${now - NOW}`,
        options: options(chain, {
          trustBundle: bundle.map(({ pem }) => pem).join(''),
          federatedBundles: new Map([['other.example', stranger.pem]]),
          expect: expected,
          now,
        }),
      })),
    ),
  )
}

async function ladder(from: Made, count: number): Promise<[Made, Made, Made, Made]> {
  const made: Made[] = []
  for (let at = 1; at <= count; at += 1) made.push(await intermediate(made[at - 2] ?? from, `CN=ca-${at}`))
  const [one = from, two = from, three = from, four = from] = made
  return [one, two, three, four]
}

it('agrees with verifyPeerChain, and a rule fails exactly when the verdict is a refusal', async () => {
  const problems = new Set<string>()
  for (const { name, options: given } of await fixtures()) {
    const { verdict, rules } = explainChain(given)
    const plain = verifyPeerChain(given)
    const failed = rules.filter(({ outcome }) => outcome === 'fail')
    if (verdict.ok) {
      expect(plain, name).toEqual(verdict)
      expect(failed, name).toEqual([])
      continue
    }
    const { problem, reason, rule, certificate } = verdict
    problems.add(`${problem} ${rule}`)
    expect(plain, name).toEqual({ ok: false, problem, reason })
    expect(
      failed.some(row => row.rule === rule && row.certificate === certificate),
      `${name}: ${certificate} ${rule} of ${JSON.stringify(failed)}`,
    ).toBe(true)
    if (certificate !== 'chain') expect(reason.startsWith(certificate), `${name}: ${reason}`).toBe(true)
    for (const { detail } of rules) expect(detail, name).not.toBe('')
  }
  expect(problems.size).toBeGreaterThan(15)
})
