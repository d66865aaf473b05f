/** What every kind of CA does with a request: judge it, have its leaf signed, and put the chain together. */
import { createPublicKey, KeyObject } from 'node:crypto'
import type { Clock, Logger, SpiffeId } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import { redacted } from '../svid/redact.ts'
import { readCertificate } from '../x509/certificate.ts'
import { readRequestedKey } from '../x509/csr.ts'
import { generateKeys, type JsonGeneralNames } from '../x509/peculiar.ts'
import { readPemCertificates } from '../x509/pem.ts'
import type { IssuingAuthority } from './ca-certificates.ts'
import type { ServerCertificate, SignedCertificate, SignRequest } from './authority.ts'
import { createKeyOwners, type KeyOwners } from './key-owners.ts'
import { createSigningThread, type SigningThread } from './signing-thread.ts'
import { checkOptions } from '../option-checks.ts'

/** What a CA gives, whoever signs at the moment. */
export interface IssuancePolicy {
  readonly trustDomain: string
  readonly defaultTtlMs: number
  readonly maxTtlMs: number
  readonly clock: Clock
  readonly logger: Logger
}

/** Who signs at the moment. A rotation makes a new one. */
export interface Issuer {
  /** PEM, one each: what stands between a leaf and the roots, the leaf's issuer first. Empty when a root signs. */
  readonly intermediates: readonly string[]
  /** PEM of every root that is to be believed. */
  readonly rootsPem: string
  readonly thread: SigningThread
  readonly keys: KeyOwners
}

export function createIssuer(
  signer: IssuingAuthority,
  { intermediates, rootsPem }: { readonly intermediates: readonly string[]; readonly rootsPem: string },
  { logger, keys = createKeyOwners() }: { readonly logger: Logger; readonly keys?: KeyOwners },
): Issuer {
  const above = [signer.certificatePem, ...intermediates, rootOf(signer, rootsPem)].map(certificateOf)
  for (const { publicKey } of above) keys.reserve(publicKey)
  return {
    intermediates,
    rootsPem,
    thread: createSigningThread(
      {
        // No more than that: it is copied to another thread.
        certificatePem: signer.certificatePem,
        signing: signer.signing,
        notBefore: Math.max(...above.map(({ notBefore }) => notBefore)),
        notAfter: Math.min(...above.map(({ notAfter }) => notAfter)),
      },
      logger,
    ),
    keys,
  }
}

/** Names come from `id`, which the caller has authenticated; a request gives its key and its proof of possession. */
export async function signWorkload(
  policy: IssuancePolicy,
  issuer: Issuer,
  request: SignRequest,
): Promise<SignedCertificate> {
  checkOptions(request, { id: 'id', csrPem: 'text' })
  const { id, csrPem, ttlMs } = request
  checkIdentity(policy, id)
  const lifetimeMs = lifetimeOf(policy, ttlMs)
  const publicKey = readRequestedKey(csrPem)
  const problem = issuer.keys.problemOf(publicKey, id)
  if (problem !== undefined)
    throw new IdentityError('AMBIENT_E_CERTIFICATE_REQUEST', `certificate request ${problem}`, {
      layer: 'identity',
    })
  const { pem, notBefore, notAfter } = await issuer.thread.sign({
    publicKey,
    names: [{ type: 'url', value: id.uri }],
    purpose: 'workload',
    now: policy.clock.now(),
    ttlMs: lifetimeMs,
  })
  return { chain: [pem, ...issuer.intermediates, issuer.rootsPem], notBefore, notAfter }
}

export async function signServer(
  policy: IssuancePolicy,
  issuer: Issuer,
  names: JsonGeneralNames,
): Promise<ServerCertificate> {
  if (names.length === 0)
    throw new IdentityError('AMBIENT_E_IDENTITY_OPTION', 'a server certificate needs a name', {
      layer: 'config',
    })
  const { privateKey: key } = await generateKeys()
  const privateKey = KeyObject.from(key)
  const { pem } = await issuer.thread.sign({
    publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    names,
    purpose: 'server',
    now: policy.clock.now(),
    ttlMs: policy.maxTtlMs,
  })
  const certificateChain = [pem, ...issuer.intermediates].join('')
  return redacted(
    { certificateChain, privateKey: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) },
    { certificateChain, privateKey: '[redacted]' },
  )
}

function checkIdentity({ trustDomain }: IssuancePolicy, id: SpiffeId): void {
  const problem =
    id.trustDomain !== trustDomain
      ? `this CA speaks for the trust domain ${trustDomain}`
      : id.path === ''
        ? 'names a trust domain, not a workload'
        : undefined
  if (problem !== undefined)
    throw new IdentityError('AMBIENT_E_CA_IDENTITY', `${id.uri}: ${problem}`, { layer: 'identity' })
}

/** Nothing asked gives the default, as at istiod; too much gives the most there is, where istiod refuses. */
function lifetimeOf({ defaultTtlMs, maxTtlMs }: IssuancePolicy, ttlMs = 0): number {
  if (Number.isNaN(ttlMs))
    throw new IdentityError('AMBIENT_E_CA_TTL', 'a lifetime that is no number', { layer: 'identity' })
  return ttlMs <= 0 ? defaultTtlMs : Math.min(ttlMs, maxTtlMs)
}

/** The root that signed it, or itself; a folder's reader has proven that there is one. */
function rootOf(signer: IssuingAuthority, rootsPem: string): string {
  const issued = certificateOf(signer.certificatePem)
  const found = readPemCertificates(rootsPem).find(der => issued.x509.checkIssued(readCertificate(der).x509))
  return found === undefined ? signer.certificatePem : readCertificate(found).x509.toString()
}

function certificateOf(pem: string): ReturnType<typeof readCertificate> {
  const [der] = readPemCertificates(pem)
  if (der === undefined)
    throw new IdentityError('AMBIENT_E_CERTIFICATE', "a CA's certificate is not PEM", { layer: 'identity' })
  return readCertificate(der)
}
