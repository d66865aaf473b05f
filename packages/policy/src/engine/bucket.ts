/** Policies that apply together, by what they do: each kind with its index and its keys. */
import type { CompiledPolicy, CompiledRule } from './compile.ts'
import type { Facts } from './facts.ts'
import { createL4Index, type L4Index } from './l4-index.ts'
import { insertSorted, type Order, removeSorted } from '../rule-index/sorted-rules.ts'
import type { Authorization } from '../ztunnel/authorization.ts'

/** What to look for in a set. */
export interface Lane {
  readonly action: Authorization['action']
  readonly dryRun: boolean
}

/** Constants, so that asking allocates nothing. */
export function laneKey({ action, dryRun }: Lane): string {
  if (action === 'Deny') return dryRun ? 'dry-run deny' : 'deny'
  return dryRun ? 'dry-run allow' : 'allow'
}

interface LanePolicies {
  readonly index: L4Index
  readonly keys: string[]
  /** The keys as they were given out; made when first asked for after a change. */
  given: readonly string[] | undefined
}

export class Bucket {
  readonly #lanes = new Map<string, LanePolicies>()

  add(policy: CompiledPolicy): void {
    const key = laneKey(policy.authorization)
    const lane = this.#lanes.get(key) ?? { index: createL4Index(), keys: [], given: undefined }
    for (const rule of policy.rules) lane.index.add(rule)
    insertSorted(lane.keys, policy.key, byText)
    lane.given = undefined
    this.#lanes.set(key, lane)
  }

  /** @returns whether the bucket is empty now. */
  remove(policy: CompiledPolicy): boolean {
    const key = laneKey(policy.authorization)
    const lane = this.#lanes.get(key)
    if (lane !== undefined) {
      for (const rule of policy.rules) lane.index.remove(rule)
      removeSorted(lane.keys, policy.key, byText)
      lane.given = undefined
      if (lane.keys.length === 0) this.#lanes.delete(key)
    }
    return this.#lanes.size === 0
  }

  find(key: string, facts: Facts): CompiledRule | undefined {
    return this.#lanes.get(key)?.index.find(facts)
  }

  index(key: string): L4Index | undefined {
    return this.#lanes.get(key)?.index
  }

  has(key: string): boolean {
    return this.#lanes.has(key)
  }

  /** Sorted; the same array until a policy changes. */
  keys(key: string): readonly string[] {
    const lane = this.#lanes.get(key)
    if (lane === undefined) return none
    lane.given ??= Object.freeze([...lane.keys])
    return lane.given
  }

  allKeys(): readonly string[] {
    return [...this.#lanes.values()].flatMap(({ keys }) => keys).sort()
  }
}

export const none: readonly string[] = Object.freeze([])

const byText: Order<string> = (a, b) => (a < b ? -1 : a > b ? 1 : 0)
