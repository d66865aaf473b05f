/** All documents at one kind of enforcer as one ordered list: the first entry that holds is the verdict. */
import {
  attachedAtEnvoy,
  attachedAtZtunnel,
  inNamespace,
  type PlaceContext,
  selectedFormula,
} from './attach-formula.ts'
import type { Entry } from './compare.ts'
import { type FieldContext, fieldFormula } from './field-formula.ts'
import type { Formula, Formulas } from './formula.ts'
import { l4RuleFormula } from './l4-formula.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import type { ResolvedDocuments, ResolvedOptions } from '../evaluator/policy-evaluator.ts'
import type { Enforcer } from '../evaluator/verdict.ts'
import { type CompiledWaypointRule, compileWaypointPolicy } from '../waypoint/compile-policy.ts'
import { trustDomainsOf } from '../waypoint/trust-domains.ts'
import { type Authorization, authorizationKey } from '../ztunnel/authorization.ts'
import { byAge } from '../ztunnel/convert-peer-authentications.ts'
import { istiodPeerAuthentications } from '../ztunnel/istiod-peer-authentications.ts'
import { selectsAll } from '../ztunnel/selector.ts'
import { toAuthorization } from '../ztunnel/to-authorization.ts'

/** Which rule an entry is; `null` for what no single rule decides. */
export interface RuleLabel {
  readonly policy: string | null
  readonly rule: number | null
}

export type PolicyEntry = Entry<RuleLabel>

interface Sides {
  readonly custom: PolicyEntry[]
  readonly deny: PolicyEntry[]
  readonly allow: PolicyEntry[]
  /** Where an ALLOW policy is attached, with rules or without. */
  readonly anyAllow: Formula[]
  /** Where CUSTOM policies are attached, by provider; dry runs too. */
  readonly providers: Map<string, Formula[]>
}

/** In the order in which a ztunnel asks. */
const SCOPES = { Namespace: 0, Global: 1, WorkloadSelector: 2 } as const

const nobody: RuleLabel = Object.freeze({ policy: null, rule: null })

/** Rules that were compiled, by their documents' text: two sides of a comparison share most of them. */
export type KnownRules = Map<string, readonly PolicyEntry[]>

export function policyModel(
  documents: ResolvedDocuments,
  kind: Enforcer['kind'],
  options: ResolvedOptions,
  formulas: Formulas,
  known: KnownRules = new Map(),
): readonly PolicyEntry[] {
  const sides: Sides = { custom: [], deny: [], allow: [], anyAllow: [], providers: new Map() }
  const context = { formulas, rootNamespace: options.rootNamespace }
  const policies = [...documents.authorizationPolicies.values()]
  if (options.dialect === 'ztunnel') {
    for (const policy of policies) addToZtunnel(sides, policy, context)
    addPeerAuthentications(sides, documents.peerAuthentications, context)
  } else {
    const field = fieldContext(documents, kind, options, context)
    for (const policy of policies) addToEnvoy(sides, policy, kind, options, { ...context, ...field, known })
  }
  const asked = options.custom === 'deny' ? formulas.always : severalProviders(sides, formulas)
  return [
    ...inOrder(sides.custom).map(entry => ({ ...entry, formula: formulas.and([asked, entry.formula]) })),
    ...inOrder(sides.deny),
    ...inOrder(sides.allow),
    { formula: formulas.or(sides.anyAllow), outcome: 'deny', label: nobody, name: '' },
    { formula: formulas.always, outcome: 'allow', label: nobody, name: '' },
  ]
}

