/**
 * Policies by who they apply to: everybody, a namespace, or the workloads that name them. A change costs what the
 * changed policy holds, not what the set holds.
 */
import type { Workload } from '@ambient/core'
import { type CompiledPolicy, type CompiledRule, compile } from './compile.ts'
import type { Facts } from './facts.ts'
import { RuleIndex } from './rule-index.ts'
import type { Authorization } from '../ztunnel/authorization.ts'

/** What to look for in a set. */
export interface Lane {
  readonly action: Authorization['action']
  readonly dryRun: boolean
}

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

/** The policies of a bucket with one action. */
interface LanePolicies {
  readonly index: RuleIndex
  readonly keys: Set<string>
  /** Sorted, made when first asked for after a change. */
  sorted: readonly string[] | undefined
}

/** One group of policies that apply together. */
class Bucket {
  readonly #lanes = new Map<string, LanePolicies>()

  add(policy: CompiledPolicy): void {
    const key = laneKey(policy.authorization)
    const lane = this.#lanes.get(key) ?? {
      index: new RuleIndex(),
      keys: new Set<string>(),
      sorted: undefined,
    }
    lane.index.add(policy)
    lane.keys.add(policy.key)
    lane.sorted = undefined
    this.#lanes.set(key, lane)
  }

  /** @returns whether the bucket is empty now. */
  remove(policy: CompiledPolicy): boolean {
    const key = laneKey(policy.authorization)
    const lane = this.#lanes.get(key)
    if (lane !== undefined) {
      lane.index.remove(policy)
      lane.keys.delete(policy.key)
      lane.sorted = undefined
    }
    if (lane?.keys.size === 0) this.#lanes.delete(key)
    return this.#lanes.size === 0
  }

  find(key: string, facts: Facts): CompiledRule | undefined {
    return this.#lanes.get(key)?.index.find(facts)
  }

  has(key: string): boolean {
    return this.#lanes.has(key)
  }

  keys(key: string): readonly string[] {
    const lane = this.#lanes.get(key)
    if (lane === undefined) return none
    lane.sorted ??= Object.freeze([...lane.keys].sort())
    return lane.sorted
  }

  allKeys(): readonly string[] {
    return [...this.#lanes.values()].flatMap(({ keys }) => [...keys]).sort()
  }
}

const none: readonly string[] = Object.freeze([])

export class IndexedPolicies implements PolicySet {
  readonly #policies = new Map<string, CompiledPolicy>()
  readonly #namespaces = new Map<string, Bucket>()
  #global = new Bucket()
  /** Policies that apply to less than everybody. */
  #narrow = 0

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
    this.#policies.delete(key)
    const { scope, namespace } = policy.authorization
    if (scope === 'Global') this.#global.remove(policy)
    else this.#narrow--
    if (scope === 'Namespace' && this.#namespaces.get(namespace)?.remove(policy) === true)
      this.#namespaces.delete(namespace)
  }

  clear(): void {
    this.#policies.clear()
    this.#namespaces.clear()
    this.#global = new Bucket()
    this.#narrow = 0
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
    for (const name of workload.authorizationPolicies) {
      const policy = this.#policies.get(name)
      if (policy !== undefined && inLane(policy.authorization, lane)) return true
    }
    return false
  }

  /** Keys of a lane's policies for this workload, in the order they are asked. */
  keys(lane: Lane, workload: Workload | undefined): readonly string[] {
    const key = laneKey(lane)
    const inNamespace = (workload && this.#namespaces.get(workload.namespace)?.keys(key)) ?? none
    const everywhere = this.#global.keys(key)
    const named = this.#named(workload).filter(name => inLane(this.get(name), lane))
    // Thousands of policies are one group as a rule: their list is shared, not copied.
    if (everywhere.length === 0 && named.length === 0) return inNamespace
    return [...inNamespace, ...everywhere, ...named]
  }

  /** Keys of every policy that applies to this workload, in the order they are asked. */
  applicable(workload: Workload | undefined): readonly string[] {
    const inNamespace = (workload && this.#namespaces.get(workload.namespace)?.allKeys()) ?? none
    return [...inNamespace, ...this.#global.allKeys(), ...this.#named(workload)]
  }

  /** The first policy that the workload names and that is not here. */
  firstUnknown(workload: Workload | undefined): string | undefined {
    if (workload !== undefined)
      for (const key of workload.authorizationPolicies) if (!this.#policies.has(key)) return key
    return undefined
  }

  #put(policy: CompiledPolicy): void {
    this.remove(policy.key)
    this.#policies.set(policy.key, policy)
    const { scope, namespace } = policy.authorization
    if (scope === 'Global') this.#global.add(policy)
    else this.#narrow++
    if (scope !== 'Namespace') return
    const bucket = this.#namespaces.get(namespace) ?? new Bucket()
    bucket.add(policy)
    this.#namespaces.set(namespace, bucket)
  }

  /** What the workload names and does not have anyway. */
  #named(workload: Workload | undefined): readonly string[] {
    if (workload === undefined || workload.authorizationPolicies.length === 0) return none
    const names = [...new Set(workload.authorizationPolicies)]
    return names.filter(name => {
      const policy = this.get(name)
      if (policy === undefined || policy.scope === 'Global') return false
      return policy.scope === 'WorkloadSelector' || policy.namespace !== workload.namespace
    })
  }

  #findNamed(lane: Lane, workload: Workload | undefined, facts: Facts): CompiledRule | undefined {
    if (workload === undefined) return undefined
    for (const key of workload.authorizationPolicies) {
      const policy = this.#policies.get(key)
      if (policy === undefined || !inLane(policy.authorization, lane)) continue
      for (const rule of policy.rules) if (rule.matches(facts)) return rule
    }
    return undefined
  }
}

function inLane(authorization: Authorization | undefined, lane: Lane): boolean {
  return authorization?.action === lane.action && authorization.dryRun === lane.dryRun
}

/** Constants, so that asking allocates nothing. */
function laneKey({ action, dryRun }: Lane): string {
  if (action === 'Deny') return dryRun ? 'dry-run deny' : 'deny'
  return dryRun ? 'dry-run allow' : 'allow'
}
