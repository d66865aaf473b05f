/** From a leaf to a trust anchor: every candidate issuer is tried, and the failure that came closest is reported. */
import { readSpiffeId } from '@ambient/core'
import { type Certificate, generalName, keyUsageBits, oids } from '../x509/certificate.ts'
import { verifyLimits } from '../defaults.ts'
import { sameBytes } from '../x509/der.ts'
import { signatureAlgorithmProblem } from '../x509/key-rules.ts'
import { type BrokenRule, commonRules } from './leaf-rules.ts'
import { nameConstraintProblem } from './name-constraints.ts'

/** A certificate and how reasons call it: `leaf`, `certificate 2 of 3`, `trust anchor 1`. */
export interface Labelled {
  readonly label: string
  readonly certificate: Certificate
}

export type PathVerdict =
  | { readonly ok: true; readonly path: readonly Labelled[] }
  | ({ readonly ok: false } & BrokenRule)

interface Search {
  readonly presented: readonly Labelled[]
  readonly anchors: readonly Labelled[]
  readonly now: number
  checksLeft: number
  /** The broken rule of the candidate that came closest: its name and signature were right. */
  closest: BrokenRule | undefined
}

/** `presented` begins with the leaf, whose own rules were checked before. */
export function findPath(
  presented: readonly Labelled[],
  anchors: readonly Labelled[],
  now: number,
): PathVerdict {
  const [leaf, ...others] = presented
  if (leaf === undefined)
    return { ok: false, problem: 'no-certificate', reason: 'no certificate was presented' }
  const late = validityProblem(leaf, now)
  if (late !== undefined) return { ok: false, ...late }
  const search: Search = {
    presented: others,
    anchors,
    now,
    checksLeft: verifyLimits.maxSignatureChecks,
    closest: undefined,
  }
  const path = extend(search, [leaf])
  if (path !== undefined) return { ok: true, path }
  return {
    ok: false,
    ...(search.closest ?? {
      problem: 'untrusted',
      reason: `${leaf.label}: no certificate of the trust bundle leads to it`,
    }),
  }
}

/** Outside its validity? The skew counts for the beginning only. */
export function validityProblem({ label, certificate }: Labelled, now: number): BrokenRule | undefined {
  if (now > certificate.notAfter)
    return {
      problem: 'expired',
      reason: `${label}: expired at ${new Date(certificate.notAfter).toISOString()}`,
    }
  if (now + verifyLimits.notBeforeSkewMs < certificate.notBefore)
    return {
      problem: 'not-yet-valid',
      reason: `${label}: not valid before ${new Date(certificate.notBefore).toISOString()}`,
    }
  return undefined
}

function extend(search: Search, path: readonly Labelled[]): readonly Labelled[] | undefined {
  const below = path[path.length - 1]
  if (below === undefined || path.length >= verifyLimits.maxPathLength) return undefined
  for (const anchor of search.anchors) {
    // An anchor that was presented as the leaf's own certificate proves nothing: the leaf rules forbid CA:TRUE.
    if (accepts(search, path, below, anchor, true)) return [...path, anchor]
  }
  for (const candidate of search.presented) {
    if (path.includes(candidate) || !accepts(search, path, below, candidate, false)) continue
    const found = extend(search, [...path, candidate])
    if (found !== undefined) return found
  }
  return undefined
}

/** May `signer` stand above `below`? A broken rule of a signer whose signature is right is remembered. */
function accepts(
  search: Search,
  path: readonly Labelled[],
  below: Labelled,
  signer: Labelled,
  isAnchor: boolean,
): boolean {
  if (!sameBytes(below.certificate.issuer, signer.certificate.subject)) return false
  const algorithm = signatureAlgorithmProblem(below.certificate.signatureAlgorithm)
  if (algorithm !== undefined) {
    search.closest ??= { problem: 'weak-key', reason: `${below.label}: ${algorithm}` }
    return false
  }
  if (!signed(search, below, signer)) return false
  const broken =
    signerRules(signer, path, isAnchor) ?? validityProblem(signer, search.now) ?? constraints(signer, path)
  if (broken === undefined) return true
  search.closest ??= broken
  return false
}

function signed(search: Search, below: Labelled, signer: Labelled): boolean {
  if (search.checksLeft === 0) return false
  search.checksLeft -= 1
  try {
    return below.certificate.x509.verify(signer.certificate.x509.publicKey)
  } catch {
    // A key of another type than the signature: not the signer.
    return false
  }
}

function signerRules(signer: Labelled, path: readonly Labelled[], isAnchor: boolean): BrokenRule | undefined {
  const { label, certificate } = signer
  const common = commonRules(certificate)
  if (common !== undefined) return { ...common, reason: `${label}: ${common.reason}` }
  const constraint = certificate.basicConstraints
  if (constraint?.ca !== true)
    return { problem: 'basic-constraints', reason: `${label}: signs certificates but is not a CA` }
  // Every certificate between it and the leaf counts, also the self-issued ones.
  if (constraint.pathLength !== undefined && path.length - 1 > constraint.pathLength)
    return {
      problem: 'basic-constraints',
      reason: `${label}: allows ${constraint.pathLength} CAs below it, the path has ${path.length - 1}`,
    }
  const usage = certificate.keyUsage
  // Hand-made roots often lack key usage; that they are anchors was decided by whoever configured them.
  if (usage === undefined ? !isAnchor : (usage.bits & keyUsageBits.keyCertSign) === 0)
    return { problem: 'key-usage', reason: `${label}: signs certificates without key usage keyCertSign` }
  const purposes = certificate.extendedKeyUsage
  if (
    purposes !== undefined &&
    !purposes.includes(oids.anyExtendedKeyUsage) &&
    !(purposes.includes(oids.serverAuth) && purposes.includes(oids.clientAuth))
  )
    return {
      problem: 'key-usage',
      reason: `${label}: its extended key usage excludes TLS servers or clients`,
    }
  return signerIdentity(signer)
}

/** A CA may carry the ID of its trust domain, never one of a workload. */
function signerIdentity({ label, certificate }: Labelled): BrokenRule | undefined {
  for (const name of certificate.subjectAltName?.names ?? []) {
    if (name.tag !== generalName.uri) continue
    const id = readSpiffeId(Buffer.from(name.value).toString('latin1'))
    if (id.ok && id.id.path !== '')
      return { problem: 'spiffe-id', reason: `${label}: a CA with the SPIFFE ID of a workload, ${id.id.uri}` }
  }
  return undefined
}

function constraints(signer: Labelled, path: readonly Labelled[]): BrokenRule | undefined {
  for (const { label, certificate } of path) {
    const reason = nameConstraintProblem(certificate, signer.certificate)
    if (reason !== undefined) return { problem: 'untrusted', reason: `${label}: ${reason}` }
  }
  return undefined
}
