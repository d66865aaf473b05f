/** Policies with an end date: those that have ended, those that will, those that cannot. */
import type { LintContext } from './finding.ts'
import { EXPIRES, expiresAt, hasExpired } from '../documents/expiry.ts'

export function checkExpiry(context: LintContext): void {
  const { nowMs } = context.settings
  for (const policy of context.documents.authorizationPolicies) {
    const at = expiresAt(policy)
    if (at === undefined) continue
    const place = `metadata.annotations["${EXPIRES}"]`
    const written = policy.metadata.annotations[EXPIRES] ?? ''
    const { action = 'ALLOW' } = policy.spec
    if (action !== 'ALLOW')
      context.report('expiry-without-effect', policy, place, `a policy with action ${action} does not end`)
    else if (hasExpired(policy, nowMs))
      context.report(
        'expired',
        policy,
        place,
        `ended at ${written}: it allows nothing any more here, and still does at istiod's`,
      )
    else context.report('temporary', policy, place, `allows nothing any more from ${written} on`)
  }
}
