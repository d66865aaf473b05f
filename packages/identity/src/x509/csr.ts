/** Certificate requests (PKCS#10): ours as ztunnel makes them, others' as a CA must read them. RFC 2986. */
import { createPublicKey, KeyObject, verify } from 'node:crypto'
import { messageOf, type SpiffeId } from '@ambient/core'
import { caDefaults } from '../defaults.ts'
import { constructedTag, DerReader, readWholeBytes, readOid, readSmallInteger, tags } from './der.ts'
import { IdentityError } from '../errors.ts'
import { keyProblem, signatureAlgorithmProblem, signatureDigest } from './key-rules.ts'
import { readPem } from './pem.ts'
import { redacted } from '../svid/redact.ts'
import {
  crypto,
  generateKeys,
  p256,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from './peculiar.ts'
import { checkOption } from '../option-checks.ts'

export interface CertificateRequest {
  readonly csrPem: string
  /** PKCS#8 PEM. Shown as `[redacted]` by `JSON.stringify` and `util.inspect` of this object. */
  readonly privateKey: string
}

/** A fresh P-256 key and a request for it: empty subject, one critical SAN with the ID. */
export async function createCertificateRequest(id: SpiffeId): Promise<CertificateRequest> {
  checkOption('id', id, 'id')
  const keys = await generateKeys()
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      keys,
      signingAlgorithm: p256,
      extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: id.uri }], true)],
    },
    crypto,
  )
  const privateKey = String(KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }))
  const csrPem = `${request.toString('pem')}\n`
  return redacted({ csrPem, privateKey }, { csrPem, privateKey: '[redacted]' })
}

/**
 * The public key of a request (DER SubjectPublicKeyInfo) whose signature proves that its sender holds the private one.
 * Names, extensions and attributes are not even read: the CA takes them from the authenticated caller.
 * @throws IdentityError `AMBIENT_E_CERTIFICATE_REQUEST` with the broken rule.
 */
export function readRequestedKey(csrPem: string): Uint8Array {
  if (Buffer.byteLength(csrPem) > caDefaults.maxRequestBytes)
    throw refuse(`is larger than ${caDefaults.maxRequestBytes} bytes`)
  const blocks = readPem(csrPem, 'AMBIENT_E_CERTIFICATE_REQUEST')
  const [block] = blocks
  if (block === undefined) throw refuse('is not PEM')
  if (blocks.length > 1) throw refuse(`has ${blocks.length} PEM blocks where one is due`)
  if (block.label !== 'CERTIFICATE REQUEST') throw refuse(`is a PEM block of another kind, ${block.label}`)
  let parts: ReturnType<typeof splitRequest>
  try {
    parts = splitRequest(block.der)
  } catch (cause) {
    throw refuse(`cannot be read: ${messageOf(cause)}`, cause)
  }
  checkProof(parts)
  return parts.publicKey
}

interface RequestParts {
  readonly signedBytes: Uint8Array
  readonly publicKey: Uint8Array
  readonly algorithm: string
  readonly signature: Uint8Array
}

function splitRequest(der: Uint8Array): RequestParts {
  const file = new DerReader(der)
  const outer = file.enter(tags.sequence, 'request')
  file.end('request')
  const info = outer.expect(tags.sequence, 'certificationRequestInfo')
  const algorithm = outer.enter(tags.sequence, 'signatureAlgorithm')
  const signature = readWholeBytes(outer.expect(tags.bitString, 'signature'), 'signature')
  outer.end('request')
  const fields = new DerReader(info.content)
  if (readSmallInteger(fields.expect(tags.integer, 'version'), 'version') !== 0)
    throw refuse('has a version other than 1')
  fields.expect(tags.sequence, 'subject')
  const publicKey = fields.expect(tags.sequence, 'subjectPublicKeyInfo')
  fields.optional(constructedTag(0), 'attributes')
  fields.end('certificationRequestInfo')
  return {
    signedBytes: info.raw,
    publicKey: publicKey.raw,
    algorithm: readOid(algorithm.expect(tags.oid, 'signatureAlgorithm'), 'signatureAlgorithm'),
    signature,
  }
}

function checkProof({ signedBytes, publicKey, algorithm, signature }: RequestParts): void {
  const weak = signatureAlgorithmProblem(algorithm)
  if (weak !== undefined) throw refuse(weak)
  let key: KeyObject
  try {
    key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
  } catch (cause) {
    throw refuse('has a public key that cannot be read', cause)
  }
  const problem = keyProblem(key)
  if (problem !== undefined) throw refuse(problem)
  let proven: boolean
  try {
    proven = verify(signatureDigest(algorithm), signedBytes, key, signature)
  } catch (cause) {
    throw refuse('has a signature that does not fit its key', cause)
  }
  if (!proven) throw refuse('is not signed by its own key')
}

function refuse(what: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_CERTIFICATE_REQUEST', `certificate request ${what}`, {
    cause,
    layer: 'identity',
  })
}
