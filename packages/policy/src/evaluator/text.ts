/** Lists and labels in sentences. */

/** More of them would hide what the sentence says. */
const MAX_LISTED = 5

export function listed(items: readonly string[]): string {
  return atMost(items).join(', ')
}

export function atMost(items: readonly string[]): readonly string[] {
  const shown = items.slice(0, MAX_LISTED)
  const more = items.length - shown.length
  return more === 0 ? shown : [...shown, `and ${more} more`]
}

/** `app=web`, as kubectl writes it. */
export function selectorText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}
