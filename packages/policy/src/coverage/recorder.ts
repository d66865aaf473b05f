/** Counts what tests exercise while they run. */
import { createEvaluator } from '../evaluator/create-evaluator.ts'
import type { EvaluatorDocuments, EvaluatorOptions, PolicyEvaluator } from '../evaluator/policy-evaluator.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect, PolicyTrace, PolicyVerdict, RuleTrace } from '../evaluator/verdict.ts'
import { deciderOf } from '../test-file/decided-by.ts'
import { type AlternativeItem, type CoverageItem, coverageItems, coverageKey } from './items.ts'

/** How often each item was exercised, by its key. */
export type CoverageCounts = ReadonlyMap<string, number>

export interface CoverageRecorder {
  /** Everything there is to exercise, exercised or not. */
  readonly items: readonly CoverageItem[]
  /**
   * A test that passed asked this, and was answered this.
   * @returns the items that it exercised
   */
  record(
    request: PolicyRequest,
    enforcer: Enforcer | undefined,
    verdict: PolicyVerdict,
  ): readonly CoverageItem[]
  /**
   * What a test that failed says has decided, when there is no such rule: something to exercise that nothing can. So a rule
   * that is deleted is missed, though all that is left is covered.
   */
  missing(by: string, place: Pick<CoverageItem, 'file' | 'line' | 'column'>): readonly CoverageItem[]
}

/**
 * A rule is exercised by a test that it matches. A clause is exercised by a test that fails at it, so that somebody would
 * notice if it went. An alternative is exercised by a test that its rule matches through it.
 */
export function createCoverageRecorder(
  documents: EvaluatorDocuments,
  settings: Omit<EvaluatorOptions, 'dialect'>,
): CoverageRecorder {
  const policies = new Map(
    documents.authorizationPolicies.map(policy => [
      `${policy.metadata.namespace}/${policy.metadata.name}`,
      { policy, items: coverageItems(policy) },
    ]),
  )
  const probes = createProbes(documents, settings, [...policies.values()])
  return {
    items: [...policies.values()].flatMap(({ items }) => items),
    record(request, enforcer, verdict) {
      const exercised: CoverageItem[] = []
      for (const trace of verdict.trace) {
        const own = policies.get(trace.policy)?.items ?? []
        const rules = new Map(trace.rules.map(rule => [rule.rule, rule]))
        exercised.push(...own.filter(item => isExercised(item, rules.get(item.rule))))
        const open = own.filter(isAlternative).filter(item => rules.get(item.rule)?.matched)
        if (trace.applies && open.length > 0)
          exercised.push(...probes.matched(open, verdict.dialect, request, enforcer))
      }
      return exercised
    },
    missing(by, place) {
      const { policy, rule = 0 } = deciderOf(by) ?? {}
      if (policy === undefined || policies.get(policy)?.policy.spec.rules?.[rule] !== undefined) return []
      return [{ kind: 'rule', policy, rule, path: `rules[${rule}]`, ...place }]
    },
  }
}

/** Adds what was exercised. */
export function addCounts(counts: Map<string, number>, exercised: readonly CoverageItem[]): void {
  for (const item of exercised) {
    const key = coverageKey(item)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
}

function isExercised({ kind, path }: CoverageItem, rule: RuleTrace | undefined): boolean {
  if (rule === undefined || rule.skipped !== undefined) return false
  if (kind === 'rule') return rule.matched
  return kind === 'clause' && rule.failed !== undefined && path === `rules[${rule.rule}].${rule.failed.clause}`
}

function isAlternative(item: CoverageItem): item is AlternativeItem {
  return item.kind === 'alternative'
}

interface Probes {
  matched(
    items: readonly AlternativeItem[],
    dialect: PolicyDialect,
    request: PolicyRequest,
    enforcer: Enforcer | undefined,
  ): readonly AlternativeItem[]
}

/** A policy per alternative, with that alternative alone: asked only about requests that the whole rule matches. */
function createProbes(
  documents: EvaluatorDocuments,
  settings: Omit<EvaluatorOptions, 'dialect'>,
  policies: readonly {
    readonly policy: EvaluatorDocuments['authorizationPolicies'][number]
    readonly items: readonly CoverageItem[]
  }[],
): Probes {
  const evaluators = new Map<string, PolicyEvaluator>()
  const evaluatorOf = (dialect: PolicyDialect): PolicyEvaluator => {
    const known = evaluators.get(dialect)
    if (known !== undefined) return known
    const authorizationPolicies = policies.flatMap(({ policy, items }) =>
      items.filter(isAlternative).map(item => ({
        ...policy,
        metadata: { ...policy.metadata, name: probeName(item) },
        spec: { ...policy.spec, rules: [item.alone] },
      })),
    )
    const made = createEvaluator({ ...documents, authorizationPolicies, peerAuthentications: [] }, { ...settings, dialect })
    evaluators.set(dialect, made)
    return made
  }
  return {
    matched(items, dialect, request, enforcer) {
      const { trace } = evaluatorOf(dialect).decide(request, enforcer)
      const names = new Set(trace.filter(isMatched).map(({ policy }) => policy))
      return items.filter(item => names.has(`${item.policy.split('/', 1)[0]}/${probeName(item)}`))
    },
  }
}

function isMatched({ rules }: PolicyTrace): boolean {
  return rules.some(({ matched }) => matched)
}

/** No policy in a file has such a name. */
function probeName({ policy, path }: CoverageItem): string {
  return `${policy.split('/')[1]}~${path}`
}
