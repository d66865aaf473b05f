/**
 * Sets of texts as rows of characters, each once or any number of times: what every string form of a policy is. The
 * automata of `text-automaton.ts` run over them.
 */

/** Characters that an element takes. Equal sets are the same object. */
export interface CharSet {
  has(char: string): boolean
  /** Every character, whatever it is. */
  readonly any: boolean
  /** The characters it names, for the alphabet; empty for a class. */
  readonly named: readonly string[]
}

export interface PatternElement {
  readonly chars: CharSet
  /** Any number of them, none too. */
  readonly star: boolean
}

export type TextPattern = readonly PatternElement[]

const named = new Map<string, CharSet>()

export const anyChar: CharSet = Object.freeze({ has: () => true, any: true, named: [] })
export const trustDomainChar = charClass(/[a-z0-9._-]/)
export const spiffeSegmentChar = charClass(/[A-Za-z0-9._-]/)
export const spiffePathChar = charClass(/[A-Za-z0-9._/-]/)
/** What an operator of a path template takes: one segment, and several. */
export const templateSegmentChar = charClass(/[A-Za-z0-9\-._~%!$&'()*+,;:@=]/)
export const templateSegmentsChar = charClass(/[A-Za-z0-9\-._~%!$&'()*+,;:@=/]/)

export function charClass(form: RegExp): CharSet {
  return Object.freeze({ has: (char: string) => form.test(char), any: false, named: [] })
}

export function charsOf(text: string): CharSet {
  const known = named.get(text)
  if (known !== undefined) return known
  const chars = [...text]
  const set = Object.freeze({ has: (char: string) => chars.includes(char), any: false, named: chars })
  named.set(text, set)
  return set
}

export const one = (chars: CharSet): PatternElement => ({ chars, star: false })
export const many = (chars: CharSet): PatternElement => ({ chars, star: true })
export const anything: TextPattern = Object.freeze([many(anyChar)])
export const somethingOf = (chars: CharSet): TextPattern => [one(chars), many(chars)]

export function literal(text: string, caseless = false): TextPattern {
  return [...text].map(char => one(charsOf(caseless ? bothCases(char) : char)))
}

export interface TextForm {
  /** What `*` alone takes: any text, or any but the empty one. */
  readonly star: 'present' | 'not-empty'
  /** What a star stands for; every character when absent. */
  readonly chars?: CharSet
  /** ASCII letters of either case are equal. */
  readonly caseless?: boolean
}

/** Istio's string forms: a leading star is looked at first, so `*a*` is the suffix `a*`. */
export function istioText(value: string, form: TextForm): TextPattern {
  const { star, chars = anyChar, caseless = false } = form
  if (value === '*') return star === 'present' ? [many(chars)] : somethingOf(chars)
  if (value.startsWith('*')) return [many(chars), ...literal(value.slice(1), caseless)]
  if (value.endsWith('*')) return [...literal(value.slice(0, -1), caseless), many(chars)]
  return literal(value, caseless)
}

/** Each star is any text, empty too. */
export function globText(pattern: string): TextPattern {
  return pattern
    .split('*')
    .flatMap((part, index) => (index === 0 ? literal(part) : [many(anyChar), ...literal(part)]))
}

/** `{*}` is one segment, `{**}` any number of them and the last operator. */
export function templateText(template: string): TextPattern {
  const [fixed = '', tail] = template.split('{**}', 2)
  const begin = fixed
    .split('{*}')
    .flatMap((part, index) =>
      index === 0 ? literal(part) : [...somethingOf(templateSegmentChar), ...literal(part)],
    )
  return tail === undefined ? begin : [...begin, many(templateSegmentsChar), ...literal(tail)]
}

/** Only ASCII: folding more would make different hosts equal. */
function bothCases(char: string): string {
  return /[A-Za-z]/.test(char) ? char.toLowerCase() + char.toUpperCase() : char
}
