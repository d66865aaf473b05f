/** Columns for people. */

/** Rows as aligned text; the first row is the head. Cells must not contain newlines. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length)
  return rows
    .map(row =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map(line => `${line}\n`)
    .join('')
}

const [MINUTE, HOUR, DAY] = [60, 3_600, 86_400]

/** How long ago, as kubectl says it: coarser with age. */
export function formatAge(ageMs: number): string {
  const seconds = Math.max(0, Math.floor(ageMs / 1_000))
  const two = (unit: number, name: string, rest: number, restName: string): string => {
    const remainder = Math.floor((seconds % unit) / rest)
    return `${Math.floor(seconds / unit)}${name}${remainder === 0 ? '' : `${remainder}${restName}`}`
  }
  if (seconds < 2 * MINUTE) return `${seconds}s`
  if (seconds < 10 * MINUTE) return two(MINUTE, 'm', 1, 's')
  if (seconds < 3 * HOUR) return `${Math.floor(seconds / MINUTE)}m`
  if (seconds < 8 * HOUR) return two(HOUR, 'h', MINUTE, 'm')
  if (seconds < 2 * DAY) return `${Math.floor(seconds / HOUR)}h`
  if (seconds < 8 * DAY) return two(DAY, 'd', HOUR, 'h')
  return `${Math.floor(seconds / DAY)}d`
}
