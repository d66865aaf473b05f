/**
 * Rules by what a connection or a request must have to match them. A rule is filed where it has the least company, and
 * one that asks for nothing that can be looked up is in the rest, which is scanned. Answers are those of a scan over all
 * rules in their order.
 */
import { type Attribute, Dimension } from './dimension.ts'
import type { ListSink } from './drawers.ts'
import type { IndexKey, NarrowedClause, Narrowing } from './index-key.ts'
import { insertSorted, type Order, removeSorted } from './sorted-rules.ts'

export interface Matchable<F> {
  matches(facts: F): boolean
}

export interface IndexShape<R, F> {
  readonly order: Order<R>
  /** By name; of two that are as empty the first is taken, so the one that says most about a connection leads. */
  readonly attributes: Readonly<Record<string, Attribute<F>>>
  /** The parts of a rule, and-ed. Asked again when the rule is removed: the answer must be the same. */
  clauses(rule: R): readonly NarrowedClause[]
}

/** So many rules may share a key before another attribute is looked at: a scan that short costs less than a lookup. */
const COMPANY = 8
/** A narrowing of so many keys counts as one place further back. */
const MANY_KEYS = 64

interface Named<R, F> {
  readonly name: string
  readonly dimension: Dimension<R, F>
}

export class RuleIndex<R extends Matchable<F>, F> {
  readonly #shape: IndexShape<R, F>
  readonly #dimensions = new Map<string, Dimension<R, F>>()
  /** Of those the ones that hold rules. */
  #active: readonly Named<R, F>[] = []
  readonly #rest: R[] = []
  /** Taken while it is in use, so that a fact that asks for another decision does no harm. */
  #spare: FirstMatch<R, F> | undefined
  #size = 0

  constructor(shape: IndexShape<R, F>) {
    this.#shape = shape
  }

  /** Rules. */
  get size(): number {
    return this.#size
  }

  add(rule: R): void {
    this.#size++
    const { order, clauses } = this.#shape
    const filing = this.#best(clauses(rule))
    if (filing === undefined) return insertSorted(this.#rest, rule, order)
    for (const key of withoutRepeats(filing)) this.#dimension(key.of).add(key, rule, order)
  }

  remove(rule: R): void {
    this.#size--
    const { order, clauses } = this.#shape
    if (removeSorted(this.#rest, rule, order)) return
    // Where it was filed depends on the company of that time: it is looked for wherever it could be.
    for (const key of clauses(rule).flat(3)) this.#dimensions.get(key.of)?.remove(key, rule, order)
    this.#active = this.#active.filter(({ name, dimension }) => {
      if (dimension.isEmpty) this.#dimensions.delete(name)
      return !dimension.isEmpty
    })
  }

  /** The first rule that matches. */
  find(facts: F): R | undefined {
    const first = this.#spare ?? new FirstMatch<R, F>(this.#shape.order)
    this.#spare = undefined
    first.begin(facts)
    this.candidates(facts, first)
    const found = first.end()
    this.#spare = first
    return found
  }

  /** Every list that may hold rules which match; a rule may be in several of them. */
  candidates(facts: F, sink: ListSink<R>): void {
    const active = this.#active
    for (let at = 0; at < active.length; at++) active[at]?.dimension.look(facts, sink)
    if (this.#rest.length > 0) sink.take(this.#rest)
  }

  #dimension(name: string): Dimension<R, F> {
    const known = this.#dimensions.get(name)
    if (known !== undefined) return known
    const attribute = this.#shape.attributes[name]
    if (attribute === undefined) throw new TypeError(`no attribute ${name} in this index`)
    const dimension = new Dimension<R, F>(attribute)
    this.#dimensions.set(name, dimension)
    this.#active = [...this.#active, { name, dimension }]
    return dimension
  }

  /** The clause that narrows most; `undefined` when none does. */
  #best(clauses: readonly NarrowedClause[]): Narrowing | undefined {
    let best: Narrowing | undefined
    let bestCost = Number.POSITIVE_INFINITY
    for (const clause of clauses) {
      const chosen: IndexKey[] = []
      let cost = 0
      for (const alternative of clause) {
        const [narrowing, itsCost] = this.#cheapest(alternative)
        cost = Math.max(cost, itsCost)
        if (narrowing !== undefined) chosen.push(...narrowing)
      }
      if (cost < bestCost) [best, bestCost] = [chosen, cost]
    }
    return best
  }

  #cheapest(choices: readonly Narrowing[]): readonly [Narrowing | undefined, number] {
    let best: Narrowing | undefined
    let bestCost = Number.POSITIVE_INFINITY
    for (const narrowing of choices) {
      const cost = this.#costOf(narrowing)
      if (cost < bestCost) [best, bestCost] = [narrowing, cost]
    }
    return [best, bestCost]
  }

  /** Company first, then the attribute's place. */
  #costOf(narrowing: Narrowing): number {
    const [first] = narrowing
    if (first === undefined) return -1
    let longest = 0
    for (const key of narrowing) longest = Math.max(longest, this.#dimensions.get(key.of)?.lengthAt(key) ?? 0)
    const names = Object.keys(this.#shape.attributes)
    const place = names.indexOf(first.of) + Math.floor(narrowing.length / MANY_KEYS)
    return Math.floor(longest / COMPANY) * names.length + place
  }
}

/** Keeps the first rule that matches. */
class FirstMatch<R extends Matchable<F>, F> implements ListSink<R> {
  readonly #order: Order<R>
  #facts: F | undefined
  #best: R | undefined

  constructor(order: Order<R>) {
    this.#order = order
  }

  begin(facts: F): void {
    this.#facts = facts
    this.#best = undefined
  }

  /** Holds nothing afterwards. */
  end(): R | undefined {
    const best = this.#best
    this.#facts = undefined
    this.#best = undefined
    return best
  }

  takeOne(rule: R): void {
    const facts = this.#facts
    if (facts === undefined) return
    if (this.#best !== undefined && this.#order(rule, this.#best) >= 0) return
    if (rule.matches(facts)) this.#best = rule
  }

  take(rules: readonly R[]): void {
    const facts = this.#facts
    if (facts === undefined) return
    for (let at = 0; at < rules.length; at++) {
      const rule = rules[at]
      if (rule === undefined || (this.#best !== undefined && this.#order(rule, this.#best) >= 0)) return
      if (!rule.matches(facts)) continue
      this.#best = rule
      return
    }
  }
}

function withoutRepeats(keys: Narrowing): Narrowing {
  if (keys.length < 2) return keys
  const seen = new Set<string>()
  return keys.filter(({ of, form, value }) => {
    const text = `${of} ${form} ${typeof value === 'object' ? `${value.address}/${value.prefixLength}` : value}`
    return !seen.has(text) && seen.add(text)
  })
}
