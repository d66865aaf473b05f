/**
 * What single rules take, exactly: whether some request fulfils one, whether one takes everything that another takes,
 * and into which classes the values of policies part the requests.
 */
import { type Comparison, compare, type RegionChoice } from './compare.ts'
import { BudgetSpent, Budget } from './budget.ts'
import { type DimensionValue, dimensionClasses } from './dimension-classes.ts'
import type { FieldContext } from './field-formula.ts'
import { type Atom, type Formula, Formulas } from './formula.ts'
import { l4RuleFormula } from './l4-formula.ts'
import { envoyRuleFormula } from './policy-model.ts'
import { type Witness, witnessOf } from './witness.ts'
import type {
  AuthorizationAction,
  AuthorizationPolicy,
  PolicyRuleSpec,
} from '../documents/authorization-policy.ts'
import { defaults } from '../defaults.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { PolicyDialect } from '../evaluator/verdict.ts'
import { limits } from '../limits.ts'
import { compileWaypointPolicy } from '../waypoint/compile-policy.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'
import { trustDomainsOf } from '../waypoint/trust-domains.ts'
import { toAuthorization } from '../ztunnel/to-authorization.ts'

export interface RuleSetOptions {
  readonly dialect: PolicyDialect
  /** Of the policy: what a service account without namespace means. `default` when absent. */
  readonly namespace?: string
  /** What the rule is part of: dialects leave out fields of a DENY, and whole rules of an ALLOW. Default: ALLOW. */
  readonly action?: AuthorizationAction
  readonly trustDomain?: string
  readonly trustDomainAliases?: readonly string[]
  readonly pathNormalization?: PathNormalization
  /** Past this the answer is `undecided`. */
  readonly maxSteps?: number
  /** Told how many steps the answer took. */
  readonly onSteps?: (steps: number) => void
}

export type Satisfiability =
  | { readonly kind: 'satisfiable'; readonly witness: PolicyRequest }
  /** No request at all. `dimensions` contradict by themselves; none when it takes several of them together. */
  | { readonly kind: 'empty'; readonly dimensions: readonly string[] }
  | { readonly kind: 'undecided'; readonly steps: number }

export type Implication =
  | { readonly kind: 'implied' }
  /** A request that the first takes and the second does not. */
  | { readonly kind: 'not-implied'; readonly witness: PolicyRequest }
  | { readonly kind: 'undecided'; readonly steps: number }

export interface ValueClass {
  readonly value: DimensionValue
  /** The groups of values of the policies that take it. */
  readonly takenBy: readonly { readonly form: string; readonly values: readonly string[] }[]
}

export type DimensionClasses =
  | { readonly kind: 'classes'; readonly dimension: string; readonly classes: readonly ValueClass[] }
  | { readonly kind: 'undecided'; readonly dimension: string; readonly steps: number }

/** Whether some request fulfils the rule, as this dialect reads it; tokens count, whoever issued them. */
export function isSatisfiable(rule: PolicyRuleSpec, options: RuleSetOptions): Satisfiability {
  // Contradictions are left standing, so that one can say where they are.
  const formulas = new Formulas(false)
  const formula = ruleFormula(rule, options, formulas)
  const found = search(formula, options, formulas)
  if (found.kind !== 'none')
    return found.kind === 'found' ? { kind: 'satisfiable', witness: found.witness.request } : found
  const dimensions = new Set(formula.atoms.map(({ dimension }) => dimension))
  let left = options.maxSteps ?? limits.maxDiffSteps
  const onSteps = (steps: number): void => {
    left -= steps
    options.onSteps?.(steps)
  }
  const guilty = [...dimensions].filter(dimension => {
    if (left <= 0) return false
    const alone = relax(formula, dimension, false, formulas)
    return search(alone, { ...options, maxSteps: left, onSteps }, formulas).kind === 'none'
  })
  return { kind: 'empty', dimensions: guilty.sort() }
}

/** Whether each request that fulfils the first rule fulfils the second one too. */
export function implies(
  first: PolicyRuleSpec,
  second: PolicyRuleSpec,
  options: RuleSetOptions & {
    /** Of the second rule's policy, where it is another one. */
    readonly second?: Pick<RuleSetOptions, 'namespace' | 'action'>
  },
): Implication {
  const formulas = new Formulas()
  const other = formulas.not(ruleFormula(second, { ...options, ...options.second }, formulas))
  const found = search(formulas.and([ruleFormula(first, options, formulas), other]), options, formulas)
  if (found.kind === 'found') return { kind: 'not-implied', witness: found.witness.request }
  return found.kind === 'none' ? { kind: 'implied' } : found
}

