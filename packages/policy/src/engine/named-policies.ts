/**
 * The policies that a workload names. A short list is walked; of a long one the matching rules are looked up among all
 * policies that workloads can name, and those of the list count.
 */
import { type Bucket, type Lane, laneKey } from './bucket.ts'
import type { CompiledPolicy, CompiledRule } from './compile.ts'
import type { Facts } from './facts.ts'
import type { ListSink } from '../rule-index/drawers.ts'
import type { Authorization } from '../ztunnel/authorization.ts'

/** Most workloads name fewer, and walking them costs less than a lookup that finds the rules of others too. */
const MAX_WALKED = 32

export class NamedPolicies {
  /** In the order of the list, each once. */
  readonly policies: readonly CompiledPolicy[]
  /** The first name that nothing is known of. */
  readonly unknown: string | undefined
  readonly #lanes = new Set<string>()
  readonly #positions: ReadonlyMap<string, number>
  /** Of a long list those that are not found in the common index. */
  readonly #walked: readonly CompiledPolicy[]
  readonly #search = new NamedSearch()

  constructor(names: readonly string[], get: (key: string) => CompiledPolicy | undefined) {
    const positions = new Map<string, number>()
    const policies: CompiledPolicy[] = []
    for (const name of names) {
      if (positions.has(name)) continue
      positions.set(name, positions.size)
      const policy = get(name)
      if (policy === undefined) this.unknown ??= name
      else policies.push(policy)
    }
    for (const { authorization } of policies) this.#lanes.add(laneKey(authorization))
    this.policies = policies
    this.#positions = positions
    this.#walked = this.isLong
      ? policies.filter(({ authorization }) => authorization.scope !== 'WorkloadSelector')
      : policies
  }

  /** Whether `find` wants the index of all policies that select workloads. */
  get isLong(): boolean {
    return this.policies.length > MAX_WALKED
  }

  has(key: string): boolean {
    return this.#lanes.has(key)
  }

  find(lane: Lane, facts: Facts, selecting: Bucket | undefined): CompiledRule | undefined {
    const key = laneKey(lane)
    if (!this.#lanes.has(key)) return undefined
    const walked = walk(this.#walked, lane, facts)
    const index = selecting?.index(key)
    if (!this.isLong || index === undefined) return walked
    const search = this.#search.begin(facts, this.#positions, walked)
    index.candidates(facts, search)
    return search.end()
  }
}

function walk(policies: readonly CompiledPolicy[], lane: Lane, facts: Facts): CompiledRule | undefined {
  for (const policy of policies) {
    if (!inLane(policy.authorization, lane)) continue
    for (const rule of policy.rules) if (rule.matches(facts)) return rule
  }
  return undefined
}

export function inLane(authorization: Authorization | undefined, lane: Lane): boolean {
  return authorization?.action === lane.action && authorization.dryRun === lane.dryRun
}

/** Keeps the matching rule whose policy is named first. */
class NamedSearch implements ListSink<CompiledRule> {
  #facts: Facts | undefined
  #positions: ReadonlyMap<string, number> | undefined
  #best: CompiledRule | undefined
  #bestPlace = Number.POSITIVE_INFINITY

  begin(facts: Facts, positions: ReadonlyMap<string, number>, best: CompiledRule | undefined): this {
    this.#facts = facts
    this.#positions = positions
    this.#best = best
    this.#bestPlace = (best && positions.get(best.policy.key)) ?? Number.POSITIVE_INFINITY
    return this
  }

  end(): CompiledRule | undefined {
    const best = this.#best
    this.#facts = undefined
    this.#positions = undefined
    this.#best = undefined
    return best
  }

  take(rules: readonly CompiledRule[]): void {
    for (const rule of rules) this.takeOne(rule)
  }

  takeOne(rule: CompiledRule): void {
    const place = this.#positions?.get(rule.policy.key)
    if (place === undefined || place > this.#bestPlace) return
    if (place === this.#bestPlace && this.#best !== undefined && rule.rule >= this.#best.rule) return
    if (this.#facts === undefined || !rule.matches(this.#facts)) return
    this.#best = rule
    this.#bestPlace = place
  }
}
