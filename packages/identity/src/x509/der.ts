/**
 * A strict DER reader: just enough to see what `node:crypto` hides (key usage, criticality, raw name bytes) and to
 * refuse what OpenSSL forgives (BER lengths, trailing bytes). X.690 §8, §10, §11.
 */
import { IdentityError } from '../errors.ts'

export const tags = Object.freeze({
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
})

/** Tag of `[n]` with a primitive value. */
export const contextTag = (n: number): number => 0x80 | n
/** Tag of `[n]` with elements inside. */
export const constructedTag = (n: number): number => 0xa0 | n

export interface DerElement {
  readonly tag: number
  /** Where the element begins in the reader's bytes. */
  readonly raw: Uint8Array
  readonly content: Uint8Array
}

/** Walks the elements of one level. What it gives are views, not copies. */
export class DerReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** The next element whatever its tag. */
  next(what: string): DerElement {
    const start = this.#at
    const tag = this.#byte(what)
    if ((tag & 0x1f) === 0x1f) throw malformed(`${what}: long tags are not used in certificates`)
    const length = this.#length(what)
    const from = this.#at
    if (from + length > this.#bytes.length) throw malformed(`${what}: cut short`)
    this.#at = from + length
    return {
      tag,
      raw: this.#bytes.subarray(start, this.#at),
      content: this.#bytes.subarray(from, this.#at),
    }
  }

  expect(tag: number, what: string): DerElement {
    const element = this.next(what)
    if (element.tag !== tag)
      throw malformed(`${what}: expected tag 0x${tag.toString(16)}, found 0x${element.tag.toString(16)}`)
    return element
  }

  optional(tag: number, what: string): DerElement | undefined {
    return this.#bytes[this.#at] === tag ? this.expect(tag, what) : undefined
  }

  /** The elements of a constructed one. */
  enter(tag: number, what: string): DerReader {
    return new DerReader(this.expect(tag, what).content)
  }

  end(what: string): void {
    if (!this.done) throw malformed(`${what}: ${this.#bytes.length - this.#at} bytes too many`)
  }

  #byte(what: string): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw malformed(`${what}: missing`)
    this.#at += 1
    return byte
  }

  #length(what: string): number {
    const first = this.#byte(what)
    if (first < 0x80) return first
    const count = first & 0x7f
    if (count === 0 || count > 3) throw malformed(`${what}: length is not DER`)
    let length = 0
    for (let i = 0; i < count; i += 1) length = length * 256 + this.#byte(what)
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw malformed(`${what}: length is not DER`)
    return length
  }
}

export function readBoolean(element: DerElement, what: string): boolean {
  const [value] = element.content
  if (element.content.length !== 1 || (value !== 0 && value !== 0xff))
    throw malformed(`${what}: boolean is not DER`)
  return value === 0xff
}

/** A small non-negative INTEGER. */
export function readSmallInteger(element: DerElement, what: string): number {
  const bytes = readInteger(element, what)
  if (bytes.length > 4 || (bytes[0] ?? 0) >= 0x80) throw malformed(`${what}: integer out of range`)
  return bytes.reduce((value, byte) => value * 256 + byte, 0)
}

/** The two's-complement bytes of an INTEGER. */
export function readInteger(element: DerElement, what: string): Uint8Array {
  const [first, second] = element.content
  if (first === undefined) throw malformed(`${what}: integer is empty`)
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
    throw malformed(`${what}: integer is not DER`)
  return element.content
}

/** The bytes of a BIT STRING and how many bits of the last byte count for nothing. */
export function readBitString(
  element: DerElement,
  what: string,
): { readonly bytes: Uint8Array; readonly unused: number } {
  const [unused] = element.content
  if (unused === undefined || unused > 7) throw malformed(`${what}: bit string is not DER`)
  const bytes = element.content.subarray(1)
  const last = bytes[bytes.length - 1] ?? 0
  if ((bytes.length === 0 && unused > 0) || (last & ((1 << unused) - 1)) !== 0)
    throw malformed(`${what}: bit string is not DER`)
  return { bytes, unused }
}

/** A BIT STRING of whole bytes, as signatures are. */
export function readWholeBytes(element: DerElement, what: string): Uint8Array {
  const { bytes, unused } = readBitString(element, what)
  if (unused !== 0) throw malformed(`${what}: not whole bytes`)
  return bytes
}

/** Dotted text of an OBJECT IDENTIFIER. */
export function readOid(element: DerElement, what: string): string {
  const arcs: number[] = []
  let arc = 0
  let begun = false
  for (const byte of element.content) {
    if (!begun && byte === 0x80) throw malformed(`${what}: object identifier is not DER`)
    arc = arc * 128 + (byte & 0x7f)
    if (arc > Number.MAX_SAFE_INTEGER / 128) throw malformed(`${what}: object identifier is too long`)
    begun = byte >= 0x80
    if (begun) continue
    if (arcs.length === 0)
      arcs.push(Math.min(2, Math.floor(arc / 40)), arc - 40 * Math.min(2, Math.floor(arc / 40)))
    else arcs.push(arc)
    arc = 0
  }
  if (begun || arcs.length === 0) throw malformed(`${what}: object identifier is cut short`)
  return arcs.join('.')
}

/** Milliseconds since the epoch of a UTCTime or GeneralizedTime in the forms of RFC 5280 §4.1.2.5. */
export function readTime(element: DerElement, what: string): number {
  const text = Buffer.from(element.content).toString('latin1')
  const match =
    element.tag === tags.utcTime
      ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text)
      : element.tag === tags.generalizedTime
        ? /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text)
        : null
  if (match === null) throw malformed(`${what}: not a time of RFC 5280`)
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number)
  const fullYear = element.tag === tags.utcTime ? (year < 50 ? 2000 + year : 1900 + year) : year
  const time = new Date(0)
  time.setUTCFullYear(fullYear, month - 1, day)
  time.setUTCHours(hour, minute, second)
  const same = time.getUTCMonth() === month - 1 && time.getUTCDate() === day && time.getUTCHours() === hour
  if (!same || minute > 59 || second > 59) throw malformed(`${what}: no such time`)
  return time.getTime()
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

function malformed(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_CERTIFICATE', message, { layer: 'identity' })
}
