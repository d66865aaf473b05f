/** An embedded CA: a self-signed root that lives in memory and signs workloads of one trust domain. */
import { createPublicKey, KeyObject, randomBytes } from 'node:crypto'
import { type Clock, type SpiffeId, systemClock, trustDomainProblem } from '@ambient/core'
import { caDefaults } from '../defaults.ts'
import { readRequestedKey } from '../x509/csr.ts'
import { IdentityError } from '../errors.ts'
import { formatPemCertificate } from '../x509/pem.ts'
import { redacted } from '../svid/redact.ts'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  crypto,
  ExtendedKeyUsageExtension,
  generateKeys,
  type GeneratedCertificate,
  type JsonGeneralNames,
  type KeyPair,
  KeyUsageFlags,
  KeyUsagesExtension,
  p256,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '../x509/peculiar.ts'
import { oids } from '../x509/certificate.ts'

export interface SignedCertificate {
  /** PEM: leaf, intermediates, and last the root. */
  readonly chain: readonly string[]
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

export interface SignRequest {
  readonly csrPem: string
  readonly id: SpiffeId
  /** Zero, negative or absent: the CA's default. */
  readonly ttlMs?: number
}

export interface ServerCertificate {
  /** PEM, leaf first. */
  readonly certificateChain: string
  /** PKCS#8 PEM. Shown as `[redacted]` by `JSON.stringify` and `util.inspect` of this object. */
  readonly privateKey: string
}

export interface CertificateAuthority {
  readonly trustDomain: string
  readonly rootPem: string
  /**
   * Signs for `id`, which the caller has authenticated. The request's names are ignored; only its key and its proof of
   * possession count.
   * @throws IdentityError `AMBIENT_E_CERTIFICATE_REQUEST`, `AMBIENT_E_CA_IDENTITY`, `AMBIENT_E_CA_TTL`
   */
  sign(request: SignRequest): Promise<SignedCertificate>
  /** TLS server certificate for the control plane itself, with the longest lifetime that this CA gives. */
  issueServerCertificate(request: {
    readonly dnsNames: readonly string[]
    readonly ipAddresses: readonly string[]
  }): Promise<ServerCertificate>
}

export interface CertificateAuthorityOptions {
  readonly trustDomain: string
  /** Default 24 h. */
  readonly defaultTtlMs?: number
  /** Default 90 days; longer requests are refused. */
  readonly maxTtlMs?: number
  /** Default 3650 days. No certificate outlives the root. */
  readonly rootTtlMs?: number
  readonly clock?: Clock
}

interface Signer {
  readonly trustDomain: string
  readonly defaultTtlMs: number
  readonly maxTtlMs: number
  readonly clock: Clock
  readonly keys: KeyPair
  readonly root: GeneratedCertificate
  readonly rootPem: string
  readonly authorityKey: AuthorityKeyIdentifierExtension
}

interface LeafOptions {
  readonly publicKey: Uint8Array
  readonly names: JsonGeneralNames
  readonly usage: KeyUsageFlags
  readonly purposes: readonly string[]
  readonly ttlMs: number
}

/**
 * A CA with a fresh P-256 root. The root key never leaves this object.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export async function createCertificateAuthority(
  options: CertificateAuthorityOptions,
): Promise<CertificateAuthority> {
  const problem = trustDomainProblem(options.trustDomain)
  if (problem !== undefined) throw optionError(`trustDomain: ${problem}`)
  const { defaultTtlMs, maxTtlMs, rootTtlMs } = { ...caDefaults, ...definedOf(options) }
  if (!(defaultTtlMs > 0 && defaultTtlMs <= maxTtlMs))
    throw optionError(`defaultTtlMs: ${defaultTtlMs} is not between 1 and maxTtlMs, ${maxTtlMs}`)
  if (!(rootTtlMs > 0)) throw optionError(`rootTtlMs: ${rootTtlMs} is not positive`)
  const clock = options.clock ?? systemClock
  const keys = await generateKeys()
  const root = await createRoot(options.trustDomain, keys, clock.now(), rootTtlMs)
  const signer: Signer = {
    trustDomain: options.trustDomain,
    defaultTtlMs,
    maxTtlMs,
    clock,
    keys,
    root,
    rootPem: formatPemCertificate(new Uint8Array(root.rawData)),
    authorityKey: await AuthorityKeyIdentifierExtension.create(keys.publicKey, false, crypto),
  }
  return Object.freeze({
    trustDomain: signer.trustDomain,
    rootPem: signer.rootPem,
    sign: (request: SignRequest) => sign(signer, request),
    issueServerCertificate: (request: {
      readonly dnsNames: readonly string[]
      readonly ipAddresses: readonly string[]
    }) => issueServerCertificate(signer, request.dnsNames, request.ipAddresses),
  })
}

function definedOf(options: CertificateAuthorityOptions): {
  defaultTtlMs?: number
  maxTtlMs?: number
  rootTtlMs?: number
} {
  const { defaultTtlMs, maxTtlMs, rootTtlMs } = options
  return {
    ...(defaultTtlMs === undefined ? {} : { defaultTtlMs }),
    ...(maxTtlMs === undefined ? {} : { maxTtlMs }),
    ...(rootTtlMs === undefined ? {} : { rootTtlMs }),
  }
}

async function createRoot(
  trustDomain: string,
  keys: KeyPair,
  now: number,
  ttlMs: number,
): Promise<GeneratedCertificate> {
  return X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: newSerial(),
      name: [{ O: [trustDomain] }],
      notBefore: new Date(now - caDefaults.backdateMs),
      notAfter: new Date(now + ttlMs),
      keys,
      signingAlgorithm: p256,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      ],
    },
    crypto,
  )
}

async function sign(signer: Signer, request: SignRequest): Promise<SignedCertificate> {
  const { id } = request
  if (id.trustDomain !== signer.trustDomain)
    throw new IdentityError(
      'AMBIENT_E_CA_IDENTITY',
      `${id.uri}: this CA speaks for the trust domain ${signer.trustDomain}`,
      { layer: 'identity' },
    )
  if (id.path === '')
    throw new IdentityError('AMBIENT_E_CA_IDENTITY', `${id.uri}: names a trust domain, not a workload`, {
      layer: 'identity',
    })
  const ttlMs = lifetimeOf(signer, request.ttlMs)
  const certificate = await createLeaf(signer, {
    publicKey: readRequestedKey(request.csrPem),
    names: [{ type: 'url', value: id.uri }],
    usage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment,
    purposes: [oids.serverAuth, oids.clientAuth],
    ttlMs,
  })
  return {
    chain: [pemOf(certificate), signer.rootPem],
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
  }
}

async function issueServerCertificate(
  signer: Signer,
  dnsNames: readonly string[],
  ipAddresses: readonly string[],
): Promise<ServerCertificate> {
  if (dnsNames.length + ipAddresses.length === 0) throw optionError('a server certificate needs a name')
  const keys = await generateKeys()
  const privateKey = KeyObject.from(keys.privateKey)
  const certificate = await createLeaf(signer, {
    publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    names: [
      ...dnsNames.map(value => ({ type: 'dns' as const, value })),
      ...ipAddresses.map(value => ({ type: 'ip' as const, value })),
    ],
    usage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment,
    purposes: [oids.serverAuth],
    ttlMs: signer.maxTtlMs,
  })
  const certificateChain = pemOf(certificate)
  return redacted(
    { certificateChain, privateKey: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) },
    { certificateChain, privateKey: '[redacted]' },
  )
}

/** istiod's rules: nothing asked gives the default, too much is refused. */
function lifetimeOf(signer: Signer, ttlMs = 0): number {
  if (Number.isNaN(ttlMs) || ttlMs > signer.maxTtlMs)
    throw new IdentityError(
      'AMBIENT_E_CA_TTL',
      `a lifetime of ${ttlMs} ms is more than this CA gives, ${signer.maxTtlMs} ms`,
      { layer: 'identity' },
    )
  return ttlMs <= 0 ? signer.defaultTtlMs : ttlMs
}

/** Empty subject, everything that says what it is in critical extensions; never longer than the root. */
async function createLeaf(signer: Signer, leaf: LeafOptions): Promise<GeneratedCertificate> {
  const now = signer.clock.now()
  const end = signer.root.notAfter.getTime()
  if (now >= end)
    throw new IdentityError('AMBIENT_E_CA_TTL', `this CA expired at ${signer.root.notAfter.toISOString()}`, {
      layer: 'identity',
    })
  return X509CertificateGenerator.create(
    {
      serialNumber: newSerial(),
      issuer: signer.root.subjectName,
      notBefore: new Date(Math.max(now - caDefaults.backdateMs, signer.root.notBefore.getTime())),
      notAfter: new Date(Math.min(now + leaf.ttlMs, end)),
      publicKey: leaf.publicKey,
      signingKey: signer.keys.privateKey,
      signingAlgorithm: p256,
      extensions: [
        new KeyUsagesExtension(leaf.usage, true),
        new ExtendedKeyUsageExtension([...leaf.purposes], false),
        new BasicConstraintsExtension(false, undefined, true),
        signer.authorityKey,
        new SubjectAlternativeNameExtension(leaf.names, true),
      ],
    },
    crypto,
  )
}

/** 127 random bits; the first is set, so that the number is positive and of constant length. */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0)
  return bytes.toString('hex')
}

function pemOf(certificate: GeneratedCertificate): string {
  return formatPemCertificate(new Uint8Array(certificate.rawData))
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
