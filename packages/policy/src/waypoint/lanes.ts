/** The policies of one attachment in the order in which they are asked, each kind with its index. */
import type { CompiledWaypointPolicy, CompiledWaypointRule } from './compile-policy.ts'
import { byId, createWaypointIndex, type WaypointIndex } from './waypoint-index.ts'
import { insertSorted, type Order, removeSorted } from '../rule-index/sorted-rules.ts'

/** Dry runs of AUDIT are nowhere: they would report a report. */
export type LaneName = 'audit' | 'deny' | 'allow' | 'dryCustom' | 'dryDeny' | 'dryAllow'

/** A change costs what the changed policy holds. */
export class WaypointLanes {
  readonly #indexes: Readonly<Record<LaneName, WaypointIndex>> = {
    audit: createWaypointIndex(),
    deny: createWaypointIndex(),
    allow: createWaypointIndex(),
    dryCustom: createWaypointIndex(),
    dryDeny: createWaypointIndex(),
    dryAllow: createWaypointIndex(),
  }
  /** CUSTOM rules by provider. Absent where none has any. */
  readonly custom = new Map<string, WaypointIndex>()
  /** Enforced ALLOW policies, also those without a rule. Sorted. */
  readonly allows: string[] = []
  /** Policies that are dry runs, by action. */
  readonly dryRuns = { CUSTOM: 0, DENY: 0, ALLOW: 0 }

  constructor(policies: readonly CompiledWaypointPolicy[] = []) {
    // In order, so that each list grows at its end only.
    const ids = new Map(policies.map(policy => [policy, policy.rules[0]?.id ?? '']))
    const idOf = (policy: CompiledWaypointPolicy): string => ids.get(policy) ?? ''
    for (const policy of [...policies].sort((a, b) => byText(idOf(a), idOf(b)))) this.add(policy)
  }

  add(policy: CompiledWaypointPolicy): void {
    for (const rule of asked(policy)) this.#indexFor(policy, rule)?.add(rule)
    this.#count(policy, 1)
    if (isEnforcedAllow(policy)) insertSorted(this.allows, policy.key, byText)
  }

  /** @param policy the same object that was added. */
  remove(policy: CompiledWaypointPolicy): void {
    for (const rule of asked(policy)) {
      const index = this.#indexFor(policy, rule)
      index?.remove(rule)
      if (index?.size === 0 && isCustom(policy)) this.custom.delete(rule.provider ?? '')
    }
    this.#count(policy, -1)
    if (isEnforcedAllow(policy)) removeSorted(this.allows, policy.key, byText)
  }

  lane(name: LaneName): WaypointIndex {
    return this.#indexes[name]
  }

  #indexFor(policy: CompiledWaypointPolicy, rule: CompiledWaypointRule): WaypointIndex | undefined {
    if (isCustom(policy)) {
      const { provider = '' } = rule
      const index = this.custom.get(provider) ?? createWaypointIndex()
      this.custom.set(provider, index)
      return index
    }
    const name = laneOf(policy)
    return name && this.#indexes[name]
  }

  #count({ dryRun, action }: CompiledWaypointPolicy, change: number): void {
    if (dryRun && action !== 'AUDIT') this.dryRuns[action] += change
  }
}

const byText: Order<string> = (a, b) => (a < b ? -1 : a > b ? 1 : 0)

function asked({ rules }: CompiledWaypointPolicy): readonly CompiledWaypointRule[] {
  return rules.filter(({ skipped }) => skipped === undefined).sort(byId)
}

function isCustom({ action, dryRun }: CompiledWaypointPolicy): boolean {
  return action === 'CUSTOM' && !dryRun
}

function isEnforcedAllow({ action, dryRun }: CompiledWaypointPolicy): boolean {
  return action === 'ALLOW' && !dryRun
}

function laneOf({ action, dryRun }: CompiledWaypointPolicy): LaneName | undefined {
  switch (action) {
    case 'AUDIT':
      return dryRun ? undefined : 'audit'
    case 'CUSTOM':
      return 'dryCustom'
    case 'DENY':
      return dryRun ? 'dryDeny' : 'deny'
    case 'ALLOW':
      return dryRun ? 'dryAllow' : 'allow'
  }
}
