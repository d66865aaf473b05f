/** Authorization at a waypoint: may this request, or this connection, be, and why. */
import type { Connection } from '@ambient/core'
import { AttachedPolicies, type WaypointPolicyOptions } from './attached-policies.ts'
import { nameOfTarget, type WaypointTarget } from './attachment.ts'
import type { WaypointDecision, WaypointDialect } from './decision.ts'
import { explainAttached, type WaypointExplanation } from './explain-request.ts'
import { type HttpRequestFacts, WaypointFacts } from './facts.ts'
import { judge, matchCustom, type TargetLanes } from './judge.ts'
import type { CustomMatches } from '../custom/requirement.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'

/** The policies of every waypoint that asks. Nothing here throws for what a request or a policy holds. */
export interface WaypointPolicies {
  /**
   * From now on these policies and no others. What was there before, the same objects, is not compiled again: one that
   * is new among 10,000 costs less than a millisecond.
   */
  replace(policies: readonly AuthorizationPolicy[]): void
  /** One change: cheaper than `replace` where it is known. Removed ones by `namespace/name`. */
  apply(update: { readonly upsert: readonly AuthorizationPolicy[]; readonly remove: readonly string[] }): void
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
  const facts = new SpareFacts()
  return {
    replace: all => set.replace(all),
    apply({ upsert, remove }) {
      for (const key of remove) set.remove(key)
      for (const policy of upsert) set.put(policy)
    },
    customOfRequest(target, request) {
      const lanes = set.lanes(target, 'envoy-http')
      if (lanes.providers.length === 0) return undefined
      return customMatches(lanes, new WaypointFacts(request.connection, request))
    },
    customOfConnection(target, connection, sni) {
      const lanes = set.lanes(target, 'envoy-tcp')
      if (lanes.providers.length === 0) return undefined
      return customMatches(lanes, new WaypointFacts(connection, undefined, sni))
    },
    decideRequest(target, request, custom) {
      const taken = facts.take(request.connection, request)
      const decision = judge(set.lanes(target, 'envoy-http'), taken, custom)
      facts.giveBack(taken)
      return decision
    },
    decideConnection(target, connection, { sni, custom } = {}) {
      const taken = facts.take(connection, undefined, sni)
      const decision = judge(set.lanes(target, 'envoy-tcp'), taken, custom)
      facts.giveBack(taken)
      return decision
    },
    explainRequest: (target, request) =>
      explain(target, 'envoy-http', new WaypointFacts(request.connection, request)),
    explainConnection: (target, connection, sni) =>
      explain(target, 'envoy-tcp', new WaypointFacts(connection, undefined, sni)),
  }
}

/** Facts that are filled again for each decision; not while one is under way, whatever a header's reader does. */
class SpareFacts {
  #spare: WaypointFacts | undefined

  take(connection: Connection, request?: HttpRequestFacts, sni?: string): WaypointFacts {
    const facts = this.#spare?.read(connection, request, sni) ?? new WaypointFacts(connection, request, sni)
    this.#spare = undefined
    return facts
  }

  giveBack(facts: WaypointFacts): void {
    facts.request = undefined
    this.#spare = facts
  }
}

function customMatches(lanes: TargetLanes, facts: WaypointFacts): CustomMatches {
  return {
    providers: lanes.providers,
    matches: matchCustom(lanes, facts).map(({ provider = '', by, id, verdict }) => ({
      provider,
      by,
      id,
      denial: verdict,
    })),
  }
}
