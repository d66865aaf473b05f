/** Authorization at a waypoint: policies by target, compiled when a target is first asked for, then kept. */
import type { Connection } from '@ambient/core'
import { keysOfPolicy, keysOfTarget, type WaypointTarget } from './attachment.ts'
import { type CompiledWaypointPolicy, compileWaypointPolicy } from './compile-policy.ts'
import type { WaypointDecision, WaypointDialect } from './decision.ts'
import { type HttpRequestFacts, WaypointFacts } from './facts.ts'
import { judge, lanesOf, type WaypointLanes } from './lanes.ts'
import { type TrustDomains, trustDomainsOf } from './trust-domains.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'

export interface WaypointPolicyOptions {
  /** Where a policy for every waypoint may be; `istio-system` in most meshes. */
  readonly rootNamespace: string
  /** The mesh's own. */
  readonly trustDomain: string
  /** Others that mean the same mesh. */
  readonly trustDomainAliases?: readonly string[]
}

/** Immutable: a changed policy is a new object. */
export interface WaypointPolicies {
  /** Envoy's HTTP dialect. Never throws. */
  decideRequest(target: WaypointTarget, request: HttpRequestFacts): WaypointDecision
  /** Envoy's TCP dialect, for connections that are not HTTP. Never throws. */
  decideConnection(target: WaypointTarget, connection: Connection, sni?: string): WaypointDecision
}

export function createWaypointPolicies(
  policies: readonly AuthorizationPolicy[],
  options: WaypointPolicyOptions,
): WaypointPolicies {
  const set = new AttachedPolicies(policies, options)
  return {
    decideRequest: (target, request) =>
      judge(set.lanes(target, 'envoy-http'), new WaypointFacts(request.connection, request)),
    decideConnection: (target, connection, sni) =>
      judge(set.lanes(target, 'envoy-tcp'), new WaypointFacts(connection, undefined, sni)),
  }
}

/** One attached policy, and the reference that attached it. */
export interface Attached {
  readonly policy: CompiledWaypointPolicy
  readonly by: string
}

type ByTarget = WeakMap<WaypointTarget, WaypointLanes>

export class AttachedPolicies {
  readonly #trustDomains: TrustDomains
  /** By what they attach to. */
  readonly #attached = new Map<string, AuthorizationPolicy[]>()
  readonly #compiled: Readonly<Record<WaypointDialect, Map<AuthorizationPolicy, CompiledWaypointPolicy>>> = {
    'envoy-http': new Map(),
    'envoy-tcp': new Map(),
  }
  readonly #lanes: Readonly<Record<WaypointDialect, ByTarget>> = {
    'envoy-http': new WeakMap(),
    'envoy-tcp': new WeakMap(),
  }

  constructor(policies: readonly AuthorizationPolicy[], options: WaypointPolicyOptions) {
    this.#trustDomains = trustDomainsOf(options.trustDomain, options.trustDomainAliases)
    for (const policy of policies)
      for (const key of new Set(keysOfPolicy(policy, options.rootNamespace))) {
        const others = this.#attached.get(key)
        if (others === undefined) this.#attached.set(key, [policy])
        else others.push(policy)
      }
  }

  lanes(target: WaypointTarget, dialect: WaypointDialect): WaypointLanes {
    const known = this.#lanes[dialect].get(target)
    if (known !== undefined) return known
    const lanes = lanesOf(this.attachedTo(target, dialect).map(({ policy }) => policy))
    this.#lanes[dialect].set(target, lanes)
    return lanes
  }

  /** In order of keys. */
  attachedTo(target: WaypointTarget, dialect: WaypointDialect): readonly Attached[] {
    const found = new Map<string, Attached>()
    for (const by of keysOfTarget(target))
      for (const document of this.#attached.get(by) ?? []) {
        const policy = this.#compile(document, dialect)
        if (!found.has(policy.key)) found.set(policy.key, { policy, by })
      }
    return [...found.values()].sort((a, b) => (a.policy.key < b.policy.key ? -1 : 1))
  }

  #compile(document: AuthorizationPolicy, dialect: WaypointDialect): CompiledWaypointPolicy {
    const known = this.#compiled[dialect].get(document)
    if (known !== undefined) return known
    const policy = compileWaypointPolicy(document, dialect, this.#trustDomains)
    this.#compiled[dialect].set(document, policy)
    return policy
  }
}
