/** Decoding of HPACK's Huffman strings (RFC 7541 §5.2, appendix B). We never encode: a tunnel sends few headers. */
import { violation } from './codes.ts'

/**
 * Code length of each symbol 0–255 and of EOS, one base-36 digit each. The code is canonical (by length, then by
 * symbol), so lengths are all there is to say.
 */
const LENGTHS =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca' +
  'd67777777777777777777777878djde6f56565666577666567655677777fbeds' +
  'kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn' +
  'qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq' +
  'u'

const EOS = 256
const MAX_BITS = 30

interface Tables {
  /** Symbols in the order of their codes. */
  readonly symbols: Uint16Array
  /** Per length: the first code of that length, how many there are, where they start in `symbols`. */
  readonly first: Uint32Array
  readonly count: Uint16Array
  readonly start: Uint16Array
  /** First byte → `symbol << 4 | length` for codes of up to 8 bits, 0 otherwise. */
  readonly byte: Uint16Array
}

let tables: Tables | undefined

/** @throws HboneError COMPRESSION_ERROR for EOS inside the string or for wrong padding. */
export function decodeHuffman(bytes: Uint8Array): string {
  tables ??= buildTables()
  const out = Buffer.allocUnsafe(Math.ceil((bytes.length * 8) / 5))
  let size = 0
  let bits = 0
  let held = 0
  let next = 0
  for (;;) {
    while (held <= 16 && next < bytes.length) {
      bits = ((bits << 8) | (bytes[next++] ?? 0)) >>> 0
      held += 8
    }
    const quick = held >= 8 ? (tables.byte[(bits >>> (held - 8)) & 0xff] ?? 0) : 0
    let symbol: number
    let length: number
    if (quick !== 0) {
      symbol = quick >> 4
      length = quick & 15
    } else {
      const slow = findSlow(tables, bits, held, bytes, next)
      if (slow === undefined) break
      symbol = slow.symbol
      length = slow.length
    }
    if (symbol === EOS) throw violation('COMPRESSION_ERROR', 'Huffman string contains EOS')
    out[size++] = symbol
    // A long code may reach past what is held: take the bytes it needs.
    while (held < length) {
      bits = ((bits << 8) | (bytes[next++] ?? 0)) >>> 0
      held += 8
    }
    held -= length
    bits = held === 0 ? 0 : bits & (2 ** held - 1)
  }
  // What is left must be a prefix of EOS (all ones) shorter than a byte.
  if (held >= 8 || next < bytes.length || bits !== 2 ** held - 1)
    throw violation('COMPRESSION_ERROR', 'Huffman string has wrong padding')
  return out.toString('latin1', 0, size)
}

/** Walks the lengths bit by bit; `undefined` when the string ends first. */
function findSlow(
  table: Tables,
  bits: number,
  held: number,
  bytes: Uint8Array,
  next: number,
): { symbol: number; length: number } | undefined {
  let code = 0
  for (let length = 1; length <= MAX_BITS; length++) {
    let bit: number
    if (length <= held) bit = (bits >>> (held - length)) & 1
    else {
      const beyond = length - held - 1
      const byte = bytes[next + (beyond >> 3)]
      if (byte === undefined) return undefined
      bit = (byte >> (7 - (beyond & 7))) & 1
    }
    code = code * 2 + bit
    const offset = code - (table.first[length] ?? 0)
    if (offset >= 0 && offset < (table.count[length] ?? 0))
      return { symbol: table.symbols[(table.start[length] ?? 0) + offset] ?? EOS, length }
  }
  return undefined
}

function buildTables(): Tables {
  const lengths = Array.from(LENGTHS, digit => Number.parseInt(digit, 36))
  const order = lengths.map((length, symbol) => ({ length, symbol }))
  order.sort((a, b) => a.length - b.length || a.symbol - b.symbol)
  const built: Tables = {
    symbols: Uint16Array.from(order, entry => entry.symbol),
    first: new Uint32Array(MAX_BITS + 1),
    count: new Uint16Array(MAX_BITS + 1),
    start: new Uint16Array(MAX_BITS + 1),
    byte: new Uint16Array(256),
  }
  let code = 0
  let last = 0
  for (const [index, { length, symbol }] of order.entries()) {
    code = code * 2 ** (length - last)
    last = length
    if (built.count[length] === 0) {
      built.first[length] = code
      built.start[length] = index
    }
    built.count[length] = (built.count[length] ?? 0) + 1
    if (length <= 8) built.byte.fill((symbol << 4) | length, code << (8 - length), (code + 1) << (8 - length))
    code++
  }
  return built
}
