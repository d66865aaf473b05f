/** What a CA sent back, checked before anyone uses it: a certificate for this key, this identity, these roots. */
import { createPublicKey } from 'node:crypto'
import { messageOf, type SpiffeId } from '@ambient/core'
import { readCertificate } from '../x509/certificate.ts'
import { IdentityError } from '../errors.ts'
import { readPemCertificates } from '../x509/pem.ts'
import { verifyPeerChain } from '../svid/verify.ts'

export interface IssuedChain {
  /** As received: leaf, intermediates one by one, and last all roots in one text. */
  readonly chain: readonly string[]
  readonly id: SpiffeId
  /** DER SubjectPublicKeyInfo of the key that was asked for. */
  readonly publicKey: Uint8Array
  readonly now: number
}

/** @throws IdentityError `AMBIENT_E_CA_RESPONSE` with what is wrong. */
export function checkIssuedChain({ chain, id, publicKey, now }: IssuedChain): void {
  if (chain.length === 0) throw refuse(id, 'the chain is empty')
  const roots = chain[chain.length - 1]
  if (chain.length < 2 || roots === undefined) throw refuse(id, 'no root certificate is present')
  const presented = chain.slice(0, -1).map((pem, index) => oneCertificate(pem, index, id))
  const [leaf] = presented
  if (leaf === undefined) throw refuse(id, 'the chain is empty')
  if (!sameKey(leaf, publicKey, id)) throw refuse(id, 'the certificate is for another key')
  const verdict = verifyPeerChain({
    chain: presented,
    trustBundle: roots,
    ownTrustDomain: id.trustDomain,
    expect: { kind: 'one-of', ids: [id] },
    now,
  })
  if (!verdict.ok) throw refuse(id, verdict.reason)
}

function oneCertificate(pem: string, index: number, id: SpiffeId): Uint8Array {
  let certificates: readonly Uint8Array[]
  try {
    certificates = readPemCertificates(pem)
  } catch (cause) {
    throw refuse(id, `element ${index + 1}: ${messageOf(cause)}`, cause)
  }
  const [certificate] = certificates
  if (certificate === undefined || certificates.length > 1)
    throw refuse(id, `element ${index + 1} holds ${certificates.length} certificates where one is due`)
  return certificate
}

function sameKey(leaf: Uint8Array, publicKey: Uint8Array, id: SpiffeId): boolean {
  try {
    const own = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
    return own.equals(readCertificate(leaf).x509.publicKey)
  } catch (cause) {
    throw refuse(id, `leaf: ${messageOf(cause)}`, cause)
  }
}

function refuse(id: SpiffeId, what: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_CA_RESPONSE', `the CA's answer for ${id.uri} cannot be used: ${what}`, {
    cause,
    layer: 'identity',
  })
}
