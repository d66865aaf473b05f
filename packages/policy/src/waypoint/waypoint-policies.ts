/** Authorization at a waypoint: may this request, or this connection, be, and why. */
import type { Connection } from '@ambient/core'
import { AttachedPolicies, type WaypointPolicyOptions } from './attached-policies.ts'
import { nameOfTarget, type WaypointTarget } from './attachment.ts'
import type { WaypointDecision, WaypointDialect } from './decision.ts'
import { explainAttached, type WaypointExplanation } from './explain-request.ts'
import { type HttpRequestFacts, WaypointFacts } from './facts.ts'
import { judge, matchCustom, type WaypointLanes } from './lanes.ts'
import type { CustomMatches } from '../custom/requirement.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'

/** Immutable: changed policies are a new object. Nothing here throws for what a request or a policy holds. */
export interface WaypointPolicies {
  /**
   * Which CUSTOM rules match: their providers are asked before the request is judged. `undefined`, without looking at
   * the request, where no CUSTOM policy is attached.
   */
  customOfRequest(target: WaypointTarget, request: HttpRequestFacts): CustomMatches | undefined
  customOfConnection(target: WaypointTarget, connection: Connection, sni?: string): CustomMatches | undefined
  /**
   * Envoy's HTTP dialect.
   * @param custom `passed`: every provider of {@link customOfRequest} allows it. Otherwise a CUSTOM match is a denial.
   */
  decideRequest(
    target: WaypointTarget,
    request: HttpRequestFacts,
    custom?: 'deny' | 'passed',
  ): WaypointDecision
  /** Envoy's TCP dialect, for connections that are not HTTP. */
  decideConnection(
    target: WaypointTarget,
    connection: Connection,
    options?: { readonly sni?: string; readonly custom?: 'deny' | 'passed' },
  ): WaypointDecision
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
    customOfRequest(target, request) {
      const lanes = set.lanes(target, 'envoy-http')
      if (lanes.customBy.length === 0) return undefined
      return customMatches(lanes, new WaypointFacts(request.connection, request))
    },
    customOfConnection(target, connection, sni) {
      const lanes = set.lanes(target, 'envoy-tcp')
      if (lanes.customBy.length === 0) return undefined
      return customMatches(lanes, new WaypointFacts(connection, undefined, sni))
    },
    decideRequest: (target, request, custom) =>
      judge(set.lanes(target, 'envoy-http'), new WaypointFacts(request.connection, request), custom),
    decideConnection: (target, connection, { sni, custom } = {}) =>
      judge(set.lanes(target, 'envoy-tcp'), new WaypointFacts(connection, undefined, sni), custom),
    explainRequest: (target, request) =>
      explain(target, 'envoy-http', new WaypointFacts(request.connection, request)),
    explainConnection: (target, connection, sni) =>
      explain(target, 'envoy-tcp', new WaypointFacts(connection, undefined, sni)),
  }
}

function customMatches(lanes: WaypointLanes, facts: WaypointFacts): CustomMatches {
  return {
    providers: lanes.customBy.map(({ provider }) => provider),
    matches: matchCustom(lanes, facts).map(({ provider = '', by, id, verdict }) => ({
      provider,
      by,
      id,
      denial: verdict,
    })),
  }
}
