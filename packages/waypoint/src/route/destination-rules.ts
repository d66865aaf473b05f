/** Which DestinationRule says something of a service: the client's namespace first, then the service's, then the root. */
import type { NamespacedHostname } from '@ambient/core'
import type { DestinationRuleResource, Subset, TrafficPolicyGroups } from '@ambient/discovery'
import { hostNames } from './hosts.ts'

/** Istio's default `rootNamespace`. */
const ROOT_NAMESPACE = 'istio-system'

export interface RuleQuestion {
  readonly destinationRules: readonly DestinationRuleResource[]
  readonly service: NamespacedHostname
  /** The waypoint is the client. */
  readonly gatewayNamespace: string
}

/** Of several rules with one host the first one's policy counts, and the subsets of all of them. */
export interface ServiceRules {
  readonly rules: readonly DestinationRuleResource[]
}

export function rulesFor({ destinationRules, service, gatewayNamespace }: RuleQuestion): ServiceRules {
  for (const namespace of new Set([gatewayNamespace, service.namespace, ROOT_NAMESPACE])) {
    const rules = destinationRules.filter(
      rule => rule.metadata.namespace === namespace && hostNames(rule.spec.host, namespace, service.hostname),
    )
    if (rules.length > 0) return { rules: mostSpecific(rules) }
  }
  return { rules: [] }
}

export function findSubset({ rules }: ServiceRules, name: string): Subset | undefined {
  for (const { spec } of rules) {
    const found = spec.subsets.find(subset => subset.name === name)
    if (found !== undefined) return found
  }
  return undefined
}

/** The groups that hold for a port: those of the subset laid over the rule's own. */
export function policyFor(
  found: ServiceRules,
  subset: Subset | undefined,
  port: number,
): TrafficPolicyGroups {
  const base = found.rules.find(({ spec }) => spec.trafficPolicy !== undefined)?.spec.trafficPolicy
  return { ...groupsOf(base, port), ...groupsOf(subset?.trafficPolicy, port) }
}

/** Settings of the port replace the general ones, groups that they leave out included. */
function groupsOf(
  policy: DestinationRuleResource['spec']['trafficPolicy'],
  port: number,
): TrafficPolicyGroups {
  const groups = policy?.portLevelSettings.find(settings => settings.port === port) ?? policy
  return {
    ...(groups?.loadBalancer !== undefined && { loadBalancer: groups.loadBalancer }),
    ...(groups?.connectionPool !== undefined && { connectionPool: groups.connectionPool }),
  }
}

/** A host in full before any wildcard, a longer wildcard before a shorter one. */
function mostSpecific(rules: readonly DestinationRuleResource[]): readonly DestinationRuleResource[] {
  const rank = ({ spec }: DestinationRuleResource): number =>
    spec.host.startsWith('*') ? spec.host.length : Number.MAX_SAFE_INTEGER
  const best = Math.max(...rules.map(rank))
  return inOrder(rules.filter(rule => rank(rule) === best))
}

/** Istio's order of configuration: the oldest first, then by name, then by namespace. */
export function inOrder<R extends { readonly metadata: DestinationRuleResource['metadata'] }>(
  resources: readonly R[],
): readonly R[] {
  return [...resources].sort(
    ({ metadata: a }, { metadata: b }) =>
      (a.creationTimestamp ?? 0) - (b.creationTimestamp ?? 0) ||
      compareText(a.name, b.name) ||
      compareText(a.namespace, b.namespace),
  )
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
