/** Requests, targets and policies of a waypoint in a few words. */
import type { Connection } from '@ambient/core'
import {
  type AuthorizationPolicy,
  type AuthorizationPolicySpec,
  createWaypointPolicies,
  type HttpRequestFacts,
  type PolicyRuleSpec,
  type WaypointDecision,
  type WaypointPolicies,
  type WaypointTarget,
} from '@ambient/policy'
import { connection, type ConnectionOf, document } from './fixtures.ts'

export const target: WaypointTarget = {
  gateway: { namespace: 'shop', name: 'waypoint', className: 'istio-waypoint' },
  service: { namespace: 'shop', name: 'web', hostname: 'web.shop.svc.cluster.local' },
}

export const toWeb = [{ group: '', kind: 'Service', name: 'web' }]

export interface RequestOf extends ConnectionOf {
  readonly method?: string
  readonly path?: string
  readonly authority?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly remoteAddress?: string
}

/** GET http://web/ from `cluster.local/ns/client/sa/alice` at 10.0.0.1 to 10.0.0.2:80. */
export function request(of: RequestOf = {}): HttpRequestFacts {
  return {
    connection: connection(of),
    method: of.method ?? 'GET',
    path: of.path ?? '/',
    authority: of.authority ?? 'web',
    header: name => [of.headers?.[name] ?? []].flat(),
    ...(of.remoteAddress === undefined ? {} : { remoteAddress: of.remoteAddress }),
  }
}

/** A policy for the service `shop/web`. */
export function forWeb(
  spec: AuthorizationPolicySpec,
  of: Partial<AuthorizationPolicy['metadata']> = {},
): AuthorizationPolicy {
  return document({ targetRefs: toWeb, ...spec }, of)
}

export function waypoint(
  policies: readonly AuthorizationPolicy[],
  options: Partial<Parameters<typeof createWaypointPolicies>[1]> = {},
): WaypointPolicies {
  return createWaypointPolicies(policies, {
    rootNamespace: 'istio-system',
    trustDomain: 'cluster.local',
    ...options,
  })
}

/** Whether one rule matches: the only rule of the only ALLOW. */
export function matches(rule: PolicyRuleSpec, to: HttpRequestFacts): boolean {
  return waypoint([forWeb({ rules: [rule] })]).decideRequest(target, to).allowed
}

/** The same over a connection without HTTP, with the action that is asked about. */
export function overTcp(
  rule: PolicyRuleSpec,
  action: 'ALLOW' | 'DENY',
  to: Connection = connection(),
): WaypointDecision {
  return waypoint([forWeb({ action, rules: [rule] })]).decideConnection(target, to)
}
