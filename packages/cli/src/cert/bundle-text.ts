/** Trust bundles as somebody wrote them, PEM or SPIFFE: what is in them, and what is passed over. */
import { X509Certificate } from 'node:crypto'
import { messageOf, readTrustDomain } from '@ambient/core'
import { type CertificateFacts, explainChain, readSpiffeBundle, type SpiffeBundle } from '@ambient/identity'

/** What people and programs are told of a bundle. */
export interface BundleFacts {
  /** Absent where nothing says it. */
  readonly trustDomain?: string
  readonly sequenceNumber?: number
  readonly refreshHintSeconds?: number
  readonly x509Authorities: readonly AuthorityFacts[]
  readonly jwtAuthorities: readonly JwtAuthorityFacts[]
  /** Entries that were passed over, each with its reason. */
  readonly ignored: readonly string[]
}

export interface AuthorityFacts extends Omit<CertificateFacts, 'certificate'> {
  readonly state: 'valid' | 'expired' | 'not-yet-valid' | 'not-a-ca'
}

export interface JwtAuthorityFacts {
  readonly kid: string
  readonly key: string
}

/** Readers ask for a name, where nothing says whose bundle it is. */
const UNNAMED = 'unnamed'

/** @throws IdentityError `AMBIENT_E_TRUST_BUNDLE`, Error for PEM that cannot be read */
export function readBundleText(text: string, trustDomain: string | undefined): SpiffeBundle {
  return text.trimStart().startsWith('{')
    ? readSpiffeBundle(trustDomain ?? UNNAMED, text)
    : readPemBundle(text, trustDomain ?? UNNAMED)
}

export function bundleFacts(bundle: SpiffeBundle, named: string | undefined, nowMs: number): BundleFacts {
  const x509Authorities = bundle.x509Authorities.map(der => authorityFacts(der, nowMs))
  const trustDomain = named ?? trustDomainOf(x509Authorities)
  const { sequenceNumber, refreshHintMs, ignored } = bundle
  return {
    ...(trustDomain === undefined ? {} : { trustDomain }),
    ...(sequenceNumber === undefined ? {} : { sequenceNumber }),
    ...(refreshHintMs === undefined ? {} : { refreshHintSeconds: Math.round(refreshHintMs / 1_000) }),
    x509Authorities,
    jwtAuthorities: [...bundle.jwtAuthorities].map(([kid, jwk]) => ({
      kid,
      key: [jwk.kty, jwk.crv].filter(Boolean).join(' '),
    })),
    ignored,
  }
}

const BLOCK = /-----BEGIN ([^-\n]*)-----([\s\S]*?)-----END \1-----/g

/** A broken block takes nothing else with it, as the verifier has it. */
function readPemBundle(text: string, trustDomain: string): SpiffeBundle {
  const x509Authorities: Uint8Array[] = []
  const ignored: string[] = []
  const seen = new Map<string, number>()
  const blocks = [...text.matchAll(BLOCK)]
  if (blocks.length === 0) throw new TypeError('neither PEM nor JSON')
  for (const [index, [pem, label]] of blocks.entries()) {
    const why =
      label === 'CERTIFICATE' ? takePem(pem, seen, x509Authorities) : `is a ${label}, not a certificate`
    if (why !== undefined) ignored.push(`block ${index + 1}: ${why}`)
  }
  const begun = text.match(/-----BEGIN /g)?.length ?? 0
  if (begun > blocks.length) ignored.push(`${begun - blocks.length} of ${begun} blocks have no end`)
  return { trustDomain, x509Authorities, jwtAuthorities: new Map(), ignored }
}

/** Why it is passed over. */
function takePem(pem: string, seen: Map<string, number>, into: Uint8Array[]): string | undefined {
  try {
    const { raw, fingerprint256 } = new X509Certificate(pem)
    const earlier = seen.get(fingerprint256)
    if (earlier !== undefined) return `is the same certificate as authority ${earlier}`
    into.push(raw)
    seen.set(fingerprint256, into.length)
    return undefined
  } catch (error) {
    return `cannot be read: ${messageOf(error)}`
  }
}

/** By our own reading of the DER; what only OpenSSL can read is shown as it reads it. */
function authorityFacts(der: Uint8Array, nowMs: number): AuthorityFacts {
  const expect = { kind: 'any' } as const
  const { certificates } = explainChain({
    chain: [der],
    trustBundle: '',
    ownTrustDomain: '',
    expect,
    now: nowMs,
  })
  const { certificate: _label, ...facts } = certificates[0] ?? openSslFacts(new X509Certificate(der))
  return { ...facts, state: stateOf(facts, nowMs) }
}

function stateOf(
  { isCa, notBefore, notAfter }: Pick<CertificateFacts, 'isCa' | 'notAfter' | 'notBefore'>,
  nowMs: number,
): AuthorityFacts['state'] {
  if (nowMs > Date.parse(notAfter)) return 'expired'
  if (nowMs < Date.parse(notBefore)) return 'not-yet-valid'
  return isCa ? 'valid' : 'not-a-ca'
}

function openSslFacts(certificate: X509Certificate): CertificateFacts {
  return {
    certificate: '',
    subject: certificate.subject.replaceAll('\n', ', '),
    issuer: certificate.issuer.replaceAll('\n', ', '),
    serial: certificate.serialNumber.toLowerCase(),
    notBefore: new Date(certificate.validFrom).toISOString(),
    notAfter: new Date(certificate.validTo).toISOString(),
    uris: [],
    dnsNames: [],
    isCa: certificate.ca,
    key: certificate.publicKey.asymmetricKeyType ?? 'unreadable',
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
  }
}

/** The one that all of them name that name any. */
function trustDomainOf(authorities: readonly AuthorityFacts[]): string | undefined {
  const named = authorities.flatMap(({ uris }) =>
    uris.flatMap(uri => {
      const read = readTrustDomain(uri)
      return read.ok ? [read.trustDomain] : []
    }),
  )
  const [only, ...others] = new Set(named)
  return others.length === 0 ? only : undefined
}
