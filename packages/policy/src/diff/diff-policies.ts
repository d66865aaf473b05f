/**
 * Which requests are judged otherwise under other policies: found by enumeration of what the policies can tell apart,
 * not by trying requests, and each decided again by the evaluator.
 */
import type { DiffOptions, PolicyChange, PolicyDiff, UndecidedPart } from './policy-diff.ts'
import { constraintWords } from './words.ts'
import { withoutExpired } from '../documents/expiry.ts'
import { createEvaluator } from '../evaluator/create-evaluator.ts'
import {
  type EvaluatorDocuments,
  keyOfDocument,
  type PolicyEvaluator,
  resolveDocuments,
  type ResolvedDocuments,
  type ResolvedOptions,
  resolveOptions,
} from '../evaluator/policy-evaluator.ts'
import type { Enforcer, PolicyDialect, PolicyVerdict } from '../evaluator/verdict.ts'
import { limits } from '../limits.ts'
import { compare, type Region } from '../symbolic/compare.ts'
import { Formulas } from '../symbolic/formula.ts'
import { type KnownRules, policyModel, type RuleLabel } from '../symbolic/policy-model.ts'
import { witnessOf, type WitnessOptions } from '../symbolic/witness.ts'

const DIALECTS: readonly PolicyDialect[] = ['ztunnel', 'envoy-tcp', 'envoy-http']
const KINDS: readonly Enforcer['kind'][] = ['workload', 'waypoint', 'gateway']

/** Both sides with the same options: those of the mesh. */
export function diffPolicies(
  before: EvaluatorDocuments,
  after: EvaluatorDocuments,
  options: DiffOptions = {},
): PolicyDiff {
  const [left, right] = [resolveAt(before, options.at), resolveAt(after, options.at)]
  const changes: PolicyChange[] = []
  const undecided: UndecidedPart[] = []
  for (const dialect of options.dialects ?? DIALECTS)
    for (const kind of options.enforcers ?? KINDS) {
      if (dialect === 'ztunnel' && kind !== 'workload') continue
      const part = diffAt(left, right, { ...options, dialect, kind })
      changes.push(...part.changes)
      undecided.push(...part.undecided)
    }
  const result = undecided.length > 0 ? 'undecided' : changes.length > 0 ? 'changed' : 'same'
  return { result, changes, undecided }
}

function resolveAt(documents: EvaluatorDocuments, at: number | undefined): ResolvedDocuments {
  if (at === undefined) return resolveDocuments(documents)
  const authorizationPolicies = withoutExpired(documents.authorizationPolicies, at)
  return resolveDocuments({ ...documents, authorizationPolicies })
}

type PartOptions = DiffOptions & { readonly dialect: PolicyDialect; readonly kind: Enforcer['kind'] }

/** One dialect at one kind of enforcer. */
function diffAt(
  before: ResolvedDocuments,
  after: ResolvedDocuments,
  options: PartOptions,
): Omit<PolicyDiff, 'result'> {
  const resolved = resolveOptions(options)
  const { kind, dialect } = options
  const formulas = new Formulas()
  const [left, right] = relevant(before, after, kind, resolved)
  const known: KnownRules = new Map()
  // Tokens of other issuers give other formulas: then nothing is shared.
  const shared = sameTokens(left, right) ? known : undefined
  const place: WitnessOptions = { kind, dialect, pathNormalization: resolved.pathNormalization }
  const found = compare(
    policyModel(left, kind, resolved, formulas, known),
    policyModel(right, kind, resolved, formulas, shared),
    {
      formulas,
      pathNormalization: resolved.pathNormalization,
      maxSteps: options.maxSteps ?? limits.maxDiffSteps,
      maxRegions: options.maxChanges ?? limits.maxDiffRegions,
      possible: choices => witnessOf(choices, place) !== undefined,
    },
  )
  const judges = { before: evaluatorOf(left, resolved), after: evaluatorOf(right, resolved) }
  const parts = found.regions.map(region => changeOf(region, place, judges))
  const undecided = parts.flatMap(part => ('reason' in part ? [part] : []))
  if (!found.complete)
    undecided.push({ dialect, enforcer: kind, reason: `more than ${limitText(found.reason, options)}` })
  return { changes: parts.flatMap(part => ('reason' in part ? [] : [part])), undecided }
}

