// Medians, and ratios of neighbours: the machine drifts, so each round is compared within itself.

export function median(values) {
  const sorted = values.filter(value => !Number.isNaN(value)).sort((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Median over the rounds of `a / b`, each with its neighbour of the same round. */
export function ratio(a, b) {
  if (a === undefined || b === undefined) return Number.NaN
  return median(a.map((value, round) => value / b[round]))
}
