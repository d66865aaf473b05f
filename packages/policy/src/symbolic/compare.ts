/**
 * Where two ordered lists of formulas say different things, as disjoint regions: dimension by dimension, class by
 * class, looking only where something that differs can still decide.
 */
import { Budget, BudgetSpent } from './budget.ts'
import { type ClassQuestion, type DimensionClass, dimensionClasses } from './dimension-classes.ts'
import type { Atom, Formula, Formulas } from './formula.ts'
import { limits } from '../limits.ts'

/** The first entry whose formula holds gives the outcome; the last one's always holds. */
export interface Entry<Label> {
  readonly formula: Formula
  readonly outcome: string
  readonly label: Label
  /** Of the label: regions are told apart by who decides. */
  readonly name: string
}

/** Values of one dimension: those of any of these classes. */
export interface RegionChoice {
  readonly dimension: string
  readonly classes: readonly DimensionClass[]
  /** Everything that was looked at here, these classes too. */
  readonly among: readonly DimensionClass[]
  /** The atoms that were told apart. */
  readonly atoms: readonly Atom[]
}

export interface Region<Label> {
  readonly choices: readonly RegionChoice[]
  readonly before: Entry<Label>
  readonly after: Entry<Label>
}

export interface CompareOptions {
  readonly formulas: Formulas
  readonly pathNormalization: ClassQuestion['pathNormalization']
  readonly maxSteps: number
  /** Stop after so many. */
  readonly maxRegions: number
  /** Whether the choices go together: not everything that is possible in each dimension is in all of them. */
  possible(choices: readonly RegionChoice[]): boolean
}

export interface Comparison<Label> {
  readonly regions: readonly Region<Label>[]
  /** Whether the regions are all there are; why not otherwise. */
  readonly complete: boolean
  readonly reason?: 'steps' | 'regions'
  readonly steps: number
}

export function compare<Label>(
  before: readonly Entry<Label>[],
  after: readonly Entry<Label>[],
  options: CompareOptions,
): Comparison<Label> {
  const search = new Search<Label>(options)
  try {
    search.run({ before: shorten(before), after: shorten(after) })
    return { regions: search.regions, complete: true, steps: search.steps }
  } catch (error) {
    if (!(error instanceof BudgetSpent)) throw error
    const reason = search.regions.length >= options.maxRegions ? 'regions' : 'steps'
    return { regions: search.regions, complete: false, reason, steps: search.steps }
  }
}

interface Pair<Label> {
  readonly before: readonly Entry<Label>[]
  readonly after: readonly Entry<Label>[]
}

class Search<Label> {
  readonly regions: Region<Label>[] = []
  readonly #options: CompareOptions
  readonly #budget: Budget
  /** Pairs that were found to be equal everywhere. */
  readonly #equal = new Set<string>()
  readonly #path: RegionChoice[] = []

  constructor(options: CompareOptions) {
    this.#options = options
    this.#budget = new Budget(options.maxSteps)
  }

  get steps(): number {
    return this.#budget.spent
  }

