/** The table of certificate faults as OpenSSL writes them. */
import { CA, instead, LEAF, type OpensslMaker, ROOT, rawSan, type Signed, WEB } from './openssl-fixtures.ts'

export interface World {
  readonly maker: OpensslMaker
  readonly root: Signed
  readonly otherRoot: Signed
}

export interface Row {
  readonly name: string
  /** `undefined`: it is believed. */
  readonly problem: string | undefined
  readonly reason: RegExp
  readonly make: (world: World) => Signed
  /** A key or a chain that TLS cannot carry, or an intermediate that Node does not give on. */
  readonly onlyBytes?: true
  readonly needsFaketime?: true
}

export function createWorld(maker: OpensslMaker): World {
  const long = { fromDay: -30, toDay: 30 }
  return {
    maker,
    root: maker.sign('root', { subject: ROOT, extensions: CA, ...long }),
    otherRoot: maker.sign('other root', { subject: '/O=other.example', extensions: CA, ...long }),
  }
}

const leaf =
  (extensions: readonly string[], more: object = {}): Row['make'] =>
  ({ maker, root }) =>
    maker.sign('leaf', { signer: root, extensions, ...more })

const good = (name: string, make: Row['make']): Row => ({ name, problem: undefined, reason: /^$/, make })
const bad = (
  name: string,
  problem: string,
  reason: RegExp,
  make: Row['make'],
  more: Partial<Row> = {},
): Row => ({
  name,
  problem,
  reason,
  make,
  ...more,
})

/** A leaf below an intermediate that OpenSSL signs with these extensions. */
const below =
  (extensions: readonly string[], more: object = {}): Row['make'] =>
  world => {
    const ca = world.maker.sign('ca', { signer: world.root, subject: '/CN=ca', extensions, ...more })
    return world.maker.sign('leaf', { signer: ca, extensions: LEAF })
  }

function ladder(world: World, count: number): Signed {
  let signer = world.root
  for (let at = 1; at <= count; at += 1)
    signer = world.maker.sign('ca', { signer, subject: `/CN=ca-${at}`, extensions: CA })
  return world.maker.sign('leaf', { signer, extensions: LEAF })
}

const uri = (value: string): readonly string[] => instead('subjectAltName', rawSan([0x86, value]))
const curve = (name: string): object => ({
  key: ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${name}`],
})
const rsa = (bits: number): object => ({ key: ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${bits}`] })

