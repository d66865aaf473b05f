/** Which combinations of address blocks some address lies in: blocks are intervals, so their ends say everything. */
import { ipFromBytes, ipToBytes } from '@ambient/core'
import type { Budget } from './budget.ts'
import { readCidr } from '../engine/read-cidr.ts'

export interface AddressClass {
  /** `undefined`: no address, which is in no block. A waypoint of Istio's does not know the caller's. */
  readonly text: string | undefined
  readonly holds: ReadonlySet<number>
}

interface AddressAtom {
  readonly id: number
  readonly values: readonly string[]
}

/** Addresses that documentation uses, so that a witness looks like one. */
const READABLE = ['192.0.2.1', '10.0.0.1', '203.0.113.7', '198.51.100.4', '2001:db8::1'] as const

/** In lists of blocks, by halves. */
const LOOKS_OF_A_STEP = 64

/** IPv4-mapped addresses are IPv4: the first one after them is where IPv6 goes on. */
const AFTER_MAPPED = '::1:0:0:0'

export function addressClasses(atoms: readonly AddressAtom[], budget: Budget): readonly AddressClass[] {
  const blocks = atoms.map(({ id, values }) => {
    budget.spend(values.length >> 2)
    return { id, spans: joined(values.flatMap(readSpan)) }
  })
  const candidates = new Set<string>([...READABLE, '0.0.0.0', '::', AFTER_MAPPED].map(keyOfText))
  for (const { spans } of blocks)
    for (const { first, after } of spans) for (const bound of [first, after]) candidates.add(bound)
  budget.spend(Math.ceil((candidates.size * (16 + blocks.length)) / LOOKS_OF_A_STEP))
  const found = new Map<string, AddressClass>()
  for (const key of candidates) {
    const text = textOfKey(key)
    if (text === undefined) continue
    const ids = blocks.flatMap(({ id, spans }) => (isIn(spans, key) ? [id] : []))
    const name = ids.join()
    if (!found.has(name)) found.set(name, { text, holds: new Set(ids) })
  }
  if (!found.has('')) found.set('', { text: undefined, holds: new Set() })
  return [...found.values()]
}

/** An address as hexadecimal digits behind its family: in order as text. */
type AddressKey = string

/** From one address to before another one. Between two such bounds nothing changes. */
interface Span {
  readonly first: AddressKey
  readonly after: AddressKey
}

function keyOfBytes(bytes: Uint8Array): AddressKey {
  const digits = [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('')
  return `${bytes.length === 4 ? 4 : 6}:${digits}`
}

function keyOfText(text: string): AddressKey {
  return keyOfBytes(ipToBytes(text) ?? new Uint8Array())
}

/** `undefined` behind the last address, and where IPv6 has the addresses of IPv4. */
function textOfKey(key: AddressKey): string | undefined {
  const digits = key.slice(2).match(/../g)
  const text = digits && ipFromBytes(Uint8Array.from(digits, byte => Number.parseInt(byte, 16)))
  return text?.includes(':') === key.startsWith('6') ? text : undefined
}

/** In order, and none of them touches another one. */
function joined(spans: readonly Span[]): readonly Span[] {
  const result: Span[] = []
  for (const span of [...spans].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const last = result.at(-1)
    if (last === undefined || last.after < span.first) result.push(span)
    else if (last.after < span.after) result[result.length - 1] = { ...last, after: span.after }
  }
  return result
}

function isIn(spans: readonly Span[], key: AddressKey): boolean {
  let [low, high] = [0, spans.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const span = spans[middle]
    if (span !== undefined && span.first <= key) low = middle + 1
    else high = middle
  }
  const span = spans[low - 1]
  return span !== undefined && key < span.after
}

/** The first address of a block and the first one after it. What cannot be read was refused with its rule. */
function readSpan(text: string): readonly Span[] {
  const cidr = readCidr(text)
  if (cidr === undefined) return []
  const { bytes, prefixLength } = cidr
  const first = bytes.map((byte, index) => byte & maskAt(index, prefixLength))
  const after = bytes.map((byte, index) => byte | (0xff & ~maskAt(index, prefixLength)))
  let carry = after.length - 1
  while (carry >= 0 && after[carry] === 0xff) after[carry--] = 0
  if (carry >= 0) after[carry] = (after[carry] ?? 0) + 1
  // Behind the last address of its family comes no other one.
  return [
    { first: keyOfBytes(first), after: carry < 0 ? `${keyOfBytes(first).slice(0, 2)}~` : keyOfBytes(after) },
  ]
}

function maskAt(index: number, prefixLength: number): number {
  const bits = Math.min(8, Math.max(0, prefixLength - index * 8))
  return (0xff00 >> bits) & 0xff
}
