/**
 * IP addresses and CIDRs as canonical text: IPv4-mapped IPv6 becomes IPv4, IPv6 is compressed and lower case, IPv4
 * with leading zeros or fewer than four parts is refused (inet_aton's readings of `010.0.0.1` differ between hosts).
 */
import { CoreError } from './errors.ts'

/** A CIDR block over canonical addresses. */
export interface Cidr {
  readonly address: string
  readonly prefixLength: number
  readonly bytes: Uint8Array
}

/** 4 or 16 bytes, or `undefined` when the text is not a strict IP literal. IPv4-mapped IPv6 gives 4 bytes. */
export function ipToBytes(text: string): Uint8Array | undefined {
  return text.includes(':') ? unmap(readV6(text)) : readV4(text)
}

/** Canonical text of 4 or 16 bytes, `undefined` for any other length. */
export function ipFromBytes(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join('.')
  if (bytes.length !== 16) return undefined
  const plain = unmap(bytes)
  return plain?.length === 4 ? plain.join('.') : formatV6(bytes)
}

/** Canonical form of an IP literal, `undefined` when it is none. */
export function canonicalIp(text: string): string | undefined {
  const bytes = ipToBytes(text)
  return bytes === undefined ? undefined : ipFromBytes(bytes)
}

export function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1'
}

/**
 * `10.0.0.0/8`, or a bare address as a block of one. Host bits are not masked (as istiod sends them).
 * @throws CoreError `AMBIENT_E_CIDR`
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/')
  const bytes = ipToBytes(slash < 0 ? text : text.slice(0, slash))
  const address = bytes && ipFromBytes(bytes)
  const suffix = slash < 0 ? undefined : text.slice(slash + 1)
  const prefixLength =
    suffix === undefined
      ? (bytes?.length ?? 0) * 8
      : /^(0|[1-9][0-9]{0,2})$/.test(suffix)
        ? Number(suffix)
        : -1
  if (bytes === undefined || address === undefined || prefixLength < 0 || prefixLength > bytes.length * 8) {
    throw new CoreError(
      'AMBIENT_E_CIDR',
      `invalid IP block ${JSON.stringify(text)}: expected an address such as 10.0.0.1 or a CIDR such as 10.0.0.0/8`,
    )
  }
  return { address, prefixLength, bytes }
}

/** Whether an address, as bytes, lies in a block; families never mix. */
export function cidrContains(cidr: Cidr, ip: Uint8Array): boolean {
  if (ip.length !== cidr.bytes.length) return false
  const whole = cidr.prefixLength >> 3
  for (let i = 0; i < whole; i++) if (ip[i] !== cidr.bytes[i]) return false
  const rest = cidr.prefixLength & 7
  if (rest === 0) return true
  const mask = 0xff00 >> rest
  return ((ip[whole] ?? 0) & mask) === ((cidr.bytes[whole] ?? 0) & mask)
}

export function formatCidr(cidr: Cidr): string {
  return `${cidr.address}/${cidr.prefixLength}`
}

function readV4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes = new Uint8Array(4)
  for (const [i, part] of parts.entries()) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined
    bytes[i] = Number(part)
  }
  return bytes
}

function readV6(text: string): Uint8Array | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = readGroups(halves[0] ?? '', halves.length === 1)
  const tail = halves.length === 2 ? readGroups(halves[1] ?? '', true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 16 - head.length - tail.length
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail])
}

/** Dotted IPv4 may stand only at the very end of an address. */
function readGroups(text: string, isLast: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    if (group.includes('.')) {
      const v4 = isLast && i === groups.length - 1 ? readV4(group) : undefined
      if (v4 === undefined) return undefined
      bytes.push(...v4)
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 0xff)
    }
  }
  return bytes
}

function unmap(bytes: Uint8Array | undefined): Uint8Array | undefined {
  if (bytes === undefined || bytes.length !== 16) return bytes
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return bytes
  return bytes[10] === 0xff && bytes[11] === 0xff ? bytes.slice(12) : bytes
}

function formatV6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0))
  const run = longestZeroRun(groups)
  const text = (part: readonly number[]): string => part.map(group => group.toString(16)).join(':')
  if (run.length < 2) return text(groups)
  return `${text(groups.slice(0, run.start))}::${text(groups.slice(run.start + run.length))}`
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  for (let start = 0; start < groups.length; start++) {
    let length = 0
    while (groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
    start += length
  }
  return best
}
