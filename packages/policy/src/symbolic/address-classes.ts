/** Which combinations of address blocks some address lies in: blocks are intervals, so their ends say everything. */
import { CoreError, cidrContains, ipFromBytes, ipToBytes, parseCidr } from '@ambient/core'
import type { Budget } from './budget.ts'

export interface AddressClass {
  readonly text: string
  readonly holds: ReadonlySet<number>
}

interface AddressAtom {
  readonly id: number
  readonly values: readonly string[]
}

/** Addresses that documentation uses, so that a witness looks like one. */
const READABLE = ['192.0.2.1', '10.0.0.1', '203.0.113.7', '198.51.100.4', '2001:db8::1'] as const

/** IPv4-mapped addresses are IPv4: the first one after them is where IPv6 goes on. */
const AFTER_MAPPED = '::1:0:0:0'

export function addressClasses(atoms: readonly AddressAtom[], budget: Budget): readonly AddressClass[] {
  const blocks = atoms.map(({ id, values }) => ({ id, cidrs: values.flatMap(readCidr) }))
  const candidates = new Set<string>([...READABLE, '0.0.0.0', '::', AFTER_MAPPED])
  for (const { cidrs } of blocks)
    for (const { bytes, prefixLength } of cidrs)
      for (const bound of boundsOf(bytes, prefixLength)) candidates.add(bound)
  const found = new Map<string, AddressClass>()
  for (const text of candidates) {
    budget.spend(1 + (blocks.length >> 4))
    const bytes = ipToBytes(text)
    if (bytes === undefined) continue
    const holds = blocks.filter(({ cidrs }) => cidrs.some(cidr => cidrContains(cidr, bytes)))
    const ids = holds.map(({ id }) => id)
    const key = ids.join()
    if (!found.has(key)) found.set(key, { text, holds: new Set(ids) })
  }
  return [...found.values()]
}

/** The first address of a block and the first one after it: between two such addresses nothing changes. */
function boundsOf(bytes: Uint8Array, prefixLength: number): readonly string[] {
  const first = bytes.map((byte, index) => byte & maskAt(index, prefixLength))
  const after = bytes.map((byte, index) => byte | (0xff & ~maskAt(index, prefixLength)))
  let carry = after.length - 1
  while (carry >= 0 && after[carry] === 0xff) after[carry--] = 0
  if (carry >= 0) after[carry] = (after[carry] ?? 0) + 1
  return [ipFromBytes(first), carry < 0 ? undefined : ipFromBytes(after)].filter(text => text !== undefined)
}

function maskAt(index: number, prefixLength: number): number {
  const bits = Math.min(8, Math.max(0, prefixLength - index * 8))
  return (0xff00 >> bits) & 0xff
}

/** What cannot be read was refused with its rule. */
function readCidr(text: string): readonly ReturnType<typeof parseCidr>[] {
  try {
    return [parseCidr(text)]
  } catch (error) {
    if (error instanceof CoreError) return []
    throw error
  }
}
