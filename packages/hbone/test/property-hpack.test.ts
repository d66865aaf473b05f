/** HPACK against a model that is as simple as can be: 100,000 random connections, and bytes that mean nothing. */
import { HboneError } from '@ambient/hbone'
import { describe } from 'vitest'
import { encodeHeaders, type Header, HpackDecoder } from '../src/http2/hpack.ts'
import { decodeHuffman } from '../src/http2/huffman.ts'
import { huffman, ModelDecoder, ModelEncoder } from './hpack-model.ts'
import { property, type Random } from './property.ts'

const NAMES = [':status', ':method', ':authority', 'baggage', 'forwarded', 'cookie', 'authorization', 'x', '']
const VALUES = ['200', 'CONNECT', '', 'k8s.cluster.name=a', '/', 'x'.repeat(200), 'y'.repeat(5_000)]

function list(random: Random): Header[] {
  const name = (): string =>
    random.chance(0.8) ? random.pick(NAMES) : random.bytes(random.int(0, 20)).toString('latin1')
  const value = (): string =>
    random.chance(0.6)
      ? random.pick(VALUES.slice(0, random.chance(0.02) ? 7 : 6))
      : random.bytes(random.int(0, 60)).toString('latin1')
  return Array.from({ length: random.int(0, 6) }, () => [name(), value()] as const)
}

/** Cheaper than the matchers of the test runner, and shows both. */
function same(actual: unknown, wanted: unknown, what: string): void {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${what}: ${one} is not ${other}`)
}

/** The code of what it throws; `undefined` when it returns. */
function refusal(run: () => void): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    if (error instanceof HboneError && error.h2Code !== undefined) return error.h2Code
    throw error
  }
}

describe('HPACK', () => {
  property('reads whatever a peer may write, block after block', 30_000, random => {
    const encoder = new ModelEncoder()
    const decoder = new HpackDecoder(1 << 20)
    for (let block = random.int(1, 4); block > 0; block--) {
      const headers = list(random)
      same(decoder.decode(encoder.encode(headers, random)), { headers, tooLarge: false }, 'headers')
      same(decoder.tableSize, encoder.table.size, 'size of the table')
    }
  })

  property('writes what a simple reader reads, and leaves nothing in its table', 20_000, random => {
    const decoder = new ModelDecoder()
    for (let block = random.int(1, 4); block > 0; block--) {
      const headers = list(random)
      same(decoder.decode(encodeHeaders(headers, random.chance(0.2))), headers, 'headers')
      same(decoder.table.entries, [], 'table')
    }
  })

  property(
    'says of a list that is too long that it is, keeps its beginning, and reads the next one',
    10_000,
    random => {
      const limitBytes = random.int(50, 2_000)
      const maxFields = random.int(1, 6)
      const encoder = new ModelEncoder()
      const decoder = new HpackDecoder(limitBytes, maxFields)
      for (let block = 3; block > 0; block--) {
        const headers = list(random)
        const bytes = encoder.encode(headers, random)
        const sizes = headers.map(([name, value]) => name.length + value.length + 32)
        const total = sizes.reduce((sum, size) => sum + size, 0)
        if (total > limitBytes * 16)
          return same(
            refusal(() => decoder.decode(bytes)),
            'ENHANCE_YOUR_CALM',
            'bomb',
          )
        const read = decoder.decode(bytes)
        same(read.tooLarge, total > limitBytes || headers.length > maxFields, 'too large')
        same(read.headers, headers.slice(0, read.headers.length), 'beginning')
        if (!read.tooLarge) same(read.headers.length, headers.length, 'all')
      }
    },
  )

  property('takes any bytes for a list or for a compression error', 20_000, random => {
    const decoder = new HpackDecoder(16_384)
    for (let block = random.int(1, 3); block > 0; block--) {
      const code = refusal(() => decoder.decode(random.bytes(random.int(0, 60))))
      if (code !== undefined) return same(code, 'COMPRESSION_ERROR', 'code')
    }
  })

  property('takes a good block with a bit flipped, cut or spliced likewise', 10_000, random => {
    const encoder = new ModelEncoder()
    const decoder = new HpackDecoder(1 << 20)
    for (let block = random.int(1, 3); block > 0; block--) {
      const bytes = encoder.encode(list(random), random)
      const at = random.int(0, Math.max(0, bytes.length - 1))
      if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(0, 7))
      const damaged = random.chance(0.5) ? bytes : Buffer.concat([bytes.subarray(0, at), random.bytes(3)])
      const code = refusal(() => decoder.decode(damaged))
      if (code !== undefined) return same(code, 'COMPRESSION_ERROR', 'code')
    }
  })

  property('reads every Huffman string, and refuses what no encoder writes', 10_000, random => {
    const text = random.bytes(random.int(0, 40)).toString('latin1')
    const bytes = huffman(text)
    same(decodeHuffman(bytes), text, 'text')
    const longer = Buffer.concat([bytes, Buffer.of(0xff)])
    same(
      refusal(() => decodeHuffman(longer)),
      'COMPRESSION_ERROR',
      'a byte of padding',
    )
    const other = random.bytes(random.int(1, 8))
    const code = refusal(() => {
      // One way to write a string: what is read must be written the same.
      if (!huffman(decodeHuffman(other)).equals(other)) throw new Error('another encoding was taken')
    })
    if (code !== undefined) same(code, 'COMPRESSION_ERROR', 'code')
  })
})
