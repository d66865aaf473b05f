/** What a waypoint's policies say of one request or connection. */
import type { PolicyRule } from '@ambient/core'

/** `envoy-http` judges requests, `envoy-tcp` connections whose bytes are not HTTP: fields of HTTP are dropped there. */
export type WaypointDialect = 'envoy-http' | 'envoy-tcp'

export interface WaypointDecision {
  readonly allowed: boolean
  /** `explicitly denied by: NS/NAME`, `allow policies exist, but none allowed`, … */
  readonly reason: string
  /**
   * Envoy's response code detail of a denial, `rbac_access_denied_matched_policy[ns[NS]-policy[NAME]-rule[I]]` or
   * `…[none]`; empty when allowed.
   */
  readonly detail: string
  /** The rule that decided; absent when none matched. */
  readonly by?: PolicyRule
  /** The ALLOW policies that were asked and did not match, `namespace/name`. */
  readonly considered: readonly string[]
  /** AUDIT policies that matched: they ask for a log line and change nothing. */
  readonly audited?: readonly string[]
  /** What dry-run policies would have done. */
  readonly dryRun?: readonly WaypointDryRun[]
}

/** As Envoy's shadow engine reports it, one per action that has dry-run policies. */
export interface WaypointDryRun {
  readonly action: 'ALLOW' | 'DENY' | 'CUSTOM'
  readonly result: 'allowed' | 'denied'
  /** The rule that matched; absent when none did. */
  readonly by?: PolicyRule
}

export const waypointReasons = Object.freeze({
  denied: (policy: string) => `explicitly denied by: ${policy}`,
  allowed: (policy: string) => `allowed by: ${policy}`,
  noneAllowed: 'allow policies exist, but none allowed',
  noAllowPolicies: 'no allow policies, allow',
  noProvider: (policy: string, provider: string) =>
    `CUSTOM policy ${policy} asks the provider ${provider}, which this proxy does not have: denied`,
  severalProviders: (policy: string, providers: readonly string[]) =>
    `CUSTOM policy ${policy} is one of several with different providers (${providers.join(', ')}), and only one may be asked for a target: denied`,
})

const nothing: readonly string[] = Object.freeze([])

/** Made once per rule and shared by every decision that it makes. */
export function allowedBy(by: PolicyRule): WaypointDecision {
  return Object.freeze({
    allowed: true,
    reason: waypointReasons.allowed(by.policy),
    detail: '',
    by,
    considered: nothing,
  })
}

export function deniedBy(by: PolicyRule, id: string, reason: string): WaypointDecision {
  return Object.freeze({ allowed: false, reason, detail: deniedDetail(id), by, considered: nothing })
}

export function noneAllowed(considered: readonly string[]): WaypointDecision {
  return Object.freeze({
    allowed: false,
    reason: waypointReasons.noneAllowed,
    detail: deniedDetail('none'),
    considered: Object.freeze(considered),
  })
}

export const allowedByDefault: WaypointDecision = Object.freeze({
  allowed: true,
  reason: waypointReasons.noAllowPolicies,
  detail: '',
  considered: nothing,
})

function deniedDetail(id: string): string {
  return `rbac_access_denied_matched_policy[${id.replaceAll(' ', '_')}]`
}
