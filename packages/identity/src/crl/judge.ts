/** What revocation lists say of a proven path. Decides only; reading and watching are elsewhere. */
import { verify } from 'node:crypto'
import type { BrokenRule } from '../svid/leaf-rules.ts'
import type { Labelled } from '../svid/path.ts'
import { verifyLimits } from '../defaults.ts'
import { type Certificate, keyUsageBits } from '../x509/certificate.ts'
import { sameBytes } from '../x509/der.ts'
import { signatureAlgorithmProblem, signatureDigest } from '../x509/key-rules.ts'
import type { Crl } from './read-crls.ts'

/**
 * `allow-unknown` is ztunnel's: only a certificate that a list names is refused, however old the list. `require`: each
 * certificate below the anchor needs a complete list of its issuer that is in force.
 */
export type CrlMode = 'allow-unknown' | 'require'

/** Lists that were read together, and whose signatures were proven so far. */
export interface CrlSet {
  readonly lists: readonly Crl[]
  readonly proven: WeakMap<Crl, WeakMap<Certificate, boolean>>
}

export interface CrlQuestion {
  readonly set: CrlSet
  readonly mode: CrlMode
  /** When the path was proven: what was in force then is enough. */
  readonly at: number
  /** The present: a list that was issued since is no list of the future. */
  readonly now: number
}

export function crlSet(lists: readonly Crl[]): CrlSet {
  return { lists, proven: new WeakMap() }
}

/** The first certificate of the path (leaf first, anchor last) that may not be believed. The anchor answers for itself. */
export function revocationProblem(path: readonly Labelled[], question: CrlQuestion): BrokenRule | undefined {
  let unknown: BrokenRule | undefined
  for (const [index, subject] of path.entries()) {
    const issuer = path[index + 1]
    if (issuer === undefined) break
    const lists = question.set.lists.filter(list => speaksFor(question.set, list, issuer.certificate))
    if (lists.some(list => list.revoked.has(subject.certificate.serial)))
      return {
        problem: 'revoked',
        reason: `${subject.label}: serial ${subject.certificate.serial} was revoked by its issuer, ${issuer.label}`,
      }
    if (question.mode === 'require') unknown ??= statusProblem(subject, issuer, lists, question)
  }
  return unknown
}

/** Issued under this name and by this key, which may sign lists. */
function speaksFor(set: CrlSet, list: Crl, issuer: Certificate): boolean {
  if (!sameBytes(list.issuer, issuer.subject)) return false
  const usage = issuer.keyUsage
  if (usage !== undefined && (usage.bits & keyUsageBits.cRLSign) === 0) return false
  // Certificates of proven paths are kept as they are, so that each is asked once.
  const known = set.proven.get(list) ?? new WeakMap<Certificate, boolean>()
  const proven = known.get(issuer) ?? isSignedBy(list, issuer)
  set.proven.set(list, known.set(issuer, proven))
  return proven
}

function isSignedBy(list: Crl, issuer: Certificate): boolean {
  if (signatureAlgorithmProblem(list.signatureAlgorithm) !== undefined) return false
  try {
    const digest = signatureDigest(list.signatureAlgorithm)
    return verify(digest, list.signedBytes, issuer.x509.publicKey, list.signature)
  } catch {
    // A key of another type than the signature: another issuer of that name.
    return false
  }
}

/** `require`: why the status of a certificate is not known. */
function statusProblem(
  { label }: Labelled,
  issuer: Labelled,
  lists: readonly Crl[],
  { at, now }: CrlQuestion,
): BrokenRule | undefined {
  const whole = lists.filter(list => !list.isPartial)
  if (whole.length === 0)
    return unknownStatus(`${label}: its revocation status is unknown, there is no list of ${issuer.label}`)
  if (whole.some(list => isInForce(list, at, now))) return undefined
  const ends = whole.map(list => list.nextUpdate ?? Number.NEGATIVE_INFINITY)
  const end = Math.max(...ends)
  return unknownStatus(
    `${label}: its revocation status is unknown, the list of ${issuer.label} ${
      Number.isFinite(end) ? `is stale since ${new Date(end).toISOString()}` : 'names no next update'
    }`,
  )
}

function isInForce({ thisUpdate, nextUpdate }: Crl, at: number, now: number): boolean {
  const isIssued = thisUpdate <= Math.max(at, now) + verifyLimits.notBeforeSkewMs
  return isIssued && nextUpdate !== undefined && at <= nextUpdate
}

function unknownStatus(reason: string): BrokenRule {
  return { problem: 'revocation-unknown', reason }
}
