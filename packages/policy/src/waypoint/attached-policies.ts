/** Policies by target: what concerns a target is compiled when it is first asked for, then kept. */
import { keysOfPolicy, keysOfTarget, type WaypointTarget, whyNotAttached } from './attachment.ts'
import { type CompiledWaypointPolicy, compileWaypointPolicy } from './compile-policy.ts'
import type { WaypointDialect } from './decision.ts'
import { lanesOf, type WaypointLanes } from './lanes.ts'
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

/** One attached policy, and the reference that attached it. */
export interface Attached {
  readonly policy: CompiledWaypointPolicy
  readonly by: string
}

type ByTarget = WeakMap<WaypointTarget, WaypointLanes>

export class AttachedPolicies {
  readonly #options: WaypointPolicyOptions
  readonly #trustDomains: TrustDomains
  /** By `namespace/name`; of two with one name the later. */
  readonly #documents: ReadonlyMap<string, AuthorizationPolicy>
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
    this.#options = options
    this.#documents = new Map(policies.map(policy => [keyOf(policy), policy]))
    this.#trustDomains = trustDomainsOf(options.trustDomain, options.trustDomainAliases)
    for (const policy of this.#documents.values())
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

  /** Policies of the namespaces in which one looks for this target's, and why they do not concern it. */
  elsewhere(target: WaypointTarget): readonly { readonly policy: string; readonly reason: string }[] {
    const { rootNamespace } = this.#options
    return [...this.#documents.keys()].sort().flatMap(policy => {
      const document = this.#documents.get(policy)
      const reason = document && whyNotAttached(document, target, rootNamespace)
      return reason === undefined ? [] : [{ policy, reason }]
    })
  }

  #compile(document: AuthorizationPolicy, dialect: WaypointDialect): CompiledWaypointPolicy {
    const known = this.#compiled[dialect].get(document)
    if (known !== undefined) return known
    const policy = compileWaypointPolicy(document, dialect, this.#trustDomains)
    this.#compiled[dialect].set(document, policy)
    return policy
  }
}

function keyOf({ metadata }: AuthorizationPolicy): string {
  return `${metadata.namespace}/${metadata.name}`
}
