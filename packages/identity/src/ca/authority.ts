/** An embedded CA whose keys live in memory, and what every CA of this package can do. */
import {
  type Clock,
  type Logger,
  type SpiffeId,
  silentLogger,
  systemClock,
  trustDomainProblem,
} from '@ambient/core'
import { caDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { JsonGeneralNames } from '../x509/peculiar.ts'
import { createIntermediate, createRoot, type IssuingAuthority, newCommonName } from './ca-certificates.ts'
import { createIssuer, type IssuancePolicy, signServer, signWorkload } from './issuance.ts'
import { type CaKeyType, caKeyTypes } from './key-algorithms.ts'
import { checkOptions } from '../option-checks.ts'

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

export interface ServerNames {
  readonly dnsNames: readonly string[]
  readonly ipAddresses: readonly string[]
}

export interface CertificateAuthority {
  readonly trustDomain: string
  /** PEM of every root that is to be believed; more than one while a root is being replaced. */
  readonly rootPem: string
  /**
   * Signs for `id`, which the caller has authenticated. The request's names are ignored; only its key and its proof of
   * possession count.
   * @throws IdentityError `AMBIENT_E_CERTIFICATE_REQUEST`, `AMBIENT_E_CA_IDENTITY`, `AMBIENT_E_CA_TTL`
   */
  sign(request: SignRequest): Promise<SignedCertificate>
  /** TLS server certificate for the control plane itself, with the longest lifetime that this CA gives. */
  issueServerCertificate(request: ServerNames): Promise<ServerCertificate>
}

export interface CertificateAuthorityOptions {
  readonly trustDomain: string
  /** Default 24 h. */
  readonly defaultTtlMs?: number
  /** Default 90 days; who asks for more gets this. */
  readonly maxTtlMs?: number
  /** Default 3650 days. No certificate outlives the root. */
  readonly rootTtlMs?: number
  /** Workloads are signed by an intermediate of path length 0, not by the root itself. Default `false`. */
  readonly intermediate?: boolean
  /** Of root and intermediate. Default `P-256`. */
  readonly keyType?: CaKeyType
  readonly clock?: Clock
  readonly logger?: Logger
}

/**
 * A CA with a fresh root. Its keys never leave this process.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export async function createCertificateAuthority(
  options: CertificateAuthorityOptions,
): Promise<CertificateAuthority> {
  return (await createMemoryAuthority(options)).ca
}

/** The same, with what signs its workloads. @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export async function createMemoryAuthority(
  options: CertificateAuthorityOptions,
): Promise<{ readonly ca: CertificateAuthority; readonly signer: IssuingAuthority }> {
  checkOptions(options, { trustDomain: 'text' })
  const { trustDomain, rootTtlMs = caDefaults.rootTtlMs } = options
  const policy = issuancePolicy(trustDomain, options)
  const keyType = caKeyType(options.keyType)
  if (!(rootTtlMs > 0)) throw optionError(`rootTtlMs: ${rootTtlMs} is not positive`)
  const now = policy.clock.now()
  const validity = { notBefore: now - caDefaults.backdateMs, notAfter: now + rootTtlMs }
  const root = await createRoot({ trustDomain, keyType, ...validity })
  const signer =
    options.intermediate === true
      ? await createIntermediate(
          { trustDomain, keyType, ...validity, commonName: newCommonName('intermediate') },
          root,
        )
      : root
  const issuer = createIssuer(
    signer,
    { intermediates: signer === root ? [] : [signer.certificatePem], rootsPem: root.certificatePem },
    policy,
  )
  const ca: CertificateAuthority = Object.freeze({
    trustDomain,
    rootPem: issuer.rootsPem,
    sign: (request: SignRequest) => signWorkload(policy, issuer, request),
    issueServerCertificate: (request: ServerNames) => signServer(policy, issuer, generalNames(request)),
  })
  return { ca, signer }
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function issuancePolicy(
  trustDomain: string,
  options: Pick<CertificateAuthorityOptions, 'clock' | 'defaultTtlMs' | 'logger' | 'maxTtlMs'>,
): IssuancePolicy {
  const problem = trustDomainProblem(trustDomain)
  if (problem !== undefined) throw optionError(`trustDomain: ${problem}`)
  const {
    defaultTtlMs = caDefaults.defaultTtlMs,
    maxTtlMs = caDefaults.maxTtlMs,
    clock = systemClock,
    logger = silentLogger,
  } = options
  if (!(defaultTtlMs > 0 && defaultTtlMs <= maxTtlMs))
    throw optionError(`defaultTtlMs: ${defaultTtlMs} is not between 1 and maxTtlMs, ${maxTtlMs}`)
  return Object.freeze({ trustDomain, defaultTtlMs, maxTtlMs, clock, logger })
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function caKeyType(keyType: CaKeyType = caDefaults.keyType): CaKeyType {
  if (caKeyTypes.includes(keyType)) return keyType
  throw optionError(`keyType: ${JSON.stringify(keyType)} is not one of ${caKeyTypes.join(', ')}`)
}

export function generalNames({ dnsNames, ipAddresses }: ServerNames): JsonGeneralNames {
  return [
    ...dnsNames.map(value => ({ type: 'dns' as const, value })),
    ...ipAddresses.map(value => ({ type: 'ip' as const, value })),
  ]
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
