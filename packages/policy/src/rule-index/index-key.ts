/** What a rule asks for, in the words of an index: of which attribute, in which form, and the value. */
import type { Cidr } from '@ambient/core'

export type IndexKey =
  | { readonly of: string; readonly form: 'exact'; readonly value: string | number }
  | { readonly of: string; readonly form: 'prefix' | 'suffix'; readonly value: string }
  | { readonly of: string; readonly form: 'block'; readonly value: Cidr }

/** The rule holds only where one of these keys does. Empty: it never holds. */
export type Narrowing = readonly IndexKey[]

/**
 * A part of a rule whose alternatives are or-ed. Of each alternative every narrowing is true, so that one of them is
 * enough to file it; an alternative without any makes the part useless for finding the rule.
 */
export type NarrowedClause = readonly (readonly Narrowing[])[]

/** Istio's forms of a text as keys; `undefined` when one of them is met by nearly every text. */
export function textKeys(of: string, values: readonly string[]): Narrowing | undefined {
  const keys: IndexKey[] = []
  for (const value of values) {
    if (value === '*') return undefined
    if (value.startsWith('*')) keys.push({ of, form: 'suffix', value: value.slice(1) })
    else if (value.endsWith('*')) keys.push({ of, form: 'prefix', value: value.slice(0, -1) })
    else keys.push({ of, form: 'exact', value })
  }
  return keys
}