export const rows: readonly Row[] = [
  good('everything in order', leaf(LEAF)),
  good('no extended key usage', leaf(instead('extendedKeyUsage'))),
  good('no basic constraints', leaf(instead('basicConstraints'))),
  good(
    'a DNS name beside the URI',
    leaf(instead('subjectAltName', `subjectAltName=critical,DNS:web,URI:${WEB}`)),
  ),
  good(
    'a subject and a SAN that is not critical',
    leaf(instead('subjectAltName', `subjectAltName=URI:${WEB}`), { subject: '/CN=web' }),
  ),
  good('an RSA key of 2048 bits', leaf(LEAF, rsa(2048))),
  good('a P-384 key over SHA-384', leaf(LEAF, { ...curve('P-384'), digest: 'sha384' })),
  good('an Ed25519 key', leaf(LEAF, { key: ['-algorithm', 'ED25519'] })),
  good('a P-521 key over SHA-512', leaf(LEAF, { ...curve('P-521'), digest: 'sha512' })),
  bad('an Ed448 key', 'weak-key', /ed448/, leaf(LEAF, { key: ['-algorithm', 'ED448'] })),
  bad(
    'an RSA-PSS key',
    'weak-key',
    /rsa-pss/,
    leaf(LEAF, { key: ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'] }),
    { onlyBytes: true },
  ),
  good('an intermediate', world => ladder(world, 1)),
  good('three intermediates', world => ladder(world, 3)),
  bad('five intermediates', 'malformed', /6 certificates/, world => ladder(world, 5)),
  bad('an end in the past', 'expired', /expired at/, leaf(LEAF, { fromDay: -3, toDay: -1 })),
  bad('a beginning in the future', 'not-yet-valid', /not valid before/, leaf(LEAF, { fromDay: 1, toDay: 2 })),
  bad('an end in the past, by a clock that is late', 'expired', /expired at/, leaf(LEAF, { clockDays: -3 }), {
    needsFaketime: true,
  }),
  bad(
    'a beginning in the future, by a clock that is early',
    'not-yet-valid',
    /not valid before/,
    leaf(LEAF, { clockDays: 3 }),
    { needsFaketime: true },
  ),
  bad('its own signature', 'untrusted', /no certificate of the trust bundle/, ({ maker }) =>
    maker.sign('leaf', { extensions: LEAF, subject: '/CN=web' }),
  ),
  bad('an unknown CA', 'untrusted', /no certificate of the trust bundle/, ({ maker, otherRoot }) =>
    maker.sign('leaf', { signer: { ...otherRoot, subject: ROOT }, extensions: LEAF }),
  ),
  bad("another trust domain's ID", 'trust-domain', /not ours/, leaf(uri('spiffe://other.example/x'))),
  bad('a leaf as its issuer', 'basic-constraints', /^certificate 2 of 2: .*not a CA/, below(LEAF), {
    onlyBytes: true,
  }),
  bad(
    'an issuer with CA:FALSE',
    'basic-constraints',
    /^certificate 2 of 2: .*not a CA/,
    below(['basicConstraints=CA:FALSE', 'keyUsage=critical,keyCertSign']),
  ),
  bad(
    'an issuer without keyCertSign',
    'key-usage',
    /^certificate 2 of 2: .*keyCertSign/,
    below(['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,cRLSign']),
    { onlyBytes: true },
  ),
  bad(
    'an issuer that has expired',
    'expired',
    /^certificate 2 of 2: expired/,
    below(CA, { fromDay: -3, toDay: -1 }),
  ),
  bad(
    'an issuer limited to another domain',
    'untrusted',
    /outside the name constraints/,
    below([...CA, 'nameConstraints=critical,permitted;URI:other.example']),
  ),
  good(
    'an issuer limited to our domain',
    below([...CA, 'nameConstraints=critical,permitted;URI:td.example']),
  ),
  bad('a path that is too long', 'basic-constraints', /allows 0 CAs below it/, world => {
    const { maker, root } = world
    const capped = ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=critical,keyCertSign']
    const first = maker.sign('ca', { signer: root, subject: '/CN=first', extensions: capped })
    const second = maker.sign('ca', { signer: first, subject: '/CN=second', extensions: CA })
    return maker.sign('leaf', { signer: second, extensions: LEAF })
  }),
  bad(
    'serverAuth only',
    'key-usage',
    /lacks clientAuth/,
    leaf(instead('extendedKeyUsage', 'extendedKeyUsage=serverAuth')),
  ),
  bad(
    'clientAuth only',
    'key-usage',
    /lacks serverAuth/,
    leaf(instead('extendedKeyUsage', 'extendedKeyUsage=clientAuth')),
  ),
  bad(
    'codeSigning only',
    'key-usage',
    /lacks serverAuth and clientAuth/,
    leaf(instead('extendedKeyUsage', 'extendedKeyUsage=codeSigning')),
  ),
  bad('no key usage', 'key-usage', /no key usage/, leaf(instead('keyUsage'))),
  bad(
    'a key usage that is not critical',
    'key-usage',
    /not critical/,
    leaf(instead('keyUsage', 'keyUsage=digitalSignature')),
  ),
  bad(
    'no digitalSignature',
    'key-usage',
    /lacks digitalSignature/,
    leaf(instead('keyUsage', 'keyUsage=critical,keyEncipherment')),
  ),
  bad(
    'keyCertSign',
    'key-usage',
    /keyCertSign/,
    leaf(instead('keyUsage', 'keyUsage=critical,digitalSignature,keyCertSign')),
  ),
  bad(
    'cRLSign',
    'key-usage',
    /cRLSign/,
    leaf(instead('keyUsage', 'keyUsage=critical,digitalSignature,cRLSign')),
  ),
  bad(
    'CA:TRUE',
    'basic-constraints',
    /CA:TRUE/,
    leaf(instead('basicConstraints', 'basicConstraints=critical,CA:TRUE')),
  ),
  bad('no SAN', 'uri-san', /no URI/, leaf(instead('subjectAltName'), { subject: '/CN=web' })),
  bad(
    'a DNS name only',
    'uri-san',
    /no URI/,
    leaf(instead('subjectAltName', 'subjectAltName=critical,DNS:web')),
  ),
  bad(
    'two URIs',
    'uri-san',
    /2 URIs/,
    leaf(instead('subjectAltName', `subjectAltName=critical,URI:${WEB},URI:${WEB}2`)),
  ),
  bad(
    'the same URI twice',
    'uri-san',
    /2 URIs/,
    leaf(instead('subjectAltName', `subjectAltName=critical,URI:${WEB},URI:${WEB}`)),
  ),
  bad(
    'a SAN that is not critical, without a subject',
    'uri-san',
    /must be critical/,
    leaf(instead('subjectAltName', `subjectAltName=URI:${WEB}`)),
  ),
  bad('no path', 'spiffe-id', /names a trust domain/, leaf(uri('spiffe://td.example'))),
  bad('another scheme', 'spiffe-id', /scheme/, leaf(uri('SPIFFE://td.example/ns/shop/sa/web'))),
  bad('a NUL', 'spiffe-id', /\\u0000.*path segment/, leaf(uri(`${WEB}\0.evil`))),
  bad('a newline', 'spiffe-id', /\\n.*path segment/, leaf(uri(`${WEB}\nx`))),
  bad('a comma', 'spiffe-id', /path segment/, leaf(uri(`${WEB},URI:x`))),
  bad('a quote', 'spiffe-id', /path segment/, leaf(uri(`${WEB}"`))),
  bad('4,000 bytes', 'spiffe-id', /longer than 2048/, leaf(uri(`spiffe://td.example/${'a'.repeat(4_000)}`))),
  bad(
    'a BER length in its SAN',
    'malformed',
    /not DER/,
    leaf(
      instead(
        'subjectAltName',
        `subjectAltName=critical,DER:3081${(WEB.length + 2).toString(16)}86${WEB.length.toString(16)}${Buffer.from(WEB).toString('hex')}`,
      ),
    ),
  ),
  bad(
    'a critical extension that nobody knows',
    'malformed',
    /1\.2\.3\.4/,
    leaf([...LEAF, '1.2.3.4=critical,DER:0500']),
  ),
  bad('an RSA key of 1024 bits', 'weak-key', /1024 bits/, leaf(LEAF, rsa(1024))),
  bad('a key on P-224', 'weak-key', /secp224r1/, leaf(LEAF, curve('P-224')), { onlyBytes: true }),
  bad('a key on secp256k1', 'weak-key', /secp256k1/, leaf(LEAF, curve('secp256k1')), { onlyBytes: true }),
  bad('a signature over SHA-1', 'weak-key', /not SHA-256 or better/, leaf(LEAF, { digest: 'sha1' })),
  bad(
    'a signature over MD5',
    'weak-key',
    /not SHA-256 or better/,
    world => {
      const { maker } = world
      const old = maker.sign('root', { subject: ROOT, extensions: CA, ...rsa(2048) })
      return maker.sign('leaf', { signer: old, extensions: LEAF, digest: 'md5' })
    },
    { onlyBytes: true },
  ),
]
