/** The classes of each dimension: which of its atoms can hold together, and a value for which exactly they do. */
import { addressClasses } from './address-classes.ts'
import type { Budget } from './budget.ts'
import type { Atom } from './formula.ts'
import { type TextAtom, textClasses, type TextDomain, textHolds } from './text-automaton.ts'
import { textAtom, type TextDimension, textDimension } from './text-dimensions.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'

/** Absent (no identity, no header, no label), one text, or several (a repeated header, a list in a claim). */
export type DimensionValue = string | readonly string[] | undefined

export interface DimensionClass {
  readonly value: DimensionValue
  /** Ids of the atoms that hold. */
  readonly holds: ReadonlySet<number>
}

export interface ClassQuestion {
  readonly dimension: string
  readonly focus: readonly Atom[]
  keep(holds: ReadonlySet<number>): boolean
  readonly others: readonly Atom[]
  readonly pathNormalization: PathNormalization
  readonly budget: Budget
}

const ADDRESSES = new Set(['source.ip', 'remote.ip', 'destination.ip'])
/** Nobody's namespace, and ports that nobody names first. */
const OTHER_VALUES: Readonly<Record<string, readonly string[]>> = {
  'place.namespace': ['elsewhere'],
  'place.name': ['other'],
  port: ['8080', '80', '443', '9090', '3000'],
}
/** Beyond this many atoms a witness may read badly rather than cost a second search. */
const MAX_ATOMS_FOR_STYLE = 64

export function dimensionClasses(question: ClassQuestion): readonly DimensionClass[] {
  const { dimension, focus, keep } = question
  const focused = new Set(focus.map(({ id }) => id))
  const wanted = ({ holds }: DimensionClass): boolean => keep(onlyIn(holds, focused))
  if (ADDRESSES.has(dimension)) {
    const atoms = [...focus, ...question.others]
    return addressClasses(atoms, question.budget)
      .filter(({ text }) => text !== undefined || dimension === 'source.ip')
      .map(({ text, holds }) => ({ value: text, holds }))
      .filter(wanted)
  }
  if (isList(dimension)) return listClasses(question).filter(wanted)
  if (isChoice(dimension)) return choiceClasses(question).filter(wanted)
  return singleClasses(question, keep)
}

export function isList(dimension: string): boolean {
  return dimension.startsWith('header:') || dimension.startsWith('claim:')
}

/** Of values that are compared as a whole. */
export function isChoice(dimension: string): boolean {
  return dimension === 'port' || dimension.startsWith('place.') || dimension.startsWith('label:')
}

function onlyIn(holds: ReadonlySet<number>, ids: ReadonlySet<number>): ReadonlySet<number> {
  return new Set([...holds].filter(id => ids.has(id)))
}

/** One text, or none where there may be none. */
function singleClasses(question: ClassQuestion, keep: ClassQuestion['keep']): readonly DimensionClass[] {
  const { dimension, focus, others, pathNormalization, budget } = question
  const text = textDimension(dimension, [...focus, ...others], pathNormalization)
  const parts = {
    focus: focus.map(atom => textAtom(text, atom)),
    others: others.map(atom => textAtom(text, atom)),
    keep,
    budget,
  }
  const classes = new Map<string, DimensionClass>()
  for (const { text: value, holds } of textClasses({ domain: text.domain, ...parts }))
    classes.set(keyOf(holds), { value, holds })
  restyle(classes, text, parts)
  for (const value of text.also ?? []) {
    const holds = holdsFor(value, [...parts.focus, ...parts.others])
    if (!classes.has(keyOf(holds)) && keep(onlyIn(holds, new Set(focus.map(({ id }) => id)))))
      classes.set(keyOf(holds), { value, holds })
  }
  if (mayBeAbsent(dimension) && keep(nothing) && !classes.has(''))
    classes.set('', { value: undefined, holds: nothing })
  return [...classes.values()]
}

/** Puts texts that read well where the shortest ones are. */
function restyle(
  classes: Map<string, DimensionClass>,
  text: TextDimension,
  parts: Omit<Parameters<typeof textClasses>[0], 'domain'>,
): void {
  const atoms = [...parts.focus, ...parts.others]
  if (text.familiar !== undefined && atoms.length <= MAX_ATOMS_FOR_STYLE)
    for (const { text: value, holds } of textClasses({ domain: text.familiar, ...parts }))
      classes.set(keyOf(holds), { value, holds })
  for (const value of [...text.readable].reverse()) {
    if (!isIn(text.domain, value)) continue
    const holds = holdsFor(value, atoms)
    if (classes.has(keyOf(holds))) classes.set(keyOf(holds), { value, holds })
  }
}

function holdsFor(value: string, atoms: readonly TextAtom[]): ReadonlySet<number> {
  return new Set(atoms.filter(({ patterns }) => textHolds(patterns, value)).map(({ id }) => id))
}

function isIn({ required, forbidden }: TextDomain, value: string): boolean {
  return (
    required.every(pattern => textHolds([pattern], value)) &&
    !forbidden.some(pattern => textHolds([pattern], value))
  )
}

function mayBeAbsent(dimension: string): boolean {
  return dimension === 'principal' || dimension.startsWith('jwt.')
}

/** An atom holds when one of the values fulfils it: what several values fulfil is the union. */
function listClasses(question: ClassQuestion): readonly DimensionClass[] {
  const { focus, others, budget } = question
  const singles = singleClasses({ ...question, focus: [...focus, ...others], others: [] }, () => true)
  const found = new Map<string, DimensionClass>([['', { value: undefined, holds: nothing }]])
  const queue = [...found.values()]
  for (const one of queue)
    for (const single of singles) {
      budget.spend(1)
      const holds = new Set([...one.holds, ...single.holds])
      const key = keyOf(holds)
      if (found.has(key)) continue
      const values = [...(one.value ?? []), ...(typeof single.value === 'string' ? [single.value] : [])]
      const union = { value: values, holds }
      found.set(key, union)
      queue.push(union)
    }
  return [...found.values()]
}

function choiceClasses({ dimension, focus, others, budget }: ClassQuestion): readonly DimensionClass[] {
  const atoms = [...focus, ...others]
  const byValue = new Map<string, Set<number>>()
  for (const { id, values } of atoms)
    for (const value of values) byValue.set(value, (byValue.get(value) ?? new Set()).add(id))
  budget.spend(byValue.size)
  const classes = new Map<string, DimensionClass>()
  // "Other" comes first: where no atom holds.
  const other = OTHER_VALUES[dimension]?.find(value => !byValue.has(value))
  const value = other ?? freshValue(dimension, byValue)
  if (value !== undefined || dimension !== 'port') classes.set('', { value, holds: nothing })
  for (const [value, holds] of byValue)
    if (!classes.has(keyOf(holds))) classes.set(keyOf(holds), { value, holds })
  return [...classes.values()]
}

/** Of a dimension whose value is always there. */
function freshValue(dimension: string, taken: ReadonlyMap<string, unknown>): string | undefined {
  if (dimension === 'place.namespace' || dimension === 'place.name') {
    let name = 'other'
    while (taken.has(name)) name += '-x'
    return name
  }
  if (dimension === 'port')
    for (let port = 1; port < 65536; port++) if (!taken.has(String(port))) return String(port)
  return undefined
}

const nothing: ReadonlySet<number> = new Set()

function keyOf(holds: ReadonlySet<number>): string {
  return [...holds].sort((a, b) => a - b).join()
}