/** Per dimension the classes into which the policies' values part it: values of one class are the same to all of them. */
export function classesOf(
  policies: readonly AuthorizationPolicy[],
  options: Omit<RuleSetOptions, 'namespace' | 'action'>,
): readonly DimensionClasses[] {
  const formulas = new Formulas()
  const atoms = new Set<Atom>()
  for (const { metadata, spec } of policies)
    for (const rule of spec.rules ?? []) {
      const { namespace } = metadata
      const formula = ruleFormula(rule, { ...options, namespace, action: spec.action ?? 'ALLOW' }, formulas)
      for (const atom of formula.atoms) atoms.add(atom)
    }
  const dimensions = [...new Set([...atoms].map(({ dimension }) => dimension))].sort()
  return dimensions.map(dimension => classesIn(dimension, [...atoms], options))
}

function classesIn(dimension: string, all: readonly Atom[], options: RuleSetOptions): DimensionClasses {
  const focus = all.filter(atom => atom.dimension === dimension)
  const budget = new Budget(options.maxSteps ?? limits.maxDiffSteps)
  const { pathNormalization = defaults.pathNormalization } = options
  try {
    const found = dimensionClasses({
      dimension,
      focus,
      keep: () => true,
      others: [],
      pathNormalization,
      budget,
    })
    const classes = found.map(({ value, holds }) => ({
      value,
      takenBy: focus.filter(({ id }) => holds.has(id)).map(({ form, values }) => ({ form, values })),
    }))
    return { kind: 'classes', dimension, classes }
  } catch (error) {
    if (error instanceof BudgetSpent) return { kind: 'undecided', dimension, steps: budget.spent }
    throw error
  }
}

type Found =
  | { readonly kind: 'found'; readonly witness: Witness }
  | { readonly kind: 'none' }
  | { readonly kind: 'undecided'; readonly steps: number }

function search(formula: Formula, options: RuleSetOptions, formulas: Formulas): Found {
  const { pathNormalization = defaults.pathNormalization, maxSteps = limits.maxDiffSteps, dialect } = options
  const place = { kind: 'workload' as const, dialect, pathNormalization }
  const never = { formula: formulas.always, outcome: 'no', label: undefined, name: '' }
  const result: Comparison<undefined> = compare(
    [{ formula, outcome: 'yes', label: undefined, name: '' }, never],
    [never],
    {
      formulas,
      pathNormalization,
      maxSteps,
      maxRegions: 1,
      possible: (choices: readonly RegionChoice[]) => witnessOf(choices, place) !== undefined,
    },
  )
  options.onSteps?.(result.steps)
  const [region] = result.regions
  const witness = region && witnessOf(region.choices, place)
  if (witness !== undefined) return { kind: 'found', witness }
  return result.complete ? { kind: 'none' } : { kind: 'undecided', steps: result.steps }
}

function ruleFormula(rule: PolicyRuleSpec, options: RuleSetOptions, formulas: Formulas): Formula {
  const { dialect, namespace = 'default', action = 'ALLOW' } = options
  const metadata = { name: 'rule', namespace, labels: {}, annotations: {} }
  const provider = action === 'CUSTOM' ? { provider: { name: 'provider' } } : {}
  const policy: AuthorizationPolicy = {
    kind: 'AuthorizationPolicy',
    metadata,
    spec: { action, rules: [rule], ...provider },
  }
  if (dialect === 'ztunnel') {
    const translation = toAuthorization(policy, { rootNamespace: defaults.rootNamespace })
    const sent = translation.kind === 'sent' ? translation.authorization.rules[0] : undefined
    return sent === undefined ? formulas.never : l4RuleFormula(sent, formulas)
  }
  const trustDomains = trustDomainsOf(options.trustDomain ?? defaults.trustDomain, options.trustDomainAliases)
  const tokenCounts = formulas.atom('jwt.iss', 'not-empty', ['*'])
  const context: FieldContext = { formulas, namespace, trustDomains, tokenCounts }
  const [compiled] = compileWaypointPolicy(policy, dialect, trustDomains).rules
  return compiled === undefined ? formulas.never : envoyRuleFormula(compiled, context)
}

/** What one dimension alone asks for: everything else is taken for granted. */
function relax(formula: Formula, dimension: string, negated: boolean, formulas: Formulas): Formula {
  switch (formula.kind) {
    case 'constant':
      return negated ? formulas.not(formula) : formula
    case 'atom':
      if (formula.atom.dimension !== dimension) return formulas.always
      return negated ? formulas.not(formula) : formula
    case 'not':
      return relax(formula.part, dimension, !negated, formulas)
    default: {
      const parts = formula.parts.map(part => relax(part, dimension, negated, formulas))
      return (formula.kind === 'and') === negated ? formulas.or(parts) : formulas.and(parts)
    }
  }
}
