/**
 * Boolean formulas over atoms, each built once: equal formulas are the same object, so that two sides of a comparison
 * are seen to be equal without looking inside.
 */

/** A question about one dimension: whether its value is one of a set. */
export interface Atom {
  readonly id: number
  readonly dimension: string
  /** How the values are meant; the dimension knows the forms. */
  readonly form: string
  readonly values: readonly string[]
}

export type Formula =
  | {
      readonly kind: 'constant'
      readonly id: number
      readonly value: boolean
      readonly atoms: readonly Atom[]
    }
  | { readonly kind: 'atom'; readonly id: number; readonly atom: Atom; readonly atoms: readonly Atom[] }
  | {
      readonly kind: 'and' | 'or'
      readonly id: number
      readonly parts: readonly Formula[]
      readonly atoms: readonly Atom[]
    }
  | { readonly kind: 'not'; readonly id: number; readonly part: Formula; readonly atoms: readonly Atom[] }

const noAtoms: readonly Atom[] = Object.freeze([])

export class Formulas {
  readonly always: Formula = { kind: 'constant', id: 0, value: true, atoms: noAtoms }
  readonly never: Formula = { kind: 'constant', id: 1, value: false, atoms: noAtoms }
  readonly #known = new Map<string, Formula>()
  readonly #atoms = new Map<string, Atom>()
  readonly #sees: boolean
  #next = 2

  /** @param sees whether a formula and its opposite together are seen to be nothing; else the search finds it. */
  constructor(sees = true) {
    this.#sees = sees
  }

  /** Of no values: never. */
  atom(dimension: string, form: string, values: readonly string[]): Formula {
    if (values.length === 0) return this.never
    const sorted = [...new Set(values)].sort()
    const key = JSON.stringify([dimension, form, sorted])
    const atom = this.#atoms.get(key) ?? { id: this.#atoms.size, dimension, form, values: sorted }
    this.#atoms.set(key, atom)
    return this.#intern(`a${atom.id}`, id => ({ kind: 'atom', id, atom, atoms: [atom] }))
  }

  not(part: Formula): Formula {
    if (part.kind === 'constant') return part.value ? this.never : this.always
    if (part.kind === 'not') return part.part
    return this.#intern(`n${part.id}`, id => ({ kind: 'not', id, part, atoms: part.atoms }))
  }

  and(parts: readonly Formula[]): Formula {
    return this.#join('and', parts)
  }

  or(parts: readonly Formula[]): Formula {
    return this.#join('or', parts)
  }

  /** What is left of a formula when the atoms of one dimension are known. */
  assign(
    formula: Formula,
    dimension: string,
    holds: ReadonlySet<number>,
    done: Map<Formula, Formula>,
  ): Formula {
    if (!formula.atoms.some(atom => atom.dimension === dimension)) return formula
    const known = done.get(formula)
    if (known !== undefined) return known
    const rest = this.#assign(formula, dimension, holds, done)
    done.set(formula, rest)
    return rest
  }

  #assign(
    formula: Formula,
    dimension: string,
    holds: ReadonlySet<number>,
    done: Map<Formula, Formula>,
  ): Formula {
    switch (formula.kind) {
      case 'constant':
        return formula
      case 'atom':
        return holds.has(formula.atom.id) ? this.always : this.never
      case 'not':
        return this.not(this.assign(formula.part, dimension, holds, done))
      default:
        return this.#join(
          formula.kind,
          formula.parts.map(part => this.assign(part, dimension, holds, done)),
        )
    }
  }

  #join(kind: 'and' | 'or', parts: readonly Formula[]): Formula {
    const absorbing = kind === 'and' ? this.never : this.always
    const neutral = kind === 'and' ? this.always : this.never
    const all = new Map<number, Formula>()
    for (const part of parts) {
      if (part === absorbing) return absorbing
      if (part === neutral) continue
      for (const one of part.kind === kind ? part.parts : [part]) all.set(one.id, one)
    }
    if (this.#sees && holdsOpposites(all)) return absorbing
    const sorted = [...all.values()].sort((a, b) => a.id - b.id)
    const [only] = sorted
    if (only === undefined) return neutral
    if (sorted.length === 1) return only
    return this.#intern(`${kind}${sorted.map(({ id }) => id).join()}`, id => ({
      kind,
      id,
      parts: sorted,
      atoms: [...new Set(sorted.flatMap(({ atoms }) => atoms))],
    }))
  }

  #intern(key: string, make: (id: number) => Formula): Formula {
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const made = make(this.#next++)
    this.#known.set(key, made)
    return made
  }
}

function holdsOpposites(parts: ReadonlyMap<number, Formula>): boolean {
  for (const part of parts.values()) if (part.kind === 'not' && parts.has(part.part.id)) return true
  return false
}
