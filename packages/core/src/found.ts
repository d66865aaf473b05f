/** What was found where an option was expected, for error messages. */

/** Of objects their shape only, and nothing of a long text: it may be a key. */
export function wordsFor(value: unknown): string {
  if (typeof value === 'string')
    return value.length <= 100 && !value.includes('\n')
      ? JSON.stringify(value)
      : `a text of ${value.length} characters`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value !== 'object' || value === null) return String(value)
  const names = Object.keys(value).slice(0, 5)
  return names.length === 0 ? 'an object' : `an object with ${names.join(', ')}`
}
