/**
 * HPACK as a table of RFC 7541 reads: an encoder and a decoder that are as simple as can be, to judge the real ones by. The
 * Huffman code stands here in full (appendix B), where the decoder under test derives it from lengths.
 */
import type { Header, HeaderList } from '../src/http2/hpack.ts'
import { STATIC_TABLE } from '../src/http2/static-table.ts'
import type { Random } from './property.ts'

/** Code of each symbol 0–255 and of EOS, hexadecimal. */
const CODES = `
1ff8 7fffd8 fffffe2 fffffe3 fffffe4 fffffe5 fffffe6 fffffe7 fffffe8 ffffea 3ffffffc fffffe9 fffffea
3ffffffd fffffeb fffffec fffffed fffffee fffffef ffffff0 ffffff1 ffffff2 3ffffffe ffffff3 ffffff4
ffffff5 ffffff6 ffffff7 ffffff8 ffffff9 ffffffa ffffffb 14 3f8 3f9 ffa 1ff9 15 f8 7fa 3fa 3fb f9 7fb fa
16 17 18 0 1 2 19 1a 1b 1c 1d 1e 1f 5c fb 7ffc 20 ffb 3fc 1ffa 21 5d 5e 5f 60 61 62 63 64 65 66 67 68 69
6a 6b 6c 6d 6e 6f 70 71 72 fc 73 fd 1ffb 7fff0 1ffc 3ffc 22 7ffd 3 23 4 24 5 25 26 27 6 74 75 28 29 2a 7
2b 76 2c 8 9 2d 77 78 79 7a 7b 7ffe 7fc 3ffd 1ffd ffffffc fffe6 3fffd2 fffe7 fffe8 3fffd3 3fffd4 3fffd5
7fffd9 3fffd6 7fffda 7fffdb 7fffdc 7fffdd 7fffde ffffeb 7fffdf ffffec ffffed 3fffd7 7fffe0 ffffee 7fffe1
7fffe2 7fffe3 7fffe4 1fffdc 3fffd8 7fffe5 3fffd9 7fffe6 7fffe7 ffffef 3fffda 1fffdd fffe9 3fffdb 3fffdc
7fffe8 7fffe9 1fffde 7fffea 3fffdd 3fffde fffff0 1fffdf 3fffdf 7fffeb 7fffec 1fffe0 1fffe1 3fffe0 1fffe2
7fffed 3fffe1 7fffee 7fffef fffea 3fffe2 3fffe3 3fffe4 7ffff0 3fffe5 3fffe6 7ffff1 3ffffe0 3ffffe1 fffeb
7fff1 3fffe7 7ffff2 3fffe8 1ffffec 3ffffe2 3ffffe3 3ffffe4 7ffffde 7ffffdf 3ffffe5 fffff1 1ffffed 7fff2
1fffe3 3ffffe6 7ffffe0 7ffffe1 3ffffe7 7ffffe2 fffff2 1fffe4 1fffe5 3ffffe8 3ffffe9 ffffffd 7ffffe3
7ffffe4 7ffffe5 fffec fffff3 fffed 1fffe6 3fffe9 1fffe7 1fffe8 7ffff3 3fffea 3fffeb 1ffffee 1ffffef
fffff4 fffff5 3ffffea 7ffff4 3ffffeb 7ffffe6 3ffffec 3ffffed 7ffffe7 7ffffe8 7ffffe9 7ffffea 7ffffeb
ffffffe 7ffffec 7ffffed 7ffffee 7ffffef 7fffff0 3ffffee 3fffffff`
/** Its length in bits. */
const BITS = `
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10 10
12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7
7 7 7 7 7 7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 20
22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 22 21 20 22
22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23 26 26 20 19 22 23 22
25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27 20 24 20 21 22 21 21 23 22 22
25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 30`

const words = (text: string): string[] => text.trim().split(/\s+/)
const bitsOf = words(BITS).map(Number)
const codeOf = words(CODES).map((code, symbol) =>
  Number.parseInt(code, 16)
    .toString(2)
    .padStart(bitsOf[symbol] ?? 0, '0'),
)
const symbolOf = new Map(codeOf.map((code, symbol) => [code, symbol]))

export function huffman(text: string): Buffer {
  let bits = ''
  for (const byte of Buffer.from(text, 'latin1')) bits += codeOf[byte]
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1')
  return Buffer.from(bits.match(/.{8}/g)?.map(octet => Number.parseInt(octet, 2)) ?? [])
}

