/** What was worked out for a key and may be asked again. */

/** Forgets all of it when more than `max` keys were asked: simple, and never wrong. */
export function keep<K, V>(max: number, make: (key: K, text: string) => V): (key: K, text: string) => V {
  const known = new Map<string, V>()
  return (key, text) => {
    const found = known.get(text)
    if (found !== undefined) return found
    if (known.size >= max) known.clear()
    const made = make(key, text)
    known.set(text, made)
    return made
  }
}
