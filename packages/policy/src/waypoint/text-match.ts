/** Istio's string forms: exact, `prefix*`, `*suffix`, `*`. Each match is linear in the text. */

export type TextTest = (text: string) => boolean

export interface TextForms {
  /** What `*` takes: `present` any value, `not-empty` at least one character. */
  readonly star: 'present' | 'not-empty'
}

/** Whether a text is one of the values. A leading star is looked at first: `*a*` is the suffix `a*`. */
export function textTest(values: readonly string[], { star }: TextForms): TextTest {
  const exact = new Set<string>()
  const prefixes: string[] = []
  const suffixes: string[] = []
  let any = false
  for (const value of values) {
    if (value === '*') any = true
    else if (value.startsWith('*')) suffixes.push(value.slice(1))
    else if (value.endsWith('*')) prefixes.push(value.slice(0, -1))
    else exact.add(value)
  }
  const takesEmpty = star === 'present'
  return text => {
    if (any && (takesEmpty || text !== '')) return true
    if (exact.has(text)) return true
    for (const prefix of prefixes) if (text.startsWith(prefix)) return true
    for (const suffix of suffixes) if (text.endsWith(suffix)) return true
    return false
  }
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