  run(pair: Pair<Label>): void {
    const changed = changedEntries(pair)
    if (changed.length === 0 || oneOutcome(pair)) return
    const key = keyOf(pair)
    if (this.#equal.has(key)) return
    if (this.#path.length >= limits.maxDimensions) this.#budget.spend(this.#options.maxSteps)
    const found = this.regions.length
    const dimension = nextDimension(pair, changed)
    if (dimension === undefined) this.#found(pair)
    else this.#split(pair, changed, dimension)
    if (this.regions.length === found) this.#equal.add(key)
  }

  #found({ before: [before], after: [after] }: Pair<Label>): void {
    if (before === undefined || after === undefined || !this.#options.possible(this.#path)) return
    this.regions.push({ choices: [...this.#path], before, after })
    if (this.regions.length >= this.#options.maxRegions) throw new BudgetSpent('regions')
  }

  #split(pair: Pair<Label>, changed: readonly Entry<Label>[], dimension: string): void {
    const { formulas, pathNormalization } = this.#options
    const focus = atomsOf(changed, dimension)
    const focused = new Set(focus)
    const all = atomsOf([...pair.before, ...pair.after], dimension)
    const anywhere = changed.some(({ formula }) => formula === formulas.always)
    const keep = (holds: ReadonlySet<number>): boolean => {
      if (anywhere) return true
      const done = new Map<Formula, Formula>()
      return changed.some(
        ({ formula }) => formulas.assign(formula, dimension, holds, done) !== formulas.never,
      )
    }
    const others = all.filter(atom => !focused.has(atom))
    const question = { dimension, focus, others, keep, pathNormalization, budget: this.#budget }
    const groups = new Map<string, { readonly pair: Pair<Label>; readonly classes: DimensionClass[] }>()
    const among = dimensionClasses(question)
    for (const one of among) {
      const next = this.#assign(pair, dimension, one)
      const key = namesOf(next)
      const group = groups.get(key) ?? { pair: next, classes: [] }
      group.classes.push(one)
      groups.set(key, group)
    }
    for (const { pair: next, classes } of groups.values()) {
      this.#path.push({ dimension, classes, among, atoms: all })
      this.run(next)
      this.#path.pop()
    }
  }

  #assign(pair: Pair<Label>, dimension: string, { holds }: DimensionClass): Pair<Label> {
    const { formulas } = this.#options
    const done = new Map<Formula, Formula>()
    this.#budget.spend(pair.before.length + pair.after.length)
    const side = (entries: readonly Entry<Label>[]): readonly Entry<Label>[] =>
      shorten(
        entries.map(entry => {
          const formula = formulas.assign(entry.formula, dimension, holds, done)
          return formula === entry.formula ? entry : { ...entry, formula }
        }),
      )
    return { before: side(pair.before), after: side(pair.after) }
  }
}

/** Without what never holds, and without what comes after what always does. */
function shorten<Label>(entries: readonly Entry<Label>[]): readonly Entry<Label>[] {
  const kept: Entry<Label>[] = []
  for (const entry of entries) {
    const { formula } = entry
    if (formula.kind === 'constant' && !formula.value) continue
    kept.push(entry)
    if (formula.kind === 'constant') break
  }
  return kept
}

/** Entries of one side that the other does not have in their place: only where one of them holds can the outcomes differ. */
function changedEntries<Label>({ before, after }: Pair<Label>): readonly Entry<Label>[] {
  const [left, right] = [placesOf(before), placesOf(after)]
  const first = (places: readonly Place<Label>[]): string | undefined => places[0]?.entry.outcome
  const runs = (places: readonly Place<Label>[]): number => places.at(-1)?.run ?? 0
  // One side may begin with a run that the other does not have.
  const shift = first(left) === first(right) ? 0 : runs(left) > runs(right) ? 1 : -1
  const keys = (places: readonly Place<Label>[], by: number): ReadonlyMap<string, Entry<Label>> =>
    new Map(places.map(({ entry, run }) => [`${run + by} ${keyOfEntry(entry)}`, entry]))
  const [was, is] = [keys(left, Math.max(0, -shift)), keys(right, Math.max(0, shift))]
  const missing = (
    from: ReadonlyMap<string, Entry<Label>>,
    other: ReadonlyMap<string, Entry<Label>>,
  ): readonly Entry<Label>[] => [...from].flatMap(([key, entry]) => (other.has(key) ? [] : [entry]))
  return [...missing(was, is), ...missing(is, was)]
}

interface Place<Label> {
  readonly entry: Entry<Label>
  /** Entries of one outcome in a row are one run: their order is nothing, that of the runs is. */
  readonly run: number
}

function placesOf<Label>(entries: readonly Entry<Label>[]): readonly Place<Label>[] {
  let run = 0
  return entries.map((entry, index) => {
    if (index > 0 && entries[index - 1]?.outcome !== entry.outcome) run++
    return { entry, run }
  })
}

function oneOutcome<Label>({ before, after }: Pair<Label>): boolean {
  const outcome = before[0]?.outcome
  return [...before, ...after].every(entry => entry.outcome === outcome)
}

/** The order of places first, then who, then what. */
const ORDER = ['place.', 'label:', 'port', 'principal', 'source.ip', 'remote.ip', 'sni'] as const

function nextDimension<Label>(pair: Pair<Label>, changed: readonly Entry<Label>[]): string | undefined {
  return firstDimension(changed) ?? firstDimension([...pair.before, ...pair.after])
}

function firstDimension<Label>(entries: readonly Entry<Label>[]): string | undefined {
  const dimensions = new Set(
    entries.flatMap(({ formula }) => formula.atoms.map(({ dimension }) => dimension)),
  )
  return [...dimensions].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))[0]
}

function rank(dimension: string): number {
  const found = ORDER.findIndex(prefix => dimension.startsWith(prefix))
  return found < 0 ? ORDER.length : found
}

function atomsOf<Label>(entries: readonly Entry<Label>[], dimension: string): readonly Atom[] {
  const atoms = new Set<Atom>()
  for (const { formula } of entries)
    for (const atom of formula.atoms) if (atom.dimension === dimension) atoms.add(atom)
  return [...atoms]
}

function keyOf<Label>({ before, after }: Pair<Label>): string {
  return `${before.map(keyOfEntry).join()}|${after.map(keyOfEntry).join()}`
}

/** Like {@link keyOf}, with who it is. */
function namesOf<Label>({ before, after }: Pair<Label>): string {
  const text = (entries: readonly Entry<Label>[]): string =>
    entries.map(entry => `${keyOfEntry(entry)}=${entry.name}`).join()
  return `${text(before)}|${text(after)}`
}

function keyOfEntry<Label>({ formula, outcome }: Entry<Label>): string {
  return `${outcome}${formula.id}`
}
