/**
 * Which requests are judged otherwise under other policies: found by enumeration of what the policies can tell apart,
 * not by trying requests, and each decided again by the evaluator.
 */
import type { DiffOptions, PolicyChange, PolicyDiff, UndecidedPart } from './policy-diff.ts'
import { unjudgedChanges } from './unjudged.ts'
import { constraintWords } from './words.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
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
import { locationsOf } from '../jwt/locations.ts'
import { outputHeaders } from '../jwt/outputs.ts'
import { limits } from '../limits.ts'
import { compare, type Region } from '../symbolic/compare.ts'
import { Formulas } from '../symbolic/formula.ts'
import { type KnownRules, policyModel, type RuleLabel } from '../symbolic/policy-model.ts'
import { witnessOf, type WitnessOptions } from '../symbolic/witness.ts'
import { keysOfPolicy } from '../waypoint/attachment.ts'

const DIALECTS: readonly PolicyDialect[] = ['ztunnel', 'envoy-tcp', 'envoy-http']
const KINDS: readonly Enforcer['kind'][] = ['workload', 'waypoint', 'gateway']

/** Both sides with the same options: those of the mesh. */
export function diffPolicies(
  before: EvaluatorDocuments,
  after: EvaluatorDocuments,
  options: DiffOptions = {},
): PolicyDiff {
  const [left, right] = [resolveAt(before, options.at), resolveAt(after, options.at)]
  const changed = changedPolicies(left, right)
  const changes: PolicyChange[] = []
  const undecided: UndecidedPart[] = []
  for (const dialect of options.dialects ?? DIALECTS)
    for (const kind of options.enforcers ?? KINDS) {
      if (dialect === 'ztunnel' && kind !== 'workload') continue
      const part = diffAt(left, right, { ...options, dialect, kind, changed })
      changes.push(...part.changes)
      undecided.push(...part.undecided)
    }
  undecided.push(...unjudgedParts(left, right, options, changes.length === 0))
  const result = undecided.length > 0 ? 'undecided' : changes.length > 0 ? 'changed' : 'same'
  return { result, changes, undecided }
}

/** What nobody compared: `same` would be a lie. */
function unjudgedParts(
  before: ResolvedDocuments,
  after: ResolvedDocuments,
  { dialects = DIALECTS, enforcers = KINDS }: DiffOptions,
  nothingFound: boolean,
): readonly UndecidedPart[] {
  return unjudgedChanges(before, after).flatMap(one => {
    const dialect = one.dialects.find(each => dialects.includes(each))
    const asked = one.enforcer === 'workload' ? ['workload', 'gateway'] : ['waypoint', 'gateway']
    const enforcer = enforcers.find(kind => asked.includes(kind))
    if (dialect === undefined || enforcer === undefined || (one.known && !nothingFound)) return []
    return { dialect, enforcer, reason: one.reason }
  })
}

function resolveAt(documents: EvaluatorDocuments, at: number | undefined): ResolvedDocuments {
  if (at === undefined) return resolveDocuments(documents)
  const authorizationPolicies = withoutExpired(documents.authorizationPolicies, at)
  return resolveDocuments({ ...documents, authorizationPolicies })
}

type PartOptions = DiffOptions & {
  readonly dialect: PolicyDialect
  readonly kind: Enforcer['kind']
  readonly changed: readonly AuthorizationPolicy[]
}

