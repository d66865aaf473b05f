/**
 * Every certificate fault of the field, one row each, and the rows that must be accepted: what is presented, against
 * which anchors, the verdict, and the words of its reason. `verify.test.ts` asks the verifier itself,
 * `verify-tls.test.ts` both ends of a TLS handshake.
 * Why so long: it is one table.
 */
import type { PeerProblem } from '@ambient/core'
import type { ChainRule } from '../src/index.ts'
import {
  ANY_PURPOSE,
  caExtensions,
  CLIENT,
  CODE_SIGNING,
  curveKey,
  exponentOneKey,
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

/** What most rows are made from: our root, and that of another trust domain whose bundle is held too. */
export interface World {
  readonly anchor: Made
  readonly other: Made
}

export interface Presented {
  readonly chain: readonly Made[]
  /** Default: the anchor of the world. */
  readonly bundle?: readonly Made[]
}

export interface Refusal {
  readonly problem: PeerProblem
  readonly rule: ChainRule
  readonly certificate: string
  readonly reason: RegExp
}

export interface Row {
  readonly name: string
  readonly build: (world: World) => Promise<Presented>
  /** `undefined`: it is accepted. */
  readonly refused: Refusal | undefined
  /**
   * What becomes of it on the way through TLS. `lost`: Node gives on only what OpenSSL takes for an issuer, so that the
   * verdict is on the certificate below. `never`: no TLS stack sends it, or takes its key.
   */
  readonly overTls?: 'lost' | 'never'
}

export function createWorld(): Promise<World> {
  return Promise.all([root(), root('O=other.example')]).then(([anchor, other]) => ({ anchor, other }))
}

type LeafRow = readonly [LeafParts, Partial<MakeOptions>?]

const uri = (value: string): LeafParts => ({ san: ext.sanBytes(uriName(value)) })
const rawSan = (...bytes: readonly Uint8Array[]): LeafParts => ({
  san: ext.raw('2.5.29.17', true, Buffer.concat(bytes)),
})

const acceptedLeaves: Readonly<Record<string, LeafRow>> = {
  'with everything in order': [{}],
  'without basic constraints': [{ bc: null }],
  'without extended key usage': [{ eku: null }],
  'with another purpose beside both': [{ eku: ext.eku(SERVER, CODE_SIGNING, CLIENT) }],
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
  'that began 60 s in our future': [{}, { notBefore: NOW + 60_000 }],
  'that ends this very second': [{}, { notAfter: NOW }],
  'with an ID of 2048 bytes': [uri(`spiffe://${TRUST_DOMAIN}/${'a'.repeat(2048 - 20)}`)],
  'with an extension that nobody knows and that is not critical': [
    { more: [ext.raw('1.2.3.4', false, Uint8Array.of(5, 0))] },
  ],
}

type RefusedLeaf = readonly [
  PeerProblem,
  ChainRule,
  RegExp,
  LeafParts,
  Partial<MakeOptions>?,
  Row['overTls']?,
]

const refusedLeaves: Readonly<Record<string, RefusedLeaf>> = {
  expired: ['expired', 'not-after', /expired at 2026-05-31T23:59:59/, {}, { notAfter: NOW - 1_000 }],
  'not yet valid': ['not-yet-valid', 'not-before', /not valid before/, {}, { notBefore: NOW + 61_000 }],
  'two URIs': ['uri-san', 'uri-san', /2 URIs/, { san: ext.sanBytes(uriName(WEB), uriName(`${WEB}2`)) }],
  'a SPIFFE ID and another URI': [
    'uri-san',
    'uri-san',
    /2 URIs/,
    { san: ext.sanBytes(uriName('https://web'), uriName(WEB)) },
  ],
  'the same URI twice': ['uri-san', 'uri-san', /2 URIs/, { san: ext.sanBytes(uriName(WEB), uriName(WEB)) }],
  'no SAN': ['uri-san', 'uri-san', /no URI/, { san: null }],
  'only a DNS name': ['uri-san', 'uri-san', /no URI/, { san: ext.san([{ type: 'dns', value: 'web' }]) }],
  'a SAN that is not critical, without a subject': [
    'uri-san',
    'san-critical',
    /must be critical/,
    { san: ext.san([{ type: 'url', value: WEB }], false) },
  ],
  'an ID without a path': ['spiffe-id', 'spiffe-id-path', /names a trust domain/, uri('spiffe://td.example')],
  'another scheme': ['spiffe-id', 'spiffe-id', /scheme/, uri('sparfe://td.example/ns/shop/sa/web')],
  'an upper-case scheme': ['spiffe-id', 'spiffe-id', /scheme/, uri('SPIFFE://td.example/ns/shop/sa/web')],
  'an upper-case trust domain': [
    'spiffe-id',
    'spiffe-id',
    /trust domain char/,
    uri('spiffe://TD.example/ns/shop/sa/web'),
  ],
  'a trust domain of 256 bytes': [
    'spiffe-id',
    'spiffe-id',
    /trust domain is longer than 255/,
    uri(`spiffe://${'t'.repeat(256)}/web`),
  ],
  'a percent sign': [
    'spiffe-id',
    'spiffe-id',
    /path segment char/,
    uri('spiffe://td.example/ns/shop/sa/%77eb'),
  ],
  'dot segments': ['spiffe-id', 'spiffe-id', /dot segments/, uri('spiffe://td.example/ns/../sa/web')],
  'an empty segment': ['spiffe-id', 'spiffe-id', /empty segments/, uri('spiffe://td.example/ns//sa/web')],
  'a trailing slash': ['spiffe-id', 'spiffe-id', /trailing slash/, uri(`${WEB}/`)],
  'a port': ['spiffe-id', 'spiffe-id', /trust domain char/, uri('spiffe://td.example:443/ns/shop/sa/web')],
  'a user': ['spiffe-id', 'spiffe-id', /trust domain char/, uri('spiffe://u@td.example/ns/shop/sa/web')],
  'a query': ['spiffe-id', 'spiffe-id', /path segment char/, uri(`${WEB}?x`)],
  'an empty fragment': ['spiffe-id', 'spiffe-id', /path segment char/, uri(`${WEB}#`)],
  'a wildcard': ['spiffe-id', 'spiffe-id', /path segment char/, uri('spiffe://td.example/ns/shop/sa/*')],
  'a NUL': ['spiffe-id', 'spiffe-id', /web\\u0000\.evil.*path segment char/, uri(`${WEB}\u0000.evil`)],
  'a newline': ['spiffe-id', 'spiffe-id', /web\\n.*path segment char/, uri(`${WEB}\n`)],
  'a comma': ['spiffe-id', 'spiffe-id', /path segment char/, uri(`${WEB}, URI:spiffe://x/y`)],
  'a quote': ['spiffe-id', 'spiffe-id', /path segment char/, uri(`"${WEB}"`.slice(1))],
  'a control character of C1': ['spiffe-id', 'spiffe-id', /web\\u009b.*path segment/, uri(`${WEB}\u009b`)],
  'a byte beyond ASCII': ['spiffe-id', 'spiffe-id', /path segment char/, uri(`${WEB}\u00e4`)],
  '2,049 bytes': [
    'spiffe-id',
    'spiffe-id',
    /longer than 2048/,
    uri(`spiffe://td.example/${'a'.repeat(2049 - 20)}`),
  ],
  '4,000 bytes': [
    'spiffe-id',
    'spiffe-id',
    /longer than 2048/,
    uri(`spiffe://td.example/${'a'.repeat(4_000)}`),
  ],
  'another trust domain': [
    'trust-domain',
    'trust-domain',
    /not ours, td\.example/,
    uri('spiffe://third.example/ns/shop/sa/web'),
  ],
  "another trust domain, whose bundle does not hold this one's CA": [
    'untrusted',
    'signature',
    /no certificate of the trust bundle/,
    uri('spiffe://other.example/ns/shop/sa/web'),
  ],
  'CA:TRUE': ['basic-constraints', 'basic-constraints', /CA:TRUE/, { bc: ext.bc(true) }],
  keyCertSign: [
    'key-usage',
    'key-usage-cert-sign',
    /keyCertSign/,
    { ku: ext.ku(KU.digitalSignature | KU.keyCertSign) },
  ],
  cRLSign: ['key-usage', 'key-usage-crl-sign', /cRLSign/, { ku: ext.ku(KU.digitalSignature | KU.cRLSign) }],
  'no key usage': ['key-usage', 'key-usage', /no key usage/, { ku: null }],
  'a key usage that is not critical': [
    'key-usage',
    'key-usage-critical',
    /not critical/,
    { ku: ext.ku(KU.digitalSignature, false) },
  ],
  'no digitalSignature': [
    'key-usage',
    'key-usage-digital-signature',
    /lacks digitalSignature/,
    { ku: ext.ku(KU.keyEncipherment) },
  ],
  'an empty key usage': [
    'key-usage',
    'key-usage-digital-signature',
    /lacks digitalSignature/,
    { ku: ext.raw('2.5.29.15', true, Uint8Array.of(3, 1, 0)) },
  ],
  'serverAuth only': ['key-usage', 'extended-key-usage', /lacks clientAuth/, { eku: ext.eku(SERVER) }],
  'clientAuth only': ['key-usage', 'extended-key-usage', /lacks serverAuth/, { eku: ext.eku(CLIENT) }],
  'codeSigning only': [
    'key-usage',
    'extended-key-usage',
    /lacks serverAuth and clientAuth/,
    { eku: ext.eku(CODE_SIGNING) },
  ],
  'any purpose only': [
    'key-usage',
    'extended-key-usage',
    /lacks serverAuth and/,
    { eku: ext.eku(ANY_PURPOSE) },
  ],
  'an unknown critical extension': [
    'malformed',
    'critical-extensions',
    /1\.2\.3\.4/,
    { more: [ext.raw('1.2.3.4', true, Uint8Array.of(5, 0))] },
  ],
  'an extension twice': ['malformed', 'der', /given twice/, { more: [ext.ku(KU.digitalSignature)] }],
  'a BER length inside the SAN': [
    'malformed',
    'der',
    /not DER/,
    rawSan(Uint8Array.of(0x30, 0x81, WEB.length + 2), uriName(WEB)),
  ],
  'an indefinite length inside the SAN': [
    'malformed',
    'der',
    /not DER/,
    rawSan(Uint8Array.of(0x30, 0x80), uriName(WEB), Uint8Array.of(0, 0)),
  ],
  'a second URI in pieces, as BER may have it': [
    'malformed',
    'der',
    /no name has tag 0xa6/,
    { san: ext.sanBytes(uriName(WEB), tlv(0xa6, tlv(0x16, Buffer.from('spiffe://td.example/x')))) },
  ],
  'bytes after the SAN': [
    'malformed',
    'der',
    /too many/,
    rawSan(tlv(0x30, uriName(WEB)), Uint8Array.of(5, 0)),
  ],
  'a key on P-224': [
    'weak-key',
    'key-strength',
    /secp224r1/,
    {},
    { publicKey: curveKey('secp224r1') },
    'never',
  ],
  'a key on secp256k1': [
    'weak-key',
    'key-strength',
    /secp256k1/,
    {},
    { publicKey: curveKey('secp256k1') },
    'never',
  ],
  'an RSA key with the exponent 1': [
    'weak-key',
    'key-strength',
    /exponent 1/,
    {},
    { publicKey: exponentOneKey() },
    'never',
  ],
}

/** An intermediate with one fault: how the leaf below it is refused. */
type RefusedSigner = readonly [PeerProblem, ChainRule, RegExp, Partial<MakeOptions>, Row['overTls']?]

const refusedSigners: Readonly<Record<string, RefusedSigner>> = {
  'is no CA': [
    'basic-constraints',
    'basic-constraints',
    /not a CA/,
    { extensions: caExtensions({ bc: ext.bc(false) }) },
  ],
  'has no basic constraints': [
    'basic-constraints',
    'basic-constraints',
    /not a CA/,
    { extensions: caExtensions({ bc: null }) },
  ],
  'is a leaf': [
    'basic-constraints',
    'basic-constraints',
    /not a CA/,
    { extensions: leafExtensions() },
    'lost',
  ],
  'lacks keyCertSign': [
    'key-usage',
    'key-usage-cert-sign',
    /without key usage keyCertSign/,
    { extensions: caExtensions({ ku: ext.ku(KU.digitalSignature) }) },
    'lost',
  ],
  'has no key usage': [
    'key-usage',
    'key-usage-cert-sign',
    /without key usage/,
    { extensions: caExtensions({ ku: null }) },
  ],
  'is for servers only': [
    'key-usage',
    'extended-key-usage',
    /extended key usage/,
    { extensions: caExtensions({ more: [ext.eku(SERVER)] }) },
  ],
  'has the ID of a workload': [
    'spiffe-id',
    'spiffe-id',
    /CA with the SPIFFE ID of a workload/,
    { extensions: caExtensions({ more: [ext.san([{ type: 'url', value: WEB }], false)] }) },
  ],
  'has an ID that is none': [
    'spiffe-id',
    'spiffe-id',
    /CA whose URI "SPIFFE:.*scheme/,
    { extensions: caExtensions({ more: [ext.sanBytes(uriName('SPIFFE://td.example/ns/shop/sa/web'))] }) },
  ],
  'has a critical extension that nobody knows': [
    'malformed',
    'critical-extensions',
    /1\.2\.3\.4/,
    { extensions: caExtensions({ more: [ext.raw('1.2.3.4', true, Uint8Array.of(5, 0))] }) },
  ],
  'has name constraints with a maximum': [
    'malformed',
    'der',
    /subtree: 3 bytes too many/,
    { extensions: caExtensions({ more: [ext.uriConstraintUpTo(TRUST_DOMAIN)] }) },
  ],
  'has name constraints of a kind that nobody knows': [
    'malformed',
    'der',
    /nameConstraints: no name has tag 0xa6/,
    { extensions: caExtensions({ more: [ext.piecesExclusion(TRUST_DOMAIN)] }) },
  ],
  'has expired': ['expired', 'not-after', /expired/, { notAfter: NOW - 1_000 }],
  'is not yet valid': ['not-yet-valid', 'not-before', /not valid before/, { notBefore: NOW + 61_000 }],
}

const outside = (host: string, which: 'uriConstraint' | 'uriExclusion'): Partial<MakeOptions> => ({
  extensions: caExtensions({ more: [ext[which](host)] }),
})

function leafRows(): Row[] {
  return [
    ...Object.entries(acceptedLeaves).map(
      ([name, [parts, more]]): Row => ({
        name: `a leaf ${name}`,
        refused: undefined,
        build: async ({ anchor }) => ({ chain: [await leaf(anchor, parts, more)] }),
      }),
    ),
    ...Object.entries(refusedLeaves).map(
      ([name, [problem, rule, reason, parts, more, overTls]]): Row => ({
        name: `a leaf with ${name}`,
        refused: { problem, rule, certificate: 'leaf', reason },
        build: async ({ anchor }) => ({ chain: [await leaf(anchor, parts, more)] }),
        ...(overTls === undefined ? {} : { overTls }),
      }),
    ),
    ...Object.entries(refusedSigners).map(
      ([name, [problem, rule, reason, more, overTls]]): Row => ({
        name: `a chain whose intermediate ${name}`,
        refused: { problem, rule, certificate: 'certificate 2 of 2', reason },
        build: async ({ anchor }) => {
          const bad = await intermediate(anchor, 'CN=bad', more)
          return { chain: [await leaf(bad), bad] }
        },
        ...(overTls === undefined ? {} : { overTls }),
      }),
    ),
  ]
}

const unknownIssuer = (certificate = 'leaf'): Refusal => ({
  problem: 'untrusted',
  rule: 'signature',
  certificate,
  reason: /no certificate of the trust bundle leads to it \(issued by (?:O=[a-z.]+|one without a name)\)$/,
})

/** `count` CAs, each signed by the one before, the last one first. */
async function ladder(from: Made, count: number): Promise<readonly Made[]> {
  const made: Made[] = []
  for (let at = 1; at <= count; at += 1)
    made.unshift(await intermediate(made[0] ?? from, `CN=ca-${at}`, { keys: from.keys }))
  return made
}

async function under(cas: readonly Made[], world: World): Promise<Presented> {
  return { chain: [await leaf(cas[0] ?? world.anchor), ...cas] }
}

const chainRows: readonly Row[] = [
  {
    name: 'a chain with one intermediate',
    refused: undefined,
    build: async world => under(await ladder(world.anchor, 1), world),
  },
  {
    name: 'a chain with three intermediates',
    refused: undefined,
    build: async world => under(await ladder(world.anchor, 3), world),
  },
  {
    name: 'a chain with its intermediate twice',
    refused: undefined,
    build: async world => {
      const [ca = world.anchor] = await ladder(world.anchor, 1)
      return { chain: [await leaf(ca), ca, ca] }
    },
  },
  {
    name: 'a chain with the root',
    refused: undefined,
    build: async world => ({ chain: [await leaf(world.anchor), world.anchor] }),
  },
  {
    name: 'a chain of six',
    refused: {
      problem: 'malformed',
      rule: 'chain-length',
      certificate: 'chain',
      reason: /6 certificates, at most 5/,
    },
    build: async world => under(await ladder(world.anchor, 5), world),
  },
  {
    name: 'a chain of five whose root would be the sixth',
    refused: {
      problem: 'untrusted',
      rule: 'chain-length',
      certificate: 'chain',
      reason: /more than 5 certificates from the leaf to a trust anchor/,
    },
    build: async world => under(await ladder(world.anchor, 4), world),
  },
  {
    name: 'a chain of fifty',
    refused: { problem: 'malformed', rule: 'chain-length', certificate: 'chain', reason: /at most 5/ },
    build: async world => under(await ladder(world.anchor, 49), world),
  },
  {
    name: 'a chain of more than 64 KiB',
    refused: { problem: 'malformed', rule: 'chain-bytes', certificate: 'chain', reason: /at most 65536/ },
    build: async ({ anchor }) => ({
      chain: [await leaf(anchor, { more: [ext.raw('1.2.3.4', false, new Uint8Array(65_000))] }), anchor],
    }),
  },
  {
    name: 'a leaf that is self-signed',
    refused: unknownIssuer(),
    build: async () => ({ chain: [await make({ extensions: leafExtensions() })] }),
  },
  {
    name: 'a leaf that is self-signed and in the bundle',
    refused: {
      problem: 'basic-constraints',
      rule: 'basic-constraints',
      certificate: 'trust anchor 1',
      reason: /not a CA/,
    },
    build: async () => {
      const own = await make({ subject: 'CN=web', extensions: leafExtensions() })
      return { chain: [own], bundle: [own] }
    },
  },
  {
    name: 'a leaf of an unknown CA',
    refused: unknownIssuer(),
    build: async () => ({ chain: [await leaf(await root('O=stranger'))] }),
  },
  {
    name: 'a leaf of an unknown CA that is presented',
    refused: unknownIssuer('certificate 2 of 2'),
    build: async () => {
      const stranger = await root('O=stranger')
      return { chain: [await leaf(stranger), stranger] }
    },
  },
  {
    name: "a leaf of a CA with our CA's name",
    refused: unknownIssuer(),
    build: async () => ({ chain: [await leaf(await root())] }),
  },
  {
    name: "a leaf of another trust domain's CA, though its bundle is held",
    refused: unknownIssuer(),
    build: async ({ other }) => ({ chain: [await leaf(other)] }),
  },
  {
    name: 'a leaf under an empty bundle',
    refused: { ...unknownIssuer(), rule: 'trust-bundle', reason: /holds no certificate/ },
    build: async ({ anchor }) => ({ chain: [await leaf(anchor)], bundle: [] }),
  },
  ...['first', 'second'].map(
    (which): Row => ({
      name: `a leaf of the ${which} of two roots with one subject`,
      refused: undefined,
      build: async ({ anchor }) => {
        const successor = await root()
        return { chain: [await leaf(which === 'first' ? anchor : successor)], bundle: [anchor, successor] }
      },
    }),
  ),
  {
    name: 'a leaf of a root that has expired',
    refused: { problem: 'expired', rule: 'not-after', certificate: 'trust anchor 1', reason: /expired/ },
    build: async () => {
      const old = await root('O=old', { notAfter: NOW - 1_000 })
      return { chain: [await leaf(old)], bundle: [old] }
    },
  },
  {
    name: 'a leaf of an anchor that is not self-signed',
    refused: undefined,
    build: async ({ other }) => {
      const partial = await intermediate(other, 'CN=partial')
      return { chain: [await leaf(partial)], bundle: [partial] }
    },
  },
  {
    name: 'a leaf of a hand-made root without key usage',
    refused: undefined,
    build: async () => {
      const plain = await root('O=plain', { extensions: caExtensions({ ku: null }) })
      return { chain: [await leaf(plain)], bundle: [plain] }
    },
  },
  {
    name: 'a leaf with an RSA key of 2048 bits',
    refused: undefined,
    build: async ({ anchor }) => ({ chain: [await leaf(anchor, {}, { keys: await rsa(2048) })] }),
  },
  {
    name: 'a leaf with an RSA key of 1024 bits',
    refused: { problem: 'weak-key', rule: 'key-strength', certificate: 'leaf', reason: /1024 bits/ },
    build: async ({ anchor }) => ({ chain: [await leaf(anchor, {}, { keys: await rsa(1024) })] }),
  },
  {
    name: 'a leaf signed over SHA-1',
    refused: {
      problem: 'weak-key',
      rule: 'signature-algorithm',
      certificate: 'leaf',
      reason: /1\.2\.840\.113549\.1\.1\.5 is not SHA-256 or better/,
    },
    build: async () => {
      const old = await root('O=td.example', { keys: await rsa(2048, 'SHA-1') })
      return { chain: [await leaf(old)], bundle: [old] }
    },
  },
  {
    name: 'a chain with more CAs than its path length allows',
    refused: {
      problem: 'basic-constraints',
      rule: 'path-length',
      certificate: 'trust anchor 1',
      reason: /allows 0 CAs below it, the path has 1/,
    },
    build: async () => {
      const capped = await root('O=capped', { extensions: caExtensions({ pathLength: 0 }) })
      const below = await intermediate(capped, 'CN=below')
      return { chain: [await leaf(below), below], bundle: [capped] }
    },
  },
  {
    name: 'a chain with more nameless CAs than its path length allows',
    refused: {
      problem: 'basic-constraints',
      rule: 'path-length',
      certificate: 'trust anchor 1',
      reason: /allows 0 CAs/,
    },
    build: async () => {
      const capped = await root('', { extensions: caExtensions({ pathLength: 0 }) })
      const below = await intermediate(capped, '')
      return { chain: [await leaf(below, {}, { subject: 'CN=web' }), below], bundle: [capped] }
    },
  },
  {
    name: 'a leaf right below a CA with path length 0',
    refused: undefined,
    build: async () => {
      const capped = await root('O=capped', { extensions: caExtensions({ pathLength: 0 }) })
      return { chain: [await leaf(capped)], bundle: [capped] }
    },
  },
  ...(['other.example', 'example', '.td.example'] as const).map(
    (host): Row => ({
      name: `a chain whose intermediate is limited to ${host}`,
      refused: {
        problem: 'untrusted',
        rule: 'name-constraints',
        certificate: 'leaf',
        reason: /outside the name constraints.*certificate 2 of 2/,
      },
      build: async ({ anchor }) => {
        const limited = await intermediate(anchor, 'CN=limited', outside(host, 'uriConstraint'))
        return { chain: [await leaf(limited), limited] }
      },
    }),
  ),
  {
    name: 'a chain whose intermediate may not sign for our domain',
    refused: {
      problem: 'untrusted',
      rule: 'name-constraints',
      certificate: 'leaf',
      reason: /excluded by name constraints.*certificate 2 of 2/,
    },
    build: async ({ anchor }) => {
      const limited = await intermediate(anchor, 'CN=limited', outside(TRUST_DOMAIN, 'uriExclusion'))
      return { chain: [await leaf(limited), limited] }
    },
  },
  ...(['', '.', `spiffe://${TRUST_DOMAIN}`, `${TRUST_DOMAIN}/ns`] as const).map(
    (host): Row => ({
      name: `a chain whose intermediate may not sign for what is no host, "${host}"`,
      refused: {
        problem: 'untrusted',
        rule: 'name-constraints',
        certificate: 'leaf',
        reason: /is no host name.*certificate 2 of 2/,
      },
      build: async ({ anchor }) => {
        const limited = await intermediate(anchor, 'CN=limited', outside(host, 'uriExclusion'))
        return { chain: [await leaf(limited), limited] }
      },
    }),
  ),
  {
    name: 'a chain whose intermediate is limited to our domain and carries its ID',
    refused: undefined,
    build: async ({ anchor }) => {
      const ours = await intermediate(anchor, 'CN=ours', {
        extensions: caExtensions({
          more: [
            ext.uriConstraint(TRUST_DOMAIN),
            ext.san([{ type: 'url', value: `spiffe://${TRUST_DOMAIN}` }], false),
          ],
        }),
      })
      return { chain: [await leaf(ours), ours] }
    },
  },
  {
    name: 'a chain with an hour left',
    refused: undefined,
    build: async ({ anchor }) => {
      const short = await intermediate(anchor, 'CN=short', { notAfter: NOW + HOUR })
      return { chain: [await leaf(short), short] }
    },
  },
]

export const rows: readonly Row[] = [...leafRows(), ...chainRows]
