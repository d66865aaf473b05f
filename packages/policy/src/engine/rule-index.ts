/**
 * Rules by what a connection must have to match them: principal, service account, namespace or port. A rule that asks
 * for none of these exactly is in the rest, which is scanned. Answers are those of a scan in order of key and rule.
 */
import { accountKey } from './attributes.ts'
import type { CompiledPolicy, CompiledRule } from './compile.ts'
import type { Facts } from './facts.ts'
import type { AuthorizationClause, AuthorizationMatch, StringMatch } from '../ztunnel/authorization.ts'

/** Where a rule is filed; the lower rank says more about a connection. */
interface Drawer {
  readonly by: 'principal' | 'account' | 'namespace' | 'port'
  readonly values: readonly (string | number)[]
}

const RANK = { principal: 0, account: 0, namespace: 1, port: 2 } as const

type Drawers = Map<string | number, CompiledRule[]>

export class RuleIndex {
  readonly #rest: CompiledRule[] = []
  readonly #drawers = {
    principal: new Map<string | number, CompiledRule[]>(),
    account: new Map<string | number, CompiledRule[]>(),
    namespace: new Map<string | number, CompiledRule[]>(),
    port: new Map<string | number, CompiledRule[]>(),
  } as const satisfies Record<Drawer['by'], Drawers>

  add(policy: CompiledPolicy): void {
    for (const rule of policy.rules) this.#file(rule, insert)
  }

  remove(policy: CompiledPolicy): void {
    for (const rule of policy.rules) this.#file(rule, remove)
  }

  /** The first rule that matches, by policy key and then by rule. */
  find(facts: Facts): CompiledRule | undefined {
    const { principal, account, namespace, port } = this.#drawers
    let best = firstMatch(this.#rest, facts, undefined)
    if (facts.principal !== undefined) best = firstMatch(principal.get(facts.principal), facts, best)
    if (facts.account !== undefined) best = firstMatch(account.get(facts.account), facts, best)
    best = firstMatch(namespace.get(facts.namespace), facts, best)
    return firstMatch(port.get(facts.destinationPort), facts, best)
  }

  #file(rule: CompiledRule, change: (list: CompiledRule[], rule: CompiledRule) => void): void {
    const clauses = rule.policy.authorization.rules[rule.rule]?.clauses ?? []
    const filing = bestFiling(clauses)
    if (filing === undefined) return change(this.#rest, rule)
    for (const { by, values } of filing) {
      const drawers: Drawers = this.#drawers[by]
      for (const value of new Set(values)) {
        const list = drawers.get(value) ?? []
        change(list, rule)
        if (list.length > 0) drawers.set(value, list)
        else drawers.delete(value)
      }
    }
  }
}

function firstMatch(
  rules: readonly CompiledRule[] | undefined,
  facts: Facts,
  best: CompiledRule | undefined,
): CompiledRule | undefined {
  if (rules === undefined) return best
  for (const rule of rules) {
    if (best !== undefined && order(rule, best) >= 0) return best
    if (rule.matches(facts)) return rule
  }
  return best
}

/** The clause that narrows most; `undefined` when no clause asks for exact values in each of its matches. */
function bestFiling(clauses: readonly AuthorizationClause[]): readonly Drawer[] | undefined {
  let best: readonly Drawer[] | undefined
  let bestRank = Number.POSITIVE_INFINITY
  for (const { matches } of clauses) {
    const drawers = matches.flatMap(match => (isEmpty(match) ? [] : [drawerOf(match)]))
    // A clause without matches holds for everything; one with empty matches only never holds and is filed nowhere.
    if (matches.length === 0 || drawers.some(drawer => drawer === undefined)) continue
    const known = drawers.flatMap(drawer => drawer ?? [])
    const rank = Math.max(-1, ...known.map(({ by }) => RANK[by]))
    if (rank < bestRank) [best, bestRank] = [known, rank]
  }
  return best
}

function drawerOf(match: AuthorizationMatch): Drawer | undefined {
  const principals = exactValues(match.principals)
  if (principals !== undefined) return { by: 'principal', values: principals }
  if (match.serviceAccounts.length > 0)
    return { by: 'account', values: match.serviceAccounts.map(accountKey) }
  const namespaces = exactValues(match.namespaces)
  if (namespaces !== undefined) return { by: 'namespace', values: namespaces }
  return match.destinationPorts.length > 0 ? { by: 'port', values: match.destinationPorts } : undefined
}

function exactValues(matches: readonly StringMatch[]): readonly string[] | undefined {
  const values = matches.flatMap(match => (match.kind === 'exact' ? [match.value] : []))
  return values.length > 0 && values.length === matches.length ? values : undefined
}

function isEmpty(match: AuthorizationMatch): boolean {
  return Object.values(match).every(values => values.length === 0)
}

function order(a: CompiledRule, b: CompiledRule): number {
  if (a.policy.key === b.policy.key) return a.rule - b.rule
  return a.policy.key < b.policy.key ? -1 : 1
}

function insert(list: CompiledRule[], rule: CompiledRule): void {
  list.splice(placeOf(list, rule), 0, rule)
}

function remove(list: CompiledRule[], rule: CompiledRule): void {
  const place = placeOf(list, rule)
  if (list[place] === rule) list.splice(place, 1)
}

function placeOf(list: readonly CompiledRule[], rule: CompiledRule): number {
  let [low, high] = [0, list.length]
  const last = list[high - 1]
  // Sorted loads append.
  if (last === undefined || order(last, rule) < 0) return high
  while (low < high) {
    const middle = (low + high) >> 1
    const at = list[middle]
    if (at !== undefined && order(at, rule) < 0) low = middle + 1
    else high = middle
  }
  return low
}
