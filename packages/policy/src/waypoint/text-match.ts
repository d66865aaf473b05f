/** Istio's string forms: exact, `prefix*`, `*suffix`, `*`. Each match is linear in the text. */

export type TextTest = (text: string) => boolean

export interface TextForms {
  /** What `*` takes: `present` any value, `not-empty` at least one character. */
  readonly star: 'present' | 'not-empty'
}

/** Whether a text is one of the values. A leading star is looked at first: `*a*` is the suffix `a*`. */
export function textTest(values: readonly string[], forms: TextForms): TextTest {
  const [only] = values
  // Most ask for one value: a set for each would be most of what policies weigh.
  if (only !== undefined && values.length === 1) return valueTest(only, forms)
  const exact = values.filter(value => !value.startsWith('*') && !value.endsWith('*'))
  const others = values.filter(value => value.startsWith('*') || value.endsWith('*'))
  const isExact = isOneOf(exact)
  return others.length === 0
    ? isExact
    : orOne(
        isExact,
        others.map(value => valueTest(value, forms)),
      )
}

/** Few are walked: a set weighs more than they do. */
export function isOneOf(values: readonly string[]): TextTest {
  if (values.length <= MAX_WALKED) return text => values.includes(text)
  const set = new Set(values)
  return text => set.has(text)
}

const MAX_WALKED = 8

function orOne(first: TextTest, others: readonly TextTest[]): TextTest {
  return text => {
    if (first(text)) return true
    for (const test of others) if (test(text)) return true
    return false
  }
}

function valueTest(value: string, { star }: TextForms): TextTest {
  if (value === '*') return star === 'present' ? isAny : isNotEmpty
  if (value.startsWith('*')) return endsWith(value.slice(1))
  return value.endsWith('*') ? beginsWith(value.slice(0, -1)) : equals(value)
}

function isAny(): boolean {
  return true
}

function isNotEmpty(text: string): boolean {
  return text !== ''
}

function equals(wanted: string): TextTest {
  return text => text === wanted
}

function beginsWith(wanted: string): TextTest {
  return text => text.startsWith(wanted)
}

function endsWith(wanted: string): TextTest {
  return text => text.endsWith(wanted)
}

/** A pattern in which each `*` is any text, empty too. Takes the leftmost place of each part: never goes back. */
export function globTest(pattern: string): TextTest {
  const parts = pattern.split('*')
  const first = parts[0] ?? ''
  if (parts.length === 1) return text => text === first
  const last = parts[parts.length - 1] ?? ''
  const middle = parts.slice(1, -1).filter(part => part !== '')
  return text => {
    if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last))
      return false
    const end = text.length - last.length
    let from = first.length
    for (const part of middle) {
      const at = text.indexOf(part, from)
      if (at < 0 || at + part.length > end) return false
      from = at + part.length
    }
    return true
  }
}
