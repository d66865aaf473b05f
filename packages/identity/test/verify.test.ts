/** Every certificate fault of the field, one row each: what is presented, the verdict, the words of the reason. */
import { parseSpiffeId, type PeerVerdict } from '@ambient/core'
import { beforeAll, describe, expect, it } from 'vitest'
import { verifyPeerChain } from '../src/index.ts'
import {
  caExtensions,
  CLIENT,
  CODE_SIGNING,
  curveSpki,
  ext,
  HOUR,
  intermediate,
  KU,
  leaf,
  leafExtensions,
  type LeafParts,
  type Made,
  make,
  type MakeOptions,
  NOW,
  root,
  rsa,
  SERVER,
  tlv,
  TRUST_DOMAIN,
  uriName,
  WEB,
} from './fixtures.ts'

let anchor: Made
let otherAnchor: Made

beforeAll(async () => {
  anchor = await root()
  otherAnchor = await root('O=other.example')
})

const verify = (
  chain: readonly Made[],
  bundle: readonly Made[] = [anchor],
  now = NOW,
  expected?: string,
): PeerVerdict =>
  verifyPeerChain({
    chain: chain.map(made => made.der),
    trustBundle: bundle.map(made => made.pem).join(''),
    ownTrustDomain: TRUST_DOMAIN,
    expect:
      expected === undefined
        ? { kind: 'own-trust-domain' }
        : { kind: 'one-of', ids: [parseSpiffeId(expected)] },
    now,
  })

const accepted = { ok: true, id: { uri: WEB } }

