/** Authorization at a waypoint: may this request, or this connection, be, and why. */
import type { Connection } from '@ambient/core'
import { AttachedPolicies, type WaypointPolicyOptions } from './attached-policies.ts'
import { nameOfTarget, type WaypointTarget } from './attachment.ts'
import type { WaypointDecision, WaypointDialect } from './decision.ts'
import { explainAttached, type WaypointExplanation } from './explain-request.ts'
import { type HttpRequestFacts, WaypointFacts } from './facts.ts'
import { judge } from './lanes.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'

/** Immutable: changed policies are a new object. Nothing here throws for what a request or a policy holds. */
export interface WaypointPolicies {
  /** Envoy's HTTP dialect. */
  decideRequest(target: WaypointTarget, request: HttpRequestFacts): WaypointDecision
  /** Envoy's TCP dialect, for connections that are not HTTP. */
  decideConnection(target: WaypointTarget, connection: Connection, sni?: string): WaypointDecision
  /** The decision of `decideRequest`, and why. Asks every rule of every attached policy. */
  explainRequest(target: WaypointTarget, request: HttpRequestFacts): WaypointExplanation
  /** The decision of `decideConnection`, and why. */
  explainConnection(target: WaypointTarget, connection: Connection, sni?: string): WaypointExplanation
}

export function createWaypointPolicies(
  policies: readonly AuthorizationPolicy[],
  options: WaypointPolicyOptions,
): WaypointPolicies {
  const set = new AttachedPolicies(policies, options)
  const explain = (
    target: WaypointTarget,
    dialect: WaypointDialect,
    facts: WaypointFacts,
  ): WaypointExplanation =>
    explainAttached(set.attachedTo(target, dialect), set.elsewhere(target), facts, {
      dialect,
      target: nameOfTarget(target),
    })
  return {
    decideRequest: (target, request) =>
      judge(set.lanes(target, 'envoy-http'), new WaypointFacts(request.connection, request)),
    decideConnection: (target, connection, sni) =>
      judge(set.lanes(target, 'envoy-tcp'), new WaypointFacts(connection, undefined, sni)),
    explainRequest: (target, request) =>
      explain(target, 'envoy-http', new WaypointFacts(request.connection, request)),
    explainConnection: (target, connection, sni) =>
      explain(target, 'envoy-tcp', new WaypointFacts(connection, undefined, sni)),
  }
}
