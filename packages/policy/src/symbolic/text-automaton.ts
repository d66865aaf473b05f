/**
 * Which combinations of string atoms some text fulfils, each with the shortest such text: the automata of all atoms
 * run side by side, state by state, so nothing is guessed and nothing is missed.
 */
import type { Budget } from './budget.ts'
import type { CharSet, TextPattern } from './text-pattern.ts'

/** The texts that exist at all: each of `required` takes them, none of `forbidden` does. */
export interface TextDomain {
  readonly required: readonly TextPattern[]
  readonly forbidden: readonly TextPattern[]
}

/** An atom holds for what one of its patterns takes. */
export interface TextAtom {
  readonly id: number
  readonly patterns: readonly TextPattern[]
}

export interface TextClass {
  readonly text: string
  /** Ids of the atoms that hold. */
  readonly holds: ReadonlySet<number>
}

export interface TextQuestion {
  readonly domain: TextDomain
  /** The atoms by which classes are chosen. */
  readonly focus: readonly TextAtom[]
  /** Whether anybody wants texts for which exactly these of the focus hold. */
  keep(holds: ReadonlySet<number>): boolean
  /** Atoms that only split what is kept. */
  readonly others: readonly TextAtom[]
  readonly budget: Budget
}

/** Every combination that a text of the domain fulfils, once. */
export function textClasses(question: TextQuestion): readonly TextClass[] {
  const { domain, focus, others, keep, budget } = question
  const alphabet = alphabetOf(question)
  const focused = new Automaton(domain, focus, { alphabet, budget })
  const coarse = focused.explore(budget)
  const wanted = new Set(coarse.filter(state => state.inDomain && keep(state.holds)))
  if (others.length === 0) return distinct([...wanted])
  const useful = leadingTo(wanted, coarse)
  const fine = new Automaton(domain, [...focus, ...others], { alphabet, budget })
  return distinct(fine.exploreWithin(focused.start, useful, wanted, budget))
}

/** Whether one text fulfils the atoms; for texts that are known beforehand. */
export function textHolds(patterns: readonly TextPattern[], text: string): boolean {
  return patterns.some(pattern => {
    let at = closure(pattern, [0])
    for (const char of text) at = closure(pattern, advance(pattern, at, char))
    return at.has(pattern.length)
  })
}

function advance(pattern: TextPattern, at: ReadonlySet<number>, char: string): readonly number[] {
  return [...at].flatMap(position => {
    const element = pattern[position]
    if (element?.chars.has(char) !== true) return []
    return element.star ? [position] : [position + 1]
  })
}

function closure(pattern: TextPattern, positions: readonly number[]): Set<number> {
  const reached = new Set<number>()
  for (let position of positions) {
    while (!reached.has(position)) {
      reached.add(position)
      if (pattern[position]?.star === true) position++
    }
  }
  return reached
}

function distinct(classes: readonly TextClass[]): readonly TextClass[] {
  const found = new Map<string, TextClass>()
  for (const one of classes) {
    const key = [...one.holds].sort((a, b) => a - b).join()
    if (!found.has(key)) found.set(key, one)
  }
  return [...found.values()]
}

/** One state of the automata side by side, found by its shortest text. */
interface State extends TextClass {
  /** Places in patterns, sorted. */
  readonly items: readonly number[]
  /** Groups that hold whatever follows, sorted. */
  readonly won: readonly number[]
  readonly inDomain: boolean
  readonly next: Map<string, State>
}

/** A place in one of all patterns. */
interface Item {
  readonly group: number
  readonly chars: readonly string[]
  readonly star: boolean
  readonly accepts: boolean
  /** A star over everything at the end: the group holds from here on. */
  readonly wins: boolean
}

/** Characters under places: what one step of the budget looks at. */
const MOVES_OF_A_STEP = 16
/** Sets of characters that one character is looked for in: as long as one step takes otherwise. */
const SETS_OF_A_STEP = 256

class Automaton {
  readonly #items: Item[] = []
  readonly #required: number
  readonly #forbidden: number
  readonly #atoms: readonly TextAtom[]
  readonly #alphabet: Alphabet
  readonly #states = new Map<string, State>()
  readonly start: State