function limitText(reason: 'steps' | 'regions' | undefined, options: PartOptions): string {
  return reason === 'regions'
    ? `${options.maxChanges ?? limits.maxDiffRegions} changes`
    : `${options.maxSteps ?? limits.maxDiffSteps} steps`
}

function evaluatorOf(documents: ResolvedDocuments, options: ResolvedOptions): PolicyEvaluator {
  const authorizationPolicies = [...documents.authorizationPolicies.values()]
  return createEvaluator({ ...documents, authorizationPolicies }, options)
}

/** The evaluator has the last word: where it sees no change, the search is wrong and says so. */
function changeOf(
  region: Region<RuleLabel>,
  place: WitnessOptions,
  judges: { readonly before: PolicyEvaluator; readonly after: PolicyEvaluator },
): PolicyChange | UndecidedPart {
  const { dialect, kind } = place
  const witness = witnessOf(region.choices, place)
  const here = { dialect, enforcer: kind }
  if (witness === undefined) return { ...here, reason: 'a region without a witness' }
  const { request, enforcer } = witness
  const [before, after] = [judges.before.decide(request, enforcer), judges.after.decide(request, enforcer)]
  if (before.verdict !== region.before.outcome || after.verdict !== region.after.outcome)
    return {
      ...here,
      reason: `the search and the evaluator disagree over ${JSON.stringify({ request, enforcer })}`,
    }
  const constraint = constraintWords(region.choices)
  return { dialect, before: decider(before), after: decider(after), constraint, witness: request, enforcer }
}

function decider({ verdict, action, policy, rule, reason }: PolicyVerdict): PolicyChange['before'] {
  return { verdict, action, policy, rule, reason }
}

/** Of unchanged policies only those that can be where a changed one is. */
function relevant(
  before: ResolvedDocuments,
  after: ResolvedDocuments,
  kind: Enforcer['kind'],
  { rootNamespace }: ResolvedOptions,
): readonly [ResolvedDocuments, ResolvedDocuments] {
  if (kind === 'waypoint' || !sameTokens(before, after) || !samePeers(before, after)) return [before, after]
  const changed = changedNamespaces(before, after)
  if (changed.has(rootNamespace)) return [before, after]
  const near = (namespace: string): boolean => namespace === rootNamespace || changed.has(namespace)
  const narrow = (documents: ResolvedDocuments): ResolvedDocuments => ({
    ...documents,
    authorizationPolicies: new Map(
      [...documents.authorizationPolicies].filter(([, { metadata }]) => near(metadata.namespace)),
    ),
  })
  return [narrow(before), narrow(after)]
}

function changedNamespaces(before: ResolvedDocuments, after: ResolvedDocuments): ReadonlySet<string> {
  const [left, right] = [textsOf(before), textsOf(after)]
  const differs = ([key, text]: readonly [string, string], other: ReadonlyMap<string, string>): boolean =>
    other.get(key) !== text
  const keys = [
    ...[...left].filter(one => differs(one, right)),
    ...[...right].filter(one => differs(one, left)),
  ]
  return new Set(keys.map(([key]) => key.slice(0, key.indexOf('/'))))
}

function textsOf({ authorizationPolicies }: ResolvedDocuments): ReadonlyMap<string, string> {
  return new Map(
    [...authorizationPolicies].map(([key, { metadata, spec }]) => [
      key,
      JSON.stringify([metadata.annotations, spec]),
    ]),
  )
}

function sameTokens(before: ResolvedDocuments, after: ResolvedDocuments): boolean {
  const text = ({ requestAuthentications }: ResolvedDocuments): string =>
    JSON.stringify(requestAuthentications.map(document => [keyOfDocument(document), document.spec]))
  return text(before) === text(after)
}

function samePeers(before: ResolvedDocuments, after: ResolvedDocuments): boolean {
  const text = ({ peerAuthentications }: ResolvedDocuments): string =>
    JSON.stringify(
      peerAuthentications.map(({ metadata, spec }) => [
        metadata.namespace,
        metadata.name,
        metadata.creationTimestamp,
        spec.selector,
        spec.mtls,
        [...(spec.portLevelMtls ?? [])],
      ]),
    )
  return text(before) === text(after)
}
