/**
 * Policies by who they apply to: everybody, a namespace, or the workloads that name them. A change costs what the
 * changed policy holds, not what the set holds.
 */
import type { Workload } from '@ambient/core'
import { Bucket, type Lane, laneKey, none } from './bucket.ts'
import { type CompiledPolicy, type CompiledRule, compile } from './compile.ts'
import { Facts } from './facts.ts'
import { inLane, NamedPolicies } from './named-policies.ts'
import type { Authorization } from '../ztunnel/authorization.ts'

/** Policies and the question which of them apply. Make one with `createPolicySet` or take a store's. */
export interface PolicySet {
  readonly size: number
  get(key: string): Authorization | undefined
  /** By key. */
  list(): readonly Authorization[]
}

export function createPolicySet(authorizations: readonly Authorization[] = []): PolicySet {
  return indexPolicies(authorizations)
}

/** A set with its index: itself when it is one of ours. */
export function indexPolicies(policies: PolicySet | readonly Authorization[]): IndexedPolicies {
  if (policies instanceof IndexedPolicies) return policies
  const set = new IndexedPolicies()
  set.putAll('list' in policies ? policies.list() : policies)
  return set
}

export class IndexedPolicies implements PolicySet {
  readonly #policies = new Map<string, CompiledPolicy>()
  readonly #namespaces = new Map<string, Bucket>()
  #global = new Bucket()
  /** Policies that apply to less than everybody. */
  #narrow = 0
  /** Of the policies that select workloads, once a workload names many. */
  #selecting: Bucket | undefined
  /** Changes so far: what was derived before another number is stale. */
  #version = 0
  readonly #named = new WeakMap<readonly string[], { version: number; policies: NamedPolicies }>()
  readonly #merged = new WeakMap<Workload, { version: number; lane: Lane; keys: readonly string[] }>()
  /** For one decision at a time; whoever decides takes it. */
  #facts: Facts | undefined

  get size(): number {
    return this.#policies.size
  }

  /** Whether some policy applies to less than everybody, so that one has to know the workload. */
  get needsWorkload(): boolean {
    return this.#narrow > 0
  }

  get(key: string): Authorization | undefined {
    return this.#policies.get(key)?.authorization
  }

