/** One identity at one generation, with its key out of sight. */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { type Clock, type Credentials, systemClock } from '@ambient/core'
import { type Certificate, readCertificate } from '../x509/certificate.ts'
import { nothingRevoked, type Revocations } from '../crl/revocations.ts'
import { IdentityError } from '../errors.ts'
import { readTrustBundle, trustedDomains } from './anchors.ts'
import { checkLeaf } from './leaf-rules.ts'
import { formatPemCertificate, readPemCertificates } from '../x509/pem.ts'
import { redacted } from './redact.ts'
import { verifyWithAnchors } from './verify.ts'
import { checkOptions } from '../option-checks.ts'

export interface CredentialsOptions {
  /** PEM, leaf first, then intermediates. */
  readonly certificateChain: string
  /** PKCS#8 PEM of the leaf's key. */
  readonly privateKey: string
  /** PEM of every trust anchor of the leaf's trust domain. */
  readonly trustBundle: string
  /** PEM of the anchors of other trust domains, by trust domain. */
  readonly federatedBundles?: ReadonlyMap<string, string>
  /** What `verifyPeer` asks for withdrawn certificates. Default: nothing is withdrawn. */
  readonly revocations?: Revocations
  /** Default 1. */
  readonly generation?: number
  /** What `verifyPeer` reads the time from. */
  readonly clock?: Clock
}

/**
 * Credentials from PEM. The leaf must keep every rule that we ask of peers, and the key must be its own.
 * @throws IdentityError `AMBIENT_E_CERTIFICATE`, `AMBIENT_E_PRIVATE_KEY`, `AMBIENT_E_TRUST_BUNDLE`
 */
export function createCredentials(options: CredentialsOptions): Credentials {
  checkOptions(options, { certificateChain: 'text', privateKey: 'text', trustBundle: 'text' })
  const { clock = systemClock, generation = 1, revocations = nothingRevoked } = options
  const federatedBundles = new Map(options.federatedBundles)
  const chain = readPemCertificates(options.certificateChain)
  const [first] = chain
  if (first === undefined) throw refuse('AMBIENT_E_CERTIFICATE', 'the certificate chain is empty')
  const leaf = readCertificate(first)
  const verdict = checkLeaf(leaf)
  if (!verdict.ok) throw refuse('AMBIENT_E_CERTIFICATE', verdict.reason)
  const { id } = verdict
  const key = readPrivateKey(options.privateKey, leaf, id.uri)
  const trust = readTrustBundle(options.trustBundle)
  if (trust.anchors.length === 0)
    throw refuse(
      'AMBIENT_E_TRUST_BUNDLE',
      `${id.uri}: the trust bundle holds no certificate that can be read`,
    )
  const domains = trustedDomains(id.trustDomain, options.trustBundle, federatedBundles)

  const credentials: Credentials = {
    id,
    generation,
    certificateChain: chain.map(formatPemCertificate).join(''),
    federatedBundles,
    trustBundle: trust.anchors.map(anchor => formatPemCertificate(anchor.certificate.der)).join(''),
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
    privateKey: () => String(key.export({ type: 'pkcs8', format: 'pem' })),
    verifyPeer: (peer, expect, at = clock.now()) =>
      verifyWithAnchors({
        chain: peer,
        domains,
        ownTrustDomain: id.trustDomain,
        revocations,
        expect,
        now: at,
      }),
  }
  return Object.freeze(redacted(credentials, shown(credentials)))
}

/** What dumps and logs see. */
function shown(of: Credentials): Readonly<Record<string, unknown>> {
  return {
    id: of.id.uri,
    generation: of.generation,
    certificateChain: of.certificateChain,
    trustBundle: of.trustBundle,
    federatedBundles: Object.fromEntries(of.federatedBundles),
    notBefore: of.notBefore,
    notAfter: of.notAfter,
    privateKey: '[redacted]',
  }
}

function readPrivateKey(pem: string, leaf: Certificate, id: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    // The parser's own error could quote its input.
    throw refuse('AMBIENT_E_PRIVATE_KEY', `${id}: the private key cannot be read`)
  }
  if (!leaf.x509.checkPrivateKey(key))
    throw refuse('AMBIENT_E_PRIVATE_KEY', `${id}: the private key is not that of its certificate`)
  return key
}

function refuse(
  code: 'AMBIENT_E_CERTIFICATE' | 'AMBIENT_E_PRIVATE_KEY' | 'AMBIENT_E_TRUST_BUNDLE',
  message: string,
): IdentityError {
  return new IdentityError(code, message, { layer: 'identity' })
}
