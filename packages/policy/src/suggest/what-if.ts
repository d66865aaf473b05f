/** What policies would have done to traffic that was recorded, without enforcing anything. */
import { dialectOf } from './suggest-policies.ts'
import { createEvaluator } from '../evaluator/create-evaluator.ts'
import type { EvaluatorDocuments, EvaluatorOptions } from '../evaluator/policy-evaluator.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { PolicyDialect, PolicyVerdict } from '../evaluator/verdict.ts'

export interface WhatIfOptions extends Omit<EvaluatorOptions, 'dialect'> {
  /** Default: `envoy-http` for a request with `http`, `ztunnel` for the others. */
  readonly dialect?: PolicyDialect
}

export interface WhatIf {
  readonly recorded: number
  readonly allowed: number
  readonly denied: number
  /** By who denies, the most first. */
  readonly blocked: readonly BlockedTraffic[]
}

export interface BlockedTraffic
  extends Pick<PolicyVerdict, 'action' | 'policy' | 'rule' | 'reason' | 'dialect' | 'enforcer'> {
  readonly count: number
  /** The first of them; `enforcer` is who denies this one. */
  readonly example: PolicyRequest
}

/** Each recorded request counts, also when it was recorded before. */
export function whatIf(
  documents: EvaluatorDocuments,
  recorded: readonly PolicyRequest[],
  options: WhatIfOptions = {},
): WhatIf {
  const evaluators = new Map(
    (['ztunnel', 'envoy-tcp', 'envoy-http'] as const).map(dialect => [
      dialect,
      createEvaluator(documents, { ...options, dialect }),
    ]),
  )
  const blocked = new Map<string, BlockedTraffic>()
  let denied = 0
  for (const request of recorded) {
    const verdict = evaluators.get(options.dialect ?? dialectOf(request))?.decide(request)
    if (verdict === undefined || verdict.verdict === 'allow') continue
    denied++
    const { action, policy, rule, reason, dialect, enforcer } = verdict
    const key = JSON.stringify([action, policy, rule, dialect, policy === null ? reason : ''])
    const by = { action, policy, rule, reason, dialect, ...(enforcer === undefined ? {} : { enforcer }) }
    const first: BlockedTraffic = blocked.get(key) ?? { ...by, count: 0, example: request }
    blocked.set(key, { ...first, count: first.count + 1 })
  }
  const sorted = [...blocked.values()].sort((a, b) => b.count - a.count)
  return { recorded: recorded.length, allowed: recorded.length - denied, denied, blocked: sorted }
}