/** Rules are asked in the order of their names: the first that matches is the one that decides. */
function inOrder(entries: readonly PolicyEntry[]): readonly PolicyEntry[] {
  return [...entries].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

/** What a rule of Envoy asks for, place apart. */
export function envoyRuleFormula(rule: CompiledWaypointRule, context: FieldContext): Formula {
  const { formulas } = context
  if (rule.skipped !== undefined) return formulas.never
  return formulas.and(
    rule.clauses.map(({ alternatives }) =>
      formulas.or(
        alternatives.map(tests =>
          formulas.and(
            tests.map(({ field, negated, values }) => fieldFormula(field, negated, values, context)),
          ),
        ),
      ),
    ),
  )
}

function addToEnvoy(
  sides: Sides,
  policy: AuthorizationPolicy,
  kind: Enforcer['kind'],
  { dialect }: ResolvedOptions,
  context: PlaceContext & Omit<FieldContext, 'namespace'> & { readonly known: KnownRules },
): void {
  if (dialect === 'ztunnel') return
  const { formulas, trustDomains, known } = context
  const attached = attachedAtEnvoy(policy, kind, context)
  const { metadata, spec } = policy
  const { action = 'ALLOW', provider } = spec
  if (provider !== undefined)
    sides.providers.set(provider.name, [...(sides.providers.get(provider.name) ?? []), attached])
  if (action === 'AUDIT' || parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true) return
  const allow = action === 'ALLOW'
  if (allow) sides.anyAllow.push(attached)
  const side = allow ? sides.allow : action === 'DENY' ? sides.deny : sides.custom
  const { namespace } = metadata
  side.push(
    ...remembered(policy, known, () => {
      const { key, rules } = compileWaypointPolicy(policy, dialect, trustDomains)
      return rules.map(rule => ({
        formula: formulas.and([attached, envoyRuleFormula(rule, { ...context, namespace })]),
        outcome: allow ? 'allow' : 'deny',
        label: { policy: key, rule: rule.by.rule },
        name: rule.id,
      }))
    }),
  )
}

/** Rules depend on the token's issuers only where they ask for tokens: whoever remembers keeps one list per side then. */
function remembered(
  { metadata, spec }: AuthorizationPolicy,
  known: KnownRules,
  make: () => readonly PolicyEntry[],
): readonly PolicyEntry[] {
  const key = JSON.stringify([metadata.namespace, metadata.name, spec])
  const before = known.get(key)
  if (before !== undefined) return before
  const made = make()
  known.set(key, made)
  return made
}

/** istiod refuses to choose between providers: then a CUSTOM rule that matches denies, whatever they would say. */
function severalProviders({ providers }: Sides, formulas: Formulas): Formula {
  const each = [...providers.values()].map(attached => formulas.or(attached))
  return formulas.or(each.map((first, index) => formulas.and([first, formulas.or(each.slice(index + 1))])))
}

function fieldContext(
  { requestAuthentications }: ResolvedDocuments,
  kind: Enforcer['kind'],
  { trustDomain, trustDomainAliases }: ResolvedOptions,
  context: PlaceContext,
): Omit<FieldContext, 'namespace'> {
  const { formulas } = context
  const accepted = requestAuthentications.map(document =>
    formulas.and([
      attachedAtEnvoy(document, kind, context),
      formulas.atom(
        'jwt.iss',
        'exact',
        (document.spec.jwtRules ?? []).map(({ issuer }) => issuer),
      ),
    ]),
  )
  return {
    formulas,
    trustDomains: trustDomainsOf(trustDomain, trustDomainAliases),
    tokenCounts: formulas.or(accepted),
  }
}

function addToZtunnel(sides: Sides, policy: AuthorizationPolicy, context: PlaceContext): void {
  const translation = toAuthorization(policy, context)
  if (translation.kind === 'not-sent' || translation.authorization.dryRun) return
  addAuthorization(sides, translation.authorization, attachedAtZtunnel(policy, context), context.formulas)
}

function addAuthorization(
  sides: Sides,
  authorization: Authorization,
  attached: Formula,
  formulas: Formulas,
): void {
  const allow = authorization.action === 'Allow'
  if (allow) sides.anyAllow.push(attached)
  for (const [rule, written] of authorization.rules.entries())
    (allow ? sides.allow : sides.deny).push({
      formula: formulas.and([attached, l4RuleFormula(written, formulas)]),
      outcome: allow ? 'allow' : 'deny',
      label: { policy: authorizationKey(authorization), rule },
      name: `${SCOPES[authorization.scope]} ${authorizationKey(authorization)} ${String(rule).padStart(9, '0')}`,
    })
}

/** Each converted policy where istiod lists it: of the selectors of a namespace the first one counts. */
function addPeerAuthentications(
  sides: Sides,
  documents: readonly PeerAuthentication[],
  { formulas, rootNamespace }: PlaceContext,
): void {
  const plan = istiodPeerAuthentications(documents, { rootNamespace })
  const where = new Map<string, Formula[]>()
  const list = (keys: readonly string[], formula: Formula): void => {
    for (const key of keys) where.set(key, [...(where.get(key) ?? []), formula])
  }
  const selecting = documents
    .filter(({ metadata, spec }) => !selectsAll(spec.selector) && metadata.namespace !== rootNamespace)
    .sort(byAge)
  const namespaces = [...new Set(documents.map(({ metadata }) => metadata.namespace))]
  for (const namespace of namespaces) {
    const here = inNamespace(namespace, formulas)
    const earlier: Formula[] = [here]
    for (const { metadata, spec } of selecting) {
      if (metadata.namespace !== namespace) continue
      const selected = selectedFormula(spec.selector, 'workload', formulas)
      const labels = spec.selector?.matchLabels ?? {}
      list(plan.keysFor({ namespace, labels }), formulas.and([...earlier, selected]))
      earlier.push(formulas.not(selected))
    }
    list(plan.keysFor({ namespace, labels: {} }), formulas.and(earlier))
  }
  const others = namespaces.map(namespace => formulas.not(inNamespace(namespace, formulas)))
  // No namespace can be called that.
  list(plan.keysFor({ namespace: '', labels: {} }), formulas.and(others))
  for (const authorization of plan.sent) {
    const attached = formulas.or(where.get(authorizationKey(authorization)) ?? [])
    addAuthorization(sides, authorization, attached, formulas)
  }
}
