/** Header edits of routes and destinations. */
import type { HeaderModifier } from '@ambient/discovery'
import type { HeaderFields } from '../http/header-fields.ts'
import { type HeaderEdits, noEdits } from './ir.ts'

/** Removes, sets, adds, in this order. Pseudo-headers and `host` stay as they are: `authorityFrom` reads them. */
export function applyHeaderEdits(headers: HeaderFields, edits: HeaderEdits): void {
  for (const name of edits.remove) if (!isHost(name)) headers.delete(name)
  for (const [name, value] of edits.set) if (!isHost(name)) headers.set(name, value)
  for (const [name, value] of edits.add) if (!isHost(name)) headers.add(name, value)
}

/** The authority that a request's edits ask for. */
export function authorityFrom(edits: HeaderEdits): string | undefined {
  const named = ([name]: readonly [string, string]): boolean => name === 'host' || name === ':authority'
  return (edits.set.find(named) ?? edits.add.find(named))?.[1]
}

/** What discovery read, as the switchboard wants it. */
export function editsOf(modifier: HeaderModifier): HeaderEdits {
  const { set, add, remove } = modifier
  return set.length + add.length + remove.length === 0 ? noEdits : { set, add, remove }
}

export function hasEdits({ set, add, remove }: HeaderEdits): boolean {
  return set.length + add.length + remove.length > 0
}

function isHost(name: string): boolean {
  return name === 'host' || name.startsWith(':')
}