  list(): readonly Authorization[] {
    return [...this.#policies.keys()].sort().flatMap(key => this.get(key) ?? [])
  }

  putAll(authorizations: readonly Authorization[]): void {
    // In order of keys each index only grows at its end.
    const sorted = authorizations.map(compile).sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    for (const policy of sorted) this.#put(policy)
  }

  remove(key: string): void {
    const policy = this.#policies.get(key)
    if (policy === undefined) return
    this.#version++
    this.#policies.delete(key)
    const { scope, namespace } = policy.authorization
    if (scope === 'Global') this.#global.remove(policy)
    else this.#narrow--
    if (scope === 'WorkloadSelector') this.#selecting?.remove(policy)
    if (scope === 'Namespace' && this.#namespaces.get(namespace)?.remove(policy) === true)
      this.#namespaces.delete(namespace)
  }

  clear(): void {
    this.#policies.clear()
    this.#namespaces.clear()
    this.#global = new Bucket()
    this.#selecting = undefined
    this.#narrow = 0
    this.#version++
  }

  /** Facts to be filled; give them back when the decision is made. */
  takeFacts(): Facts {
    const facts = this.#facts ?? new Facts()
    this.#facts = undefined
    return facts
  }

  giveBack(facts: Facts): void {
    this.#facts = facts
  }

  /** The first rule of a lane that matches: namespace policies, global ones, then those that the workload names. */
  find(lane: Lane, workload: Workload | undefined, facts: Facts): CompiledRule | undefined {
    const key = laneKey(lane)
    const inNamespace = workload && this.#namespaces.get(workload.namespace)?.find(key, facts)
    return inNamespace ?? this.#global.find(key, facts) ?? this.#findNamed(lane, workload, facts)
  }

  /** Whether a lane has policies for this workload, matching or not. */
  has(lane: Lane, workload: Workload | undefined): boolean {
    const key = laneKey(lane)
    if (this.#global.has(key)) return true
    if (workload === undefined) return false
    if (this.#namespaces.get(workload.namespace)?.has(key) === true) return true
    return this.#namedBy(workload)?.has(key) === true
  }

  /** Keys of a lane's policies for this workload, in the order they are asked. */
  keys(lane: Lane, workload: Workload | undefined): readonly string[] {
    const key = laneKey(lane)
    const inNamespace = (workload && this.#namespaces.get(workload.namespace)?.keys(key)) ?? none
    const everywhere = this.#global.keys(key)
    const isNamed = this.#namedBy(workload)?.has(key) === true
    // Thousands of policies are one group as a rule: their list is shared, not copied.
    if (everywhere.length === 0 && !isNamed) return inNamespace
    if (workload === undefined || (inNamespace.length === 0 && !isNamed)) return everywhere
    const known = this.#merged.get(workload)
    if (known !== undefined && known.version === this.#version && known.lane === lane) return known.keys
    const named = this.#namedKeys(workload).filter(name => inLane(this.get(name), lane))
    const keys = Object.freeze([...inNamespace, ...everywhere, ...named])
    this.#merged.set(workload, { version: this.#version, lane, keys })
    return keys
  }

  /** Keys of every policy that applies to this workload, in the order they are asked. */
  applicable(workload: Workload | undefined): readonly string[] {
    const inNamespace = (workload && this.#namespaces.get(workload.namespace)?.allKeys()) ?? none
    return [...inNamespace, ...this.#global.allKeys(), ...this.#namedKeys(workload)]
  }

  /** The first policy that the workload names and that is not here. */
  firstUnknown(workload: Workload | undefined): string | undefined {
    return this.#namedBy(workload)?.unknown
  }

  #put(policy: CompiledPolicy): void {
    this.remove(policy.key)
    this.#version++
    this.#policies.set(policy.key, policy)
    const { scope, namespace } = policy.authorization
    if (scope === 'Global') this.#global.add(policy)
    else this.#narrow++
    if (scope === 'WorkloadSelector') this.#selecting?.add(policy)
    if (scope !== 'Namespace') return
    const bucket = this.#namespaces.get(namespace) ?? new Bucket()
    bucket.add(policy)
    this.#namespaces.set(namespace, bucket)
  }

  #namedBy(workload: Workload | undefined): NamedPolicies | undefined {
    const names = workload?.authorizationPolicies
    if (names === undefined || names.length === 0) return undefined
    const known = this.#named.get(names)
    if (known?.version === this.#version) return known.policies
    const policies = new NamedPolicies(names, key => this.#policies.get(key))
    this.#named.set(names, { version: this.#version, policies })
    return policies
  }

  /** What the workload names and does not have anyway. */
  #namedKeys(workload: Workload | undefined): readonly string[] {
    const named = this.#namedBy(workload)?.policies ?? []
    return named.flatMap(({ key, authorization: { scope, namespace } }) =>
      scope === 'WorkloadSelector' || (scope === 'Namespace' && namespace !== workload?.namespace)
        ? [key]
        : [],
    )
  }

  #findNamed(lane: Lane, workload: Workload | undefined, facts: Facts): CompiledRule | undefined {
    const named = this.#namedBy(workload)
    if (named === undefined) return undefined
    if (named.isLong) this.#selecting ??= this.#indexSelecting()
    return named.find(lane, facts, this.#selecting)
  }

  #indexSelecting(): Bucket {
    const bucket = new Bucket()
    for (const key of [...this.#policies.keys()].sort()) {
      const policy = this.#policies.get(key)
      if (policy?.authorization.scope === 'WorkloadSelector') bucket.add(policy)
    }
    return bucket
  }
}