  constructor(
    domain: TextDomain,
    atoms: readonly TextAtom[],
    { alphabet, budget }: { readonly alphabet: Alphabet; readonly budget: Budget },
  ) {
    this.#atoms = atoms
    this.#alphabet = alphabet
    this.#required = domain.required.length
    this.#forbidden = domain.forbidden.length
    const groups = [
      ...domain.required.map(pattern => [pattern]),
      ...domain.forbidden.map(pattern => [pattern]),
      ...atoms.map(({ patterns }) => patterns),
    ]
    const starts: number[] = []
    for (const [group, patterns] of groups.entries())
      for (const pattern of patterns) {
        starts.push(this.#items.length)
        this.#addPattern(pattern, group)
      }
    budget.spend(Math.floor(this.#items.length / MOVES_OF_A_STEP))
    this.start = this.#stateOf(starts, [], '')
  }

  /** Every state, by breadth: the text of each is a shortest one. */
  explore(budget: Budget): readonly State[] {
    const found = [this.start]
    const seen = new Set(found)
    for (const state of found)
      for (const [char, next] of this.#follow(state, budget)) {
        state.next.set(char, next)
        if (seen.has(next) || this.#isDead(next)) continue
        seen.add(next)
        found.push(next)
      }
    return found
  }

  /** States beside those of a coarser automaton, only where that one still leads to a wanted state. */
  exploreWithin(
    coarseStart: State,
    useful: ReadonlySet<State>,
    wanted: ReadonlySet<State>,
    budget: Budget,
  ): readonly State[] {
    const found: State[] = []
    const queue: [State, State][] = useful.has(coarseStart) ? [[coarseStart, this.start]] : []
    const seen = new Map<State, Set<State>>([[coarseStart, new Set([this.start])]])
    for (const [coarse, state] of queue) {
      if (wanted.has(coarse)) found.push(state)
      for (const [char, next] of this.#follow(state, budget)) {
        const coarseNext = coarse.next.get(char)
        if (coarseNext === undefined || !useful.has(coarseNext)) continue
        const beside = seen.get(coarseNext) ?? new Set<State>()
        if (beside.has(next)) continue
        seen.set(coarseNext, beside.add(next))
        queue.push([coarseNext, next])
      }
    }
    return found
  }

  #addPattern(pattern: TextPattern, group: number): void {
    for (const [index, { chars, star }] of pattern.entries()) {
      const wins = star && chars.any && index === pattern.length - 1
      this.#items.push({ group, chars: this.#alphabet.membersOf(chars), star, accepts: false, wins })
    }
    this.#items.push({ group, chars: [], star: false, accepts: true, wins: false })
  }

  *#follow(state: State, budget: Budget): Generator<readonly [string, State]> {
    const targets = new Map<string, number[]>(this.#alphabet.chars.map(char => [char, []]))
    let moves = this.#alphabet.chars.length
    for (const place of state.items) {
      const item = this.#items[place]
      if (item === undefined) continue
      moves += item.chars.length
      const target = item.star ? place : place + 1
      for (const char of item.chars) targets.get(char)?.push(target)
    }
    budget.spend(1 + Math.floor(moves / MOVES_OF_A_STEP))
    // Most characters lead to the same places as their neighbours.
    const known = new Map<string, State>()
    for (const [char, places] of targets) {
      const key = places.join()
      const next = known.get(key) ?? this.#stateOf(places, state.won, state.text + char)
      known.set(key, next)
      yield [char, next]
    }
  }

  #stateOf(places: readonly number[], wonBefore: readonly number[], text: string): State {
    const won = new Set(wonBefore)
    const reached = new Set<number>()
    for (let place of places)
      for (; !reached.has(place); place++) {
        reached.add(place)
        const item = this.#items[place]
        if (item?.wins === true) won.add(item.group)
        if (item?.star !== true) break
      }
    const items = [...reached].filter(place => !won.has(this.#items[place]?.group ?? -1)).sort(byNumber)
    const sorted = [...won].sort(byNumber)
    const key = `${items.join()};${sorted.join()}`
    const known = this.#states.get(key)
    if (known !== undefined) return known
    const state = { ...this.#judge(items, sorted), items, won: sorted, text, next: new Map() }
    this.#states.set(key, state)
    return state
  }

  #judge(items: readonly number[], won: readonly number[]): Pick<State, 'holds' | 'inDomain'> {
    const accepted = new Set(won)
    for (const place of items) {
      const item = this.#items[place]
      if (item?.accepts === true) accepted.add(item.group)
    }
    const holds = new Set<number>()
    let inDomain = true
    for (let group = 0; group < this.#required; group++) inDomain &&= accepted.has(group)
    const first = this.#required + this.#forbidden
    for (let group = this.#required; group < first; group++) inDomain &&= !accepted.has(group)
    for (const group of accepted) {
      const atom = group < first ? undefined : this.#atoms[group - first]
      if (atom !== undefined) holds.add(atom.id)
    }
    return { holds, inDomain }
  }

  /** Nothing of the domain can follow. */
  #isDead({ items, won }: State): boolean {
    const alive = new Set(won)
    for (const place of items) alive.add(this.#items[place]?.group ?? -1)
    for (let group = 0; group < this.#required; group++) if (!alive.has(group)) return true
    const first = this.#required + this.#forbidden
    return won.some(group => group >= this.#required && group < first)
  }
}

/** The states from which a wanted one can be reached. */
function leadingTo(wanted: ReadonlySet<State>, all: readonly State[]): ReadonlySet<State> {
  const before = new Map<State, State[]>()
  for (const state of all)
    for (const next of state.next.values()) {
      const known = before.get(next)
      if (known === undefined) before.set(next, [state])
      else known.push(state)
    }
  const useful = new Set(wanted)
  for (const state of useful) for (const previous of before.get(state) ?? []) useful.add(previous)
  return useful
}

/** Characters that no set tells apart are one, the most readable of them. */
interface Alphabet {
  readonly chars: readonly string[]
  membersOf(set: CharSet): readonly string[]
}

/** Printable ASCII, the most readable first, and one that stands for all that is beyond. */
const READABLE = [
  ...'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ',
  ...'-/._:~!$&\'()*+,;=@%?#[]"<>\\^`{|} ',
  'é',
] as const

function alphabetOf({ domain, focus, others, budget }: TextQuestion): Alphabet {
  const sets = new Set<CharSet>()
  const patterns = [
    ...domain.required,
    ...domain.forbidden,
    ...[...focus, ...others].flatMap(atom => atom.patterns),
  ]
  for (const pattern of patterns) for (const { chars } of pattern) if (!chars.any) sets.add(chars)
  const universe = new Set([...READABLE, ...[...sets].flatMap(set => set.named)])
  budget.spend(Math.floor((universe.size * sets.size) / SETS_OF_A_STEP))
  const classes = new Map<string, string>()
  const list = [...sets]
  for (const char of universe) {
    const signature = list.map(set => (set.has(char) ? '1' : '0')).join('')
    if (!classes.has(signature)) classes.set(signature, char)
  }
  const chars = [...classes.values()]
  const members = new Map(list.map(set => [set, chars.filter(char => set.has(char))]))
  return { chars, membersOf: set => (set.any ? chars : (members.get(set) ?? [])) }
}

function byNumber(a: number, b: number): number {
  return a - b
}