/** One dialect at one kind of enforcer. */
function diffAt(
  before: ResolvedDocuments,
  after: ResolvedDocuments,
  options: PartOptions,
): Omit<PolicyDiff, 'result'> {
  const resolved = resolveOptions(options)
  const { kind, dialect } = options
  const formulas = new Formulas()
  const [left, right] = relevant(before, after, options, resolved)
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
  const edited = headersOfTokens([...left.requestAuthentications, ...right.requestAuthentications])
  const parts = found.regions.map(region => changeOf(region, place, { ...judges, edited }))
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
  judges: {
    readonly before: PolicyEvaluator
    readonly after: PolicyEvaluator
    readonly edited: ReadonlySet<string>
  },
): PolicyChange | UndecidedPart {
  const { dialect, kind } = place
  const witness = witnessOf(region.choices, place)
  const here = { dialect, enforcer: kind }
  if (witness === undefined) return { ...here, reason: 'a region without a witness' }
  const { request, enforcer } = witness
  const [before, after] = [judges.before.decide(request, enforcer), judges.after.decide(request, enforcer)]
  if (before.verdict !== region.before.outcome || after.verdict !== region.after.outcome) {
    const edited = Object.keys(request.http?.headers ?? {}).filter(name => judges.edited.has(name))
    const reason =
      edited.length > 0
        ? `rules ask for ${edited.join(', ')}, which a RequestAuthentication takes out or sets: with which tokens they match is not searched for`
        : `the search and the evaluator disagree over ${JSON.stringify({ request, enforcer })}`
    return { ...here, reason }
  }
  const constraint = constraintWords(region.choices)
  return { dialect, before: decider(before), after: decider(after), constraint, witness: request, enforcer }
}

/** What is no longer the client's when policies see it. */
function headersOfTokens(documents: ResolvedDocuments['requestAuthentications']): ReadonlySet<string> {
  const rules = documents.flatMap(({ spec }) => spec.jwtRules ?? [])
  const places = rules.flatMap(locationsOf).flatMap(place => (place.in === 'header' ? [place.name] : []))
  return new Set([...rules.flatMap(outputHeaders), ...places])
}

function decider({ verdict, action, policy, rule, reason }: PolicyVerdict): PolicyChange['before'] {
  return { verdict, action, policy, rule, reason }
}

/** Of unchanged policies only those that can be where a changed one is. */
function relevant(
  before: ResolvedDocuments,
  after: ResolvedDocuments,
  { kind, changed }: PartOptions,
  { rootNamespace }: ResolvedOptions,
): readonly [ResolvedDocuments, ResolvedDocuments] {
  if (!sameTokens(before, after) || !samePeers(before, after)) return [before, after]
  const near =
    kind === 'waypoint' ? nearAtWaypoint(changed, rootNamespace) : nearInNamespace(changed, rootNamespace)
  const narrow = (documents: ResolvedDocuments): ResolvedDocuments => ({
    ...documents,
    authorizationPolicies: new Map([...documents.authorizationPolicies].filter(([, policy]) => near(policy))),
  })
  return [narrow(before), narrow(after)]
}

type IsNear = (policy: AuthorizationPolicy) => boolean

/** Of the same namespace, or of all of them. */
function nearInNamespace(changed: readonly AuthorizationPolicy[], rootNamespace: string): IsNear {
  const namespaces = new Set(changed.map(({ metadata }) => metadata.namespace))
  if (namespaces.has(rootNamespace)) return () => true
  return ({ metadata }) => metadata.namespace === rootNamespace || namespaces.has(metadata.namespace)
}

/** For the same service, or for whole waypoints. */
function nearAtWaypoint(changed: readonly AuthorizationPolicy[], rootNamespace: string): IsNear {
  const keys = new Set(changed.flatMap(policy => keysOfPolicy(policy, rootNamespace)))
  if (keys.size === 0) return () => false
  const ofGateway = (key: string): boolean => key.startsWith('Gateway')
  if ([...keys].some(ofGateway)) return () => true
  return policy => keysOfPolicy(policy, rootNamespace).some(key => keys.has(key) || ofGateway(key))
}

/** As they were and as they are. */
function changedPolicies(
  before: ResolvedDocuments,
  after: ResolvedDocuments,
): readonly AuthorizationPolicy[] {
  const [left, right] = [textsOf(before), textsOf(after)]
  const differing = (
    { authorizationPolicies }: ResolvedDocuments,
    own: ReadonlyMap<string, string>,
    other: ReadonlyMap<string, string>,
  ): readonly AuthorizationPolicy[] =>
    [...authorizationPolicies].flatMap(([key, policy]) => (own.get(key) === other.get(key) ? [] : [policy]))
  return [...differing(before, left, right), ...differing(after, right, left)]
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
