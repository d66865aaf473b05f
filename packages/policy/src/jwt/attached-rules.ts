/** Which rules on tokens count for one target of a waypoint: those of every policy that attaches to it. */
import type { JwtRule, RequestAuthentication } from '../documents/request-authentication.ts'
import { keysOfPolicy, keysOfTarget, type WaypointTarget } from '../waypoint/attachment.ts'
import { jwtRulesOf } from './authenticator.ts'

/** In the order in which they are asked. Selectors and policies without `targetRefs` count nowhere at a waypoint. */
export function attachedJwtRules(
  policies: readonly RequestAuthentication[],
  target: WaypointTarget,
  { rootNamespace }: { readonly rootNamespace: string },
): readonly JwtRule[] {
  const keys = new Set(keysOfTarget(target))
  return jwtRulesOf(policies.filter(policy => keysOfPolicy(policy, rootNamespace).some(key => keys.has(key))))
}
