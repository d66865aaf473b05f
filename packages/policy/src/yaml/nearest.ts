/** The known word that somebody probably meant. */

/** The nearest of `words` within a third of its length of edits (case and separators are free), else `undefined`. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const wanted = fold(word)
  let best: string | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of words) {
    const distance = editDistance(wanted, fold(candidate))
    if (distance < bestDistance && distance <= Math.ceil(candidate.length / 3)) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function fold(word: string): string {
  return word.slice(0, 64).toLowerCase().replace(/[-_]/g, '')
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