describe('a leaf signed by a trust anchor', () => {
  const accept: Record<string, [LeafParts, Partial<MakeOptions>?]> = {
    'with everything in order': [{}],
    'without basic constraints': [{ bc: null }],
    'without extended key usage': [{ eku: null }],
    'with keyEncipherment as well, as istiod': [{ ku: ext.ku(KU.digitalSignature | KU.keyEncipherment) }],
    'with a DNS name beside the URI': [
      {
        san: ext.san([
          { type: 'dns', value: 'web.shop' },
          { type: 'url', value: WEB },
        ]),
      },
    ],
    'with a subject and a SAN that is not critical': [
      { san: ext.san([{ type: 'url', value: WEB }], false) },
      { subject: 'CN=web' },
    ],
    'that began 59 s in our future': [{}, { notBefore: NOW + 59_000 }],
    'that ends this very second': [{}, { notAfter: NOW }],
  }
  for (const [name, [parts, more]] of Object.entries(accept))
    it(`is accepted ${name}`, async () => {
      expect(verify([await leaf(anchor, parts, more)])).toMatchObject(accepted)
    })

  const uri = (value: string): LeafParts => ({ san: ext.sanBytes(uriName(value)) })
  const refuse: Record<string, [string, RegExp, LeafParts, Partial<MakeOptions>?]> = {
    expired: ['expired', /^leaf .*expired at 2026-05-31T23:59:59/, {}, { notAfter: NOW - 1_000 }],
    'not yet valid': ['not-yet-valid', /not valid before/, {}, { notBefore: NOW + 61_000 }],
    'two URIs': ['uri-san', /2 URIs/, { san: ext.sanBytes(uriName(WEB), uriName(`${WEB}2`)) }],
    'the same URI twice': ['uri-san', /2 URIs/, { san: ext.sanBytes(uriName(WEB), uriName(WEB)) }],
    'no SAN': ['uri-san', /no URI/, { san: null }],
    'only a DNS name': ['uri-san', /no URI/, { san: ext.san([{ type: 'dns', value: 'web' }]) }],
    'a SAN that is not critical, without a subject': [
      'uri-san',
      /must be critical/,
      { san: ext.san([{ type: 'url', value: WEB }], false) },
    ],
    'an ID without a path': ['spiffe-id', /names a trust domain/, uri('spiffe://td.example')],
    'an upper-case scheme': ['spiffe-id', /scheme/, uri('SPIFFE://td.example/ns/shop/sa/web')],
    'an upper-case trust domain': [
      'spiffe-id',
      /trust domain char/,
      uri('spiffe://TD.example/ns/shop/sa/web'),
    ],
    'a percent sign': ['spiffe-id', /path segment char/, uri('spiffe://td.example/ns/shop/sa/%77eb')],
    'dot segments': ['spiffe-id', /dot segments/, uri('spiffe://td.example/ns/../sa/web')],
    'a port': ['spiffe-id', /trust domain char/, uri('spiffe://td.example:443/ns/shop/sa/web')],
    'a query': ['spiffe-id', /path segment char/, uri(`${WEB}?x`)],
    'an empty fragment': ['spiffe-id', /path segment char/, uri(`${WEB}#`)],
    'a wildcard': ['spiffe-id', /path segment char/, uri('spiffe://td.example/ns/shop/sa/*')],
    'a NUL': ['spiffe-id', /path segment char/, uri(`${WEB}\u0000.evil`)],
    'a newline': ['spiffe-id', /path segment char/, uri(`${WEB}\n`)],
    'a comma': ['spiffe-id', /path segment char/, uri(`${WEB}, URI:spiffe://x/y`)],
    'a quote': ['spiffe-id', /path segment char/, uri(`"${WEB}"`.slice(1))],
    'a byte beyond ASCII': ['spiffe-id', /path segment char/, uri(`${WEB}\u00e4`)],
    '4,000 bytes': ['spiffe-id', /longer than 2048/, uri(`spiffe://td.example/${'a'.repeat(4_000)}`)],
    'another trust domain': [
      'trust-domain',
      /not ours, td\.example/,
      uri('spiffe://other.example/ns/shop/sa/web'),
    ],
    'CA:TRUE': ['basic-constraints', /CA:TRUE/, { bc: ext.bc(true) }],
    keyCertSign: ['key-usage', /keyCertSign/, { ku: ext.ku(KU.digitalSignature | KU.keyCertSign) }],
    cRLSign: ['key-usage', /cRLSign/, { ku: ext.ku(KU.digitalSignature | KU.cRLSign) }],
    'no key usage': ['key-usage', /no key usage/, { ku: null }],
    'a key usage that is not critical': [
      'key-usage',
      /not critical/,
      { ku: ext.ku(KU.digitalSignature, false) },
    ],
    'no digitalSignature': ['key-usage', /lacks digitalSignature/, { ku: ext.ku(KU.keyEncipherment) }],
    'an empty key usage': [
      'key-usage',
      /lacks digitalSignature/,
      { ku: ext.raw('2.5.29.15', true, Uint8Array.from([3, 1, 0])) },
    ],
    'serverAuth only': ['key-usage', /lacks clientAuth/, { eku: ext.eku(SERVER) }],
    'clientAuth only': ['key-usage', /lacks serverAuth/, { eku: ext.eku(CLIENT) }],
    'codeSigning only': ['key-usage', /lacks serverAuth and clientAuth/, { eku: ext.eku(CODE_SIGNING) }],
    'an unknown critical extension': [
      'malformed',
      /1\.2\.3\.4/,
      { more: [ext.raw('1.2.3.4', true, Uint8Array.from([5, 0]))] },
    ],
    'an extension twice': ['malformed', /given twice/, { more: [ext.ku(KU.digitalSignature)] }],
    'a BER length inside the SAN': [
      'malformed',
      /not DER/,
      {
        san: ext.raw(
          '2.5.29.17',
          true,
          Buffer.concat([Uint8Array.from([0x30, 0x81, WEB.length + 2]), uriName(WEB)]),
        ),
      },
    ],
    'an indefinite length inside the SAN': [
      'malformed',
      /not DER/,
      {
        san: ext.raw(
          '2.5.29.17',
          true,
          Buffer.concat([Uint8Array.from([0x30, 0x80]), uriName(WEB), Uint8Array.from([0, 0])]),
        ),
      },
    ],
    'bytes after the SAN': [
      'malformed',
      /too many/,
      { san: ext.raw('2.5.29.17', true, Buffer.concat([tlv(0x30, uriName(WEB)), Uint8Array.from([5, 0])])) },
    ],
    'a key on P-224': ['weak-key', /secp224r1/, {}, { publicKey: curveSpki('secp224r1') }],
    'a key on secp256k1': ['weak-key', /secp256k1/, {}, { publicKey: curveSpki('secp256k1') }],
  }
  for (const [name, [problem, reason, parts, more]] of Object.entries(refuse))
    it(`is refused with ${name}`, async () => {
      const verdict = verify([await leaf(anchor, parts, more)])
      expect(verdict).toMatchObject({ ok: false, problem })
      expect(verdict.ok ? '' : verdict.reason).toMatch(reason)
      expect(verdict.ok ? '' : verdict.reason).toMatch(/^leaf/)
    })

  it('is refused with an RSA key of 1024 bits, accepted with 2048', async () => {
    expect(verify([await leaf(anchor, {}, { keys: await rsa(1024) })])).toMatchObject({ problem: 'weak-key' })
    expect(verify([await leaf(anchor, {}, { keys: await rsa(2048) })])).toMatchObject(accepted)
  })

  it('is refused when signed over SHA-1', async () => {
    const old = await root('O=td.example', { keys: await rsa(2048, 'SHA-1') })
    const verdict = verify([await leaf(old)], [old])
    expect(verdict).toMatchObject({ ok: false, problem: 'weak-key' })
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

  it('is refused self-signed, from an unknown CA, and from a look-alike of ours', async () => {
    const alike = await root()
    expect(verify([await make({ extensions: leafExtensions() })])).toMatchObject({ problem: 'untrusted' })
    expect(verify([await leaf(otherAnchor)])).toMatchObject({
      problem: 'untrusted',
      reason: `leaf (${WEB}): no certificate of the trust bundle leads to it`,
    })
    expect(verify([await leaf(alike)])).toMatchObject({ problem: 'untrusted' })
    expect(verify([await leaf(alike), alike])).toMatchObject({ problem: 'untrusted' })
  })

  it('is proven by either of two roots with one subject', async () => {
    const successor = await root()
    for (const signer of [anchor, successor])
      for (const bundle of [
        [anchor, successor],
        [successor, anchor],
      ])
        expect(verify([await leaf(signer)], bundle)).toMatchObject(accepted)
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

  it('is refused past the limits of length and size', async () => {
    const four = [anchor]
    for (let i = 1; i <= 4; i += 1) four.unshift(await intermediate(four[0] ?? anchor, `CN=ca-${i}`))
    const good = await leaf(four[0] ?? anchor)
    expect(verify([good, ...four.slice(0, -1)])).toMatchObject({ problem: 'untrusted' })
    expect(verify([good, ...four])).toMatchObject({
      problem: 'malformed',
      reason: expect.stringMatching(/6 certificates/),
    })
    const big = await leaf(anchor, { more: [ext.raw('1.2.3.4', false, new Uint8Array(65_000))] })
    expect(verify([big, anchor])).toMatchObject({
      problem: 'malformed',
      reason: expect.stringMatching(/at most 65536/),
    })
  })

  const faults: Record<string, [string, RegExp, Partial<MakeOptions>]> = {
    'is no CA': [
      'basic-constraints',
      /^certificate 2 of 2: .*not a CA/,
      { extensions: caExtensions({ bc: ext.bc(false) }) },
    ],
    'has no basic constraints': ['basic-constraints', /not a CA/, { extensions: caExtensions({ bc: null }) }],
    'is a leaf': ['basic-constraints', /not a CA/, { extensions: leafExtensions() }],
    'lacks keyCertSign': [
      'key-usage',
      /without key usage keyCertSign/,
      { extensions: caExtensions({ ku: ext.ku(KU.digitalSignature) }) },
    ],
    'has no key usage': ['key-usage', /without key usage/, { extensions: caExtensions({ ku: null }) }],
    'is for servers only': [
      'key-usage',
      /extended key usage/,
      { extensions: caExtensions({ more: [ext.eku(SERVER)] }) },
    ],
    'has the ID of a workload': [
      'spiffe-id',
      /CA with the SPIFFE ID of a workload/,
      { extensions: caExtensions({ more: [ext.san([{ type: 'url', value: WEB }], false)] }) },
    ],
    'has expired': ['expired', /^certificate 2 of 2: expired/, { notAfter: NOW - 1_000 }],
    'is limited to another domain': [
      'untrusted',
      /outside the name constraints/,
      { extensions: caExtensions({ more: [ext.uriConstraint('other.example')] }) },
    ],
  }
  for (const [name, [problem, reason, more]] of Object.entries(faults))
    it(`is refused when its intermediate ${name}`, async () => {
      const bad = await intermediate(anchor, 'CN=bad', more)
      const verdict = verify([await leaf(bad), bad])
      expect(verdict).toMatchObject({ ok: false, problem })
      expect(verdict.ok ? '' : verdict.reason).toMatch(reason)
    })

  it('may be limited to our own domain, or carry its ID', async () => {
    const ours = await intermediate(anchor, 'CN=ours', {
      extensions: caExtensions({
        more: [
          ext.uriConstraint(TRUST_DOMAIN),
          ext.san([{ type: 'url', value: 'spiffe://td.example' }], false),
        ],
      }),
    })
    expect(verify([await leaf(ours), ours])).toMatchObject(accepted)
  })

  it('counts every CA against a path length, also those without a name', async () => {
    const capped = await root('O=capped', { extensions: caExtensions({ pathLength: 0 }) })
    const below = await intermediate(capped, 'CN=below')
    expect(verify([await leaf(capped)], [capped])).toMatchObject(accepted)
    expect(verify([await leaf(below), below], [capped])).toMatchObject({
      problem: 'basic-constraints',
      reason: 'trust anchor 1: allows 0 CAs below it, the path has 1',
    })
    const nameless = await root('', { extensions: caExtensions({ pathLength: 0 }) })
    const selfIssued = await intermediate(nameless, '')
    expect(verify([await leaf(selfIssued), selfIssued], [nameless])).toMatchObject({
      problem: 'basic-constraints',
    })
  })

  it('is refused under an anchor that has expired', async () => {
    const old = await root('O=old', { notAfter: NOW - 1_000 })
    expect(verify([await leaf(old)], [old])).toMatchObject({
      problem: 'expired',
      reason: expect.stringMatching(/^trust anchor 1/),
    })
  })

  it('accepts an anchor that is not self-signed and a hand-made root without key usage', async () => {
    const partial = await intermediate(otherAnchor, 'CN=partial')
    const plain = await root('O=plain', { extensions: caExtensions({ ku: null }) })
    expect(verify([await leaf(partial)], [partial])).toMatchObject(accepted)
    expect(verify([await leaf(plain)], [plain])).toMatchObject(accepted)
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
