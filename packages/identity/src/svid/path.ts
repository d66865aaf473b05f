/** From a leaf to a trust anchor: every candidate issuer is tried, and the failure that came closest is reported. */
import { verifyLimits } from '../defaults.ts'
import { sameBytes } from '../x509/der.ts'
import { nameText } from '../x509/facts.ts'
import { signatureAlgorithmName, signatureAlgorithmProblem } from '../x509/key-rules.ts'
import { type BrokenChainRule, brokenRule, fail, firstBroken, pass, type Rule } from './rules.ts'
import { constraintRule, type Labelled, type Signer, signerRules, validityRules } from './signer-rules.ts'

export type { Labelled } from './signer-rules.ts'

export type PathVerdict =
  | { readonly ok: true; readonly path: readonly Labelled[] }
  | ({
      readonly ok: false
      /** As far as signatures lead, through the certificate that broke a rule. */
      readonly path: readonly Labelled[]
    } & BrokenChainRule)

/** Of a name that others chose, in a reason. */
const MAX_SHOWN = 120

interface Search {
  readonly presented: readonly Labelled[]
  readonly anchors: readonly Labelled[]
  readonly now: number
  checksLeft: number
  /** The broken rule of the candidate that came closest: its name and signature were right. */
  closest: { readonly broken: BrokenChainRule; readonly path: readonly Labelled[] } | undefined
  /** The longest path without a broken rule. */
  longest: readonly Labelled[]
}

export const signatureAlgorithmRule: Rule<Labelled> = {
  name: 'signature-algorithm',
  problem: 'weak-key',
  check: ({ certificate: { signatureAlgorithm } }) => {
    const problem = signatureAlgorithmProblem(signatureAlgorithm)
    return problem === undefined ? pass(signatureAlgorithmName(signatureAlgorithm)) : fail(problem)
  },
}

/** `presented` begins with the leaf, whose own rules were checked before. */
export function findPath(
  presented: readonly Labelled[],
  anchors: readonly Labelled[],
  now: number,
): PathVerdict {
  const [leaf, ...others] = presented
  if (leaf === undefined) return { ok: false, path: [], ...noLeaf() }
  const { certificate, label } = leaf
  const late = firstBroken(validityRules, { certificate, now }, label)
  if (late !== undefined) return { ok: false, path: [leaf], ...late }
  const search: Search = {
    presented: others,
    anchors,
    now,
    checksLeft: verifyLimits.maxSignatureChecks,
    closest: undefined,
    longest: [leaf],
  }
  const path = extend(search, [leaf])
  if (path !== undefined) return { ok: true, path }
  const { closest, longest } = search
  if (closest !== undefined) return { ok: false, path: closest.path, ...closest.broken }
  return { ok: false, path: longest, ...notLed(longest[longest.length - 1] ?? leaf) }
}

export function noLeaf(): BrokenChainRule {
  return {
    problem: 'no-certificate',
    rule: 'chain-not-empty',
    certificate: 'chain',
    reason: 'the peer presented no certificate',
  }
}

/** Nothing that was signed by an anchor signed this one. */
export function notLed({ label, certificate }: Labelled): BrokenChainRule {
  const issuer = nameText(certificate.issuer).slice(0, MAX_SHOWN) || 'one without a name'
  const detail = `no certificate of the trust bundle leads to it (issued by ${issuer})`
  return brokenRule(label, 'signature', 'untrusted', detail)
}

function tooLong(): BrokenChainRule {
  const detail = `more than ${verifyLimits.maxPathLength} certificates from the leaf to a trust anchor`
  return brokenRule('chain', 'chain-length', 'untrusted', detail)
}

function extend(search: Search, path: readonly Labelled[]): readonly Labelled[] | undefined {
  const below = path[path.length - 1]
  if (below === undefined) return undefined
  if (path.length >= verifyLimits.maxPathLength) {
    search.closest ??= { broken: tooLong(), path }
    return undefined
  }
  for (const anchor of search.anchors) {
    // An anchor that was presented as the leaf's own certificate proves nothing: the leaf rules forbid CA:TRUE.
    if (accepts(search, path, below, anchor, true)) return [...path, anchor]
  }
  for (const candidate of search.presented) {
    if (path.includes(candidate) || !accepts(search, path, below, candidate, false)) continue
    const longer = [...path, candidate]
    if (longer.length > search.longest.length) search.longest = longer
    const found = extend(search, longer)
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
  if (!isNamedBy(below, signer)) return false
  const weak = firstBroken([signatureAlgorithmRule], below, below.label)
  if (weak !== undefined) {
    search.closest ??= { broken: weak, path }
    return false
  }
  if (search.checksLeft === 0) return false
  search.checksLeft -= 1
  if (!isSignedBy(below, signer)) return false
  const above: Signer = { certificate: signer.certificate, below: path, isAnchor, now: search.now }
  const broken = firstBroken(signerRules, above, signer.label) ?? constraintBroken(signer, path)
  if (broken === undefined) return true
  search.closest ??= { broken, path: [...path, signer] }
  return false
}

export function isNamedBy(below: Labelled, signer: Labelled): boolean {
  return sameBytes(below.certificate.issuer, signer.certificate.subject)
}

export function isSignedBy(below: Labelled, signer: Labelled): boolean {
  try {
    return below.certificate.x509.verify(signer.certificate.x509.publicKey)
  } catch {
    // A key of another type than the signature: not the signer.
    return false
  }
}

function constraintBroken(signer: Labelled, path: readonly Labelled[]): BrokenChainRule | undefined {
  for (const { label, certificate } of path) {
    const broken = firstBroken([constraintRule], { certificate, signer }, label)
    if (broken !== undefined) return broken
  }
  return undefined
}