function unhuffman(bytes: Uint8Array): string {
  let code = ''
  const out: number[] = []
  for (const byte of bytes)
    for (const bit of byte.toString(2).padStart(8, '0')) {
      code += bit
      const symbol = symbolOf.get(code)
      if (symbol === undefined) continue
      out.push(symbol)
      code = ''
    }
  return Buffer.from(out).toString('latin1')
}

/** Newest first, as the RFC counts. */
class ModelTable {
  readonly entries: Header[] = []
  max = 4_096

  get size(): number {
    return this.entries.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0)
  }

  add(header: Header): void {
    this.entries.unshift(header)
    this.evict()
  }

  evict(): void {
    while (this.size > this.max) this.entries.pop()
  }

  at(index: number): Header | undefined {
    return [...STATIC_TABLE, ...this.entries][index - 1]
  }
}

/** Chooses any of the representations that the RFC allows. */
export class ModelEncoder {
  readonly table = new ModelTable()

  encode(list: HeaderList, random: Random): Buffer {
    const parts: Buffer[] = []
    if (random.chance(0.1)) parts.push(this.#resize(random))
    for (const header of list) parts.push(this.#field(header, random))
    return Buffer.concat(parts)
  }

  #resize(random: Random): Buffer {
    const sizes = Array.from({ length: random.int(1, 2) }, () => random.pick([0, 32, 100, 1_000, 4_096]))
    for (const size of sizes) {
      this.table.max = size
      this.table.evict()
    }
    return Buffer.concat(sizes.map(size => integer(0x20, 5, size)))
  }

  #field(header: Header, random: Random): Buffer {
    const [name, value] = header
    const known = [...STATIC_TABLE, ...this.table.entries]
    const whole = known
      .map((entry, at) => (entry[0] === name && entry[1] === value ? at + 1 : 0))
      .filter(Boolean)
    if (whole.length > 0 && random.chance(0.7)) return integer(0x80, 7, random.pick(whole))
    const named = known.map((entry, at) => (entry[0] === name ? at + 1 : 0)).filter(Boolean)
    const index = named.length > 0 && random.chance(0.7) ? random.pick(named) : 0
    const form = random.pick(['indexed', 'plain', 'never'] as const)
    const parts = [
      form === 'indexed' ? integer(0x40, 6, index) : integer(form === 'never' ? 0x10 : 0, 4, index),
      ...(index === 0 ? [text(name, random)] : []),
      text(value, random),
    ]
    if (form === 'indexed') this.table.add(header)
    return Buffer.concat(parts)
  }
}

function text(value: string, random: Random): Buffer {
  const coded = random.chance(0.5)
  const bytes = coded ? huffman(value) : Buffer.from(value, 'latin1')
  return Buffer.concat([integer(coded ? 0x80 : 0, 7, bytes.length), bytes])
}

function integer(flags: number, prefix: number, value: number): Buffer {
  const limit = 2 ** prefix - 1
  if (value < limit) return Buffer.of(flags | value)
  const out = [flags | limit]
  let rest = value - limit
  while (rest >= 128) {
    out.push((rest % 128) + 128)
    rest = Math.floor(rest / 128)
  }
  return Buffer.from([...out, rest])
}

/** Reads a good block; nothing else. */
export class ModelDecoder {
  readonly table = new ModelTable()

  decode(block: Uint8Array): Header[] {
    const headers: Header[] = []
    let at = 0
    const read = (prefix: number): number => {
      const limit = 2 ** prefix - 1
      let value = (block[at++] ?? 0) & limit
      if (value < limit) return value
      for (let scale = 1; ; scale *= 128) {
        const byte = block[at++] ?? 0
        value += (byte % 128) * scale
        if (byte < 128) return value
      }
    }
    const string = (): string => {
      const coded = (block[at] ?? 0) >= 128
      const length = read(7)
      const bytes = block.subarray(at, at + length)
      at += length
      return coded ? unhuffman(bytes) : Buffer.from(bytes).toString('latin1')
    }
    while (at < block.length) {
      const first = block[at] ?? 0
      if (first >= 0x80) headers.push(this.table.at(read(7)) ?? ['', 'no such entry'])
      else if (first >= 0x20 && first < 0x40) {
        this.table.max = read(5)
        this.table.evict()
      } else {
        const index = read(first >= 0x40 ? 6 : 4)
        const header: Header = [index === 0 ? string() : (this.table.at(index)?.[0] ?? ''), string()]
        if (first >= 0x40) this.table.add(header)
        headers.push(header)
      }
    }
    return headers
  }
}
