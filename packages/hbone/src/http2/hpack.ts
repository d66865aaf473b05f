/**
 * HPACK (RFC 7541). The decoder has everything; the encoder uses the static table and literals without indexing, so it
 * keeps no state and no length of its output tells anything about earlier headers.
 */
import { violation } from './codes.ts'
import { decodeHuffman } from './huffman.ts'
import { STATIC_TABLE } from './static-table.ts'

export type Header = readonly [name: string, value: string]
export type HeaderList = readonly Header[]

/** Overhead of one entry (§4.1). */
const ENTRY_BYTES = 32
/** The table we offer: HTTP/2's default, so SETTINGS_HEADER_TABLE_SIZE is never sent. */
const TABLE_BYTES = 4_096
/** Decoding goes on past the limit, to keep the table right, but a bomb of references ends here. */
const BOMB_FACTOR = 16
/** Never to be put into a table by anyone on the way (§6.2.3). */
const SECRET = new Set(['authorization', 'proxy-authorization', 'cookie', 'set-cookie'])

export interface DecodedHeaders {
  readonly headers: Header[]
  /** The list was longer than the limit; `headers` holds its beginning. */
  readonly tooLarge: boolean
}

export class HpackDecoder {
  readonly #limit: number
  readonly #maxFields: number
  /** Newest last; index 62 is the last element. */
  readonly #entries: Header[] = []
  #size = 0
  #maxSize = TABLE_BYTES
  #bytes: Uint8Array = new Uint8Array(0)
  #at = 0

  /** `limitBytes`: longest header list to return, by RFC 9113's count; `maxFields`: most fields of one. */
  constructor(limitBytes: number, maxFields: number = limitBytes) {
    this.#limit = limitBytes
    this.#maxFields = maxFields
  }

  /** Bytes of the dynamic table, for tests. */
  get tableSize(): number {
    return this.#size
  }

  /** @throws HboneError COMPRESSION_ERROR, or ENHANCE_YOUR_CALM for a bomb. */
  decode(block: Uint8Array): DecodedHeaders {
    this.#bytes = block
    this.#at = 0
    const headers: Header[] = []
    let total = 0
    let fields = 0
    let updatesAllowed = true
    while (this.#at < block.length) {
      const first = block[this.#at] ?? 0
      if ((first & 0xe0) === 0x20) {
        if (!updatesAllowed) throw violation('COMPRESSION_ERROR', 'table size update after a header')
        this.#resize(this.#integer(5))
        continue
      }
      updatesAllowed = false
      const header = this.#field(first)
      total += header[0].length + header[1].length + ENTRY_BYTES
      fields++
      if (total <= this.#limit && fields <= this.#maxFields) headers.push(header)
      else if (total > this.#limit * BOMB_FACTOR)
        throw violation('ENHANCE_YOUR_CALM', `header list is longer than ${BOMB_FACTOR} times its limit`)
    }
    this.#bytes = new Uint8Array(0)
    return { headers, tooLarge: total > this.#limit || fields > this.#maxFields }
  }

  #field(first: number): Header {
    if ((first & 0x80) !== 0) return this.#lookup(this.#integer(7))
    const indexed = (first & 0x40) !== 0
    const nameIndex = this.#integer(indexed ? 6 : 4)
    const name = nameIndex === 0 ? this.#string() : this.#lookup(nameIndex)[0]
    const header: Header = [name, this.#string()]
    if (indexed) this.#insert(header)
    return header
  }

  #lookup(index: number): Header {
    const header =
      STATIC_TABLE[index - 1] ?? this.#entries[this.#entries.length - (index - STATIC_TABLE.length)]
    if (index === 0 || header === undefined)
      throw violation('COMPRESSION_ERROR', `header index ${index} is not in the table`)
    return header
  }

  #insert(header: Header): void {
    const size = header[0].length + header[1].length + ENTRY_BYTES
    this.#evict(this.#maxSize - size)
    if (size > this.#maxSize) return
    this.#entries.push(header)
    this.#size += size
  }

  #resize(size: number): void {
    if (size > TABLE_BYTES) throw violation('COMPRESSION_ERROR', `table size ${size} is above ${TABLE_BYTES}`)
    this.#maxSize = size
    this.#evict(size)
  }

  #evict(target: number): void {
    while (this.#size > Math.max(0, target)) {
      const oldest = this.#entries.shift()
      if (oldest === undefined) break
      this.#size -= oldest[0].length + oldest[1].length + ENTRY_BYTES
    }
  }

  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1
    let value = (this.#next() & mask) >>> 0
    if (value < mask) return value
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#next()
      value += (byte & 0x7f) << shift
      if ((byte & 0x80) === 0) return value
    }
    throw violation('COMPRESSION_ERROR', 'integer is too large')
  }

  #string(): string {
    const huffman = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0
    const length = this.#integer(7)
    const end = this.#at + length
    if (end > this.#bytes.length)
      throw violation('COMPRESSION_ERROR', 'string is longer than the header block')
    const bytes = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return huffman ? decodeHuffman(bytes) : latin1(bytes)
  }

  #next(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw violation('COMPRESSION_ERROR', 'header block ends inside a field')
    this.#at++
    return byte
  }
}

/** One byte per character; headers are bytes, and what they mean is the reader's business. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/**
 * The header block of a list. Names must be lower case; characters above U+00FF become `?`.
 * `tableUpdate` puts "the table has size 0" in front, which answers a peer that changed SETTINGS_HEADER_TABLE_SIZE.
 */
export function encodeHeaders(list: HeaderList, tableUpdate = false): Buffer {
  let bound = 1
  for (const [name, value] of list) bound += name.length + value.length + 12
  const out = Buffer.allocUnsafe(bound)
  let at = 0
  if (tableUpdate) out[at++] = 0x20
  for (const [name, value] of list) {
    const whole = wholeIndex(name, value)
    if (whole !== undefined) {
      at = writeInteger(out, at, 0x80, 7, whole)
      continue
    }
    const nameIndex = nameIndexes().get(name) ?? 0
    at = writeInteger(out, at, SECRET.has(name) ? 0x10 : 0, 4, nameIndex)
    if (nameIndex === 0) at = writeString(out, at, name)
    at = writeString(out, at, value)
  }
  return out.subarray(0, at)
}

function writeInteger(out: Buffer, at: number, flags: number, prefixBits: number, value: number): number {
  const mask = (1 << prefixBits) - 1
  let next = at
  if (value < mask) {
    out[next++] = flags | value
    return next
  }
  out[next++] = flags | mask
  let rest = value - mask
  while (rest >= 0x80) {
    out[next++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  out[next++] = rest
  return next
}

function writeString(out: Buffer, at: number, text: string): number {
  const next = writeInteger(out, at, 0, 7, text.length)
  return (
    next +
    out.write(/[^\u0000-\u00ff]/.test(text) ? text.replace(/[^\u0000-\u00ff]/g, '?') : text, next, 'latin1')
  )
}

let names: Map<string, number> | undefined

function nameIndexes(): Map<string, number> {
  if (names === undefined) {
    names = new Map()
    for (const [index, [name]] of STATIC_TABLE.entries()) if (!names.has(name)) names.set(name, index + 1)
  }
  return names
}

/** Index of a static entry that has this value as well. Only what tunnels say is worth looking for. */
function wholeIndex(name: string, value: string): number | undefined {
  if (name !== ':status') return undefined
  const index = STATIC_TABLE.findIndex(entry => entry[0] === name && entry[1] === value)
  return index < 0 ? undefined : index + 1
}
