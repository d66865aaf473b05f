/** Policies by target: what concerns a target is compiled when it is first asked for, then kept. */
import { keysOfPolicy, keysOfTarget, type WaypointTarget, whyNotAttached } from './attachment.ts'
import { type CompiledWaypointPolicy, compileWaypointPolicy } from './compile-policy.ts'
import type { WaypointDialect } from './decision.ts'
import { TargetLanes } from './judge.ts'
import { WaypointLanes } from './lanes.ts'
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

const DIALECTS = ['envoy-http', 'envoy-tcp'] as const

/** One attached policy, and the reference that attached it. */
export interface Attached {
  readonly policy: CompiledWaypointPolicy
  readonly by: string
}

/** What the policies of one attachment come to, per dialect compiled when it is first asked for. */
interface Attachment {
  readonly documents: Set<AuthorizationPolicy>
  readonly lanes: Partial<Record<WaypointDialect, WaypointLanes>>
}

interface KnownTarget {
  /** Of the policies when this was derived. */
  version: number
  readonly keys: readonly string[]
  lanes: Partial<Record<WaypointDialect, TargetLanes>>
}

/** Changes cost what the changed policies hold, not what is attached. */
export class AttachedPolicies {
  readonly #options: WaypointPolicyOptions
  readonly #trustDomains: TrustDomains
  /** By `namespace/name`; of two with one name the later. */
  readonly #documents = new Map<string, AuthorizationPolicy>()
  /** By what they attach to. */
  readonly #attachments = new Map<string, Attachment>()
  readonly #compiled: Readonly<Record<WaypointDialect, Map<AuthorizationPolicy, CompiledWaypointPolicy>>> = {
    'envoy-http': new Map(),
    'envoy-tcp': new Map(),
  }
  readonly #targets = new WeakMap<WaypointTarget, KnownTarget>()
  #version = 0

  constructor(policies: readonly AuthorizationPolicy[], options: WaypointPolicyOptions) {
    this.#options = options
    this.#trustDomains = trustDomainsOf(options.trustDomain, options.trustDomainAliases)
    for (const policy of policies) this.put(policy)
  }

  put(policy: AuthorizationPolicy): void {
    const key = keyOf(policy)
    if (this.#documents.get(key) === policy) return
    this.remove(key)
    this.#version++
    this.#documents.set(key, policy)
    for (const by of this.#keysOf(policy)) {
      const attachment = this.#attachments.get(by) ?? { documents: new Set(), lanes: {} }
      this.#attachments.set(by, attachment)
      attachment.documents.add(policy)
      for (const dialect of DIALECTS) attachment.lanes[dialect]?.add(this.#compile(policy, dialect))
    }
  }

  /** @param key `namespace/name`; an unknown one is ignored. */
  remove(key: string): void {
    const policy = this.#documents.get(key)
    if (policy === undefined) return
    this.#version++
    this.#documents.delete(key)
    for (const by of this.#keysOf(policy)) {
      const attachment = this.#attachments.get(by)
      attachment?.documents.delete(policy)
      for (const dialect of DIALECTS) attachment?.lanes[dialect]?.remove(this.#compile(policy, dialect))
      if (attachment?.documents.size === 0) this.#attachments.delete(by)
    }
    for (const dialect of DIALECTS) this.#compiled[dialect].delete(policy)
  }

  /** From now on these and no others. Documents that were here before, the same objects, cost a lookup each. */
  replace(policies: readonly AuthorizationPolicy[]): void {
    const next = new Map(policies.map(policy => [keyOf(policy), policy]))
    for (const key of [...this.#documents.keys()]) if (!next.has(key)) this.remove(key)
    for (const policy of next.values()) this.put(policy)
  }

  lanes(target: WaypointTarget, dialect: WaypointDialect): TargetLanes {
    const known = this.#known(target)
    const before = known.lanes[dialect]
    if (before !== undefined) return before
    const lanes = new TargetLanes(known.keys.flatMap(key => this.#lanesOf(key, dialect) ?? []))
    known.lanes[dialect] = lanes
    return lanes
  }

  /** In order of keys. */
  attachedTo(target: WaypointTarget, dialect: WaypointDialect): readonly Attached[] {
    const found = new Map<string, Attached>()
    for (const by of keysOfTarget(target))
      for (const document of this.#attachments.get(by)?.documents ?? []) {
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

  #known(target: WaypointTarget): KnownTarget {
    const known = this.#targets.get(target)
    if (known === undefined) {
      const made = { version: this.#version, keys: keysOfTarget(target), lanes: {} }
      this.#targets.set(target, made)
      return made
    }
    if (known.version !== this.#version) {
      known.version = this.#version
      known.lanes = {}
    }
    return known
  }

  #lanesOf(key: string, dialect: WaypointDialect): WaypointLanes | undefined {
    const attachment = this.#attachments.get(key)
    if (attachment === undefined) return undefined
    attachment.lanes[dialect] ??= new WaypointLanes(
      [...attachment.documents].map(document => this.#compile(document, dialect)),
    )
    return attachment.lanes[dialect]
  }

  #keysOf(policy: AuthorizationPolicy): ReadonlySet<string> {
    return new Set(keysOfPolicy(policy, this.#options.rootNamespace))
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
