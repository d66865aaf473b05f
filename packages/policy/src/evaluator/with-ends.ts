/** Verdicts that say which of the policies end, and which have ended: a mesh of ours obeys, a real istiod does not. */
import { keyOfDocument, type PolicyEvaluator } from './policy-evaluator.ts'
import type { PolicyVerdict } from './verdict.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { EXPIRES, expiresAt, hasExpired } from '../documents/expiry.ts'

export function withEnds(
  evaluator: PolicyEvaluator,
  policies: readonly AuthorizationPolicy[],
  nowMs: number,
): PolicyEvaluator {
  const ending = new Map(
    policies.flatMap(policy => {
      const text = endText(policy, nowMs)
      return text === undefined ? [] : [[keyOfDocument(policy), text] as const]
    }),
  )
  if (ending.size === 0) return evaluator
  return {
    dialect: evaluator.dialect,
    decide(request, enforcer) {
      const verdict = evaluator.decide(request, enforcer)
      const ends = concerned(verdict).flatMap(key => ending.get(key) ?? [])
      return ends.length === 0 ? verdict : { ...verdict, reason: [verdict.reason, ...ends].join('; ') }
    },
  }
}

/** The policy that decided, or those that could have allowed it. */
function concerned({ policy, verdict, action, trace }: PolicyVerdict): readonly string[] {
  if (policy !== null) return [policy]
  if (verdict === 'allow' || action !== 'ALLOW') return []
  return trace.filter(one => one.applies && one.action === 'ALLOW').map(one => one.policy)
}

function endText(policy: AuthorizationPolicy, nowMs: number): string | undefined {
  const at = expiresAt(policy)
  if (at === undefined || (policy.spec.action ?? 'ALLOW') !== 'ALLOW') return undefined
  const when = Number.isFinite(at) ? new Date(at).toISOString() : `a time that cannot be read`
  const how = hasExpired(policy, nowMs) ? 'ended' : 'ends'
  return `${keyOfDocument(policy)} ${how} at ${when} (${EXPIRES}, which a real istiod does not look at)`
}
