/** Lists of rules in the order in which they are asked. */

/** Negative when the first is asked before the second. Never zero for two rules. */
export type Order<R> = (a: R, b: R) => number

export function insertSorted<R>(list: R[], rule: R, order: Order<R>): void {
  const last = list[list.length - 1]
  // Sorted loads append.
  if (last === undefined || order(last, rule) < 0) list.push(rule)
  else list.splice(placeOf(list, rule, order), 0, rule)
}

export function removeSorted<R>(list: R[], rule: R, order: Order<R>): boolean {
  const place = placeOf(list, rule, order)
  if (list[place] !== rule) return false
  list.splice(place, 1)
  return true
}

function placeOf<R>(list: readonly R[], rule: R, order: Order<R>): number {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const at = list[middle]
    if (at !== undefined && order(at, rule) < 0) low = middle + 1
    else high = middle
  }
  return low
}
