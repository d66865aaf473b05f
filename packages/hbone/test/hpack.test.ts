/** HPACK against the examples of RFC 7541 appendix C, against nghttp2's encoder, and against what attackers send. */
import { connect } from 'node:http2'
import { Duplex } from 'node:stream'
import { HboneError } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { encodeHeaders, type Header, HpackDecoder } from '../src/http2/hpack.ts'
import { decodeHuffman } from '../src/http2/huffman.ts'
import { seededRandom } from './random.ts'

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s+/g, ''), 'hex')

const request1: Header[] = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'www.example.com'],
]
const request2: Header[] = [...request1, ['cache-control', 'no-cache']]
const request3: Header[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/index.html'],
  [':authority', 'www.example.com'],
  ['custom-key', 'custom-value'],
]
const response1: Header[] = [
  [':status', '302'],
  ['cache-control', 'private'],
  ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
  ['location', 'https://www.example.com'],
]
const response2: Header[] = [[':status', '307'], ...response1.slice(1)]
const response3: Header[] = [
  [':status', '200'],
  ['cache-control', 'private'],
  ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
  ['location', 'https://www.example.com'],
  ['content-encoding', 'gzip'],
  ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
]

/** Blocks of one connection in order: bytes, the list they mean, the size of the dynamic table afterwards. */
const sequences: Readonly<Record<string, readonly (readonly [string, Header[], number])[]>> = {
  'C.2.1 literal with indexing': [
    [
      '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
      [['custom-key', 'custom-header']],
      55,
    ],
  ],
  'C.2.2 literal without indexing': [['040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']], 0]],
  'C.2.3 literal never indexed': [
    ['1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']], 0],
  ],
  'C.2.4 indexed': [['82', [[':method', 'GET']], 0]],
  'C.3 requests': [
    ['8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d', request1, 57],
    ['8286 84be 5808 6e6f 2d63 6163 6865', request2, 110],
    ['8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65', request3, 164],
  ],
  'C.4 requests with Huffman': [
    ['8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', request1, 57],
    ['8286 84be 5886 a8eb 1064 9cbf', request2, 110],
    ['8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf', request3, 164],
  ],
  // The RFC sets the table to 256 bytes by SETTINGS; here a size update in front says the same.
  'C.5 responses, table of 256 bytes': [
    [
      `3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
       474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      response1,
      222,
    ],
    ['4803 3330 37c1 c0bf', response2, 222],
    [
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
       6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
       2076 6572 7369 6f6e 3d31`,
      response3,
      215,
    ],
  ],
  'C.6 responses with Huffman, table of 256 bytes': [
    [
      `3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
       63c7 8f0b 97c8 e9ae 82ae 43d3`,
      response1,
      222,
    ],
    ['4883 640e ffc1 c0bf', response2, 222],
    [
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
       dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
      response3,
      215,
    ],
  ],
}

describe('HPACK decoder', () => {
  for (const [name, blocks] of Object.entries(sequences))
    it(`reads ${name} of RFC 7541`, () => {
      const decoder = new HpackDecoder(65_536)
      for (const [bytes, headers, size] of blocks) {
        expect(decoder.decode(hex(bytes))).toEqual({ headers, tooLarge: false })
        expect(decoder.tableSize).toBe(size)
      }
    })

  it('reads what nghttp2 writes, with its dynamic table and Huffman', async () => {
    const random = seededRandom(7541)
    // As many as a client may open before it knows the server's limit.
    const requests = Array.from({ length: 100 }, () => randomHeaders(random))
    const blocks = await blocksOfNghttp2(requests)
    const decoder = new HpackDecoder(65_536)
    expect(blocks).toHaveLength(requests.length)
    for (const [index, block] of blocks.entries()) {
      const { headers } = decoder.decode(block)
      const regular = headers.filter(([name]) => !name.startsWith(':'))
      expect(Object.fromEntries(regular)).toEqual(requests[index])
    }
  })

  const broken: Readonly<Record<string, string>> = {
    'index 0': '80',
    'an index beyond the table': 'be',
    'a name index beyond the table': '7f00 0161',
    'an index that never ends': 'ffff ffff ffff ff01',
    'a string longer than the block': '0005 6162',
    'a block that ends inside a name': '40',
    'a block that ends after a name': '4001 61',
    'a table size above what we offered': '3fe2 1f 82',
    'a table size update after a field': '8220',
    'Huffman padding longer than 7 bits': '0001 6182 1fff',
    'Huffman padding with a zero bit': '0001 6181 18',
    'Huffman EOS inside a string': '0001 6184 ffff ffff',
  }
  for (const [name, block] of Object.entries(broken))
    it(`refuses ${name}`, () => {
      const error = thrown(() => new HpackDecoder(65_536).decode(hex(block)))
      expect(error.h2Code).toBe('COMPRESSION_ERROR')
    })

  it('stops a bomb of references to one long entry', () => {
    const entry = encodeLiteral('x'.repeat(10), 'y'.repeat(3_900))
    const bomb = Buffer.concat([entry, Buffer.alloc(16_000, 0xbe)])
    expect(thrown(() => new HpackDecoder(65_536).decode(bomb)).h2Code).toBe('ENHANCE_YOUR_CALM')
  })

  it('says when a list is too long, and keeps its table right for the next one', () => {
    const decoder = new HpackDecoder(100)
    const first = decoder.decode(Buffer.concat([encodeLiteral('a', 'b'.repeat(80)), encodeLiteral('c', 'd')]))
    expect(first.tooLarge).toBe(true)
    expect(decoder.decode(hex('be'))).toEqual({ headers: [['c', 'd']], tooLarge: false })
  })

  it('empties its table for an entry larger than the table', () => {
    const decoder = new HpackDecoder(65_536)
    decoder.decode(encodeLiteral('a', 'b'))
    expect(decoder.tableSize).toBe(34)
    decoder.decode(encodeLiteral('a', 'b'.repeat(4_096)))
    expect(decoder.tableSize).toBe(0)
  })

  it('survives any bytes with a result or a connection error', () => {
    const random = seededRandom(20)
    for (let round = 0; round < 5_000; round++) {
      const block = Buffer.from(
        Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256)),
      )
      try {
        new HpackDecoder(4_096).decode(block)
      } catch (error) {
        expect(error).toBeInstanceOf(HboneError)
      }
    }
  })
})

describe('HPACK encoder', () => {
  it('is read back by the decoder, and leaves no trace in its table', () => {
    const random = seededRandom(1)
    const decoder = new HpackDecoder(1 << 20)
    for (let round = 0; round < 300; round++) {
      const list: Header[] = [[':status', '200'], ...Object.entries(randomHeaders(random))]
      expect(decoder.decode(encodeHeaders(list, round % 3 === 0)).headers).toEqual(list)
      expect(decoder.tableSize).toBe(0)
    }
  })

  it('never lets secrets be indexed, and replaces what is no byte', () => {
    const block = encodeHeaders([
      ['authorization', 'Bearer x'],
      ['cookie', 'a=b'],
    ])
    expect((block[0] ?? 0) & 0xf0).toBe(0x10)
    expect(new HpackDecoder(4_096).decode(encodeHeaders([['a', 'é€']])).headers).toEqual([['a', 'é?']])
  })
})

describe('Huffman', () => {
  it('reads every printable character', () => {
    expect(decodeHuffman(hex('f1e3 c2e5 f23a 6ba0 ab90 f4ff'))).toBe('www.example.com')
    expect(decodeHuffman(new Uint8Array(0))).toBe('')
  })
})

function thrown(run: () => unknown): HboneError {
  try {
    run()
  } catch (error) {
    if (error instanceof HboneError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

/** Literal with incremental indexing, name and value without Huffman. */
function encodeLiteral(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x40]), encodeString(name), encodeString(value)])
}

function encodeString(text: string): Buffer {
  const bytes: number[] = []
  let rest = text.length
  if (rest < 127) bytes.push(rest)
  else {
    bytes.push(127)
    rest -= 127
    for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128)
    bytes.push(rest)
  }
  return Buffer.concat([Buffer.from(bytes), Buffer.from(text, 'latin1')])
}

function randomHeaders(random: () => number): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let count = Math.floor(random() * 6); count > 0; count--) {
    const length = 1 + Math.floor(random() * (random() < 0.1 ? 900 : 30))
    // Every byte that a value may have, but no surrounding blanks.
    const value = Array.from({ length }, () => {
      const code = random() < 0.2 ? 0x80 + Math.floor(random() * 128) : 0x21 + Math.floor(random() * 94)
      return String.fromCharCode(code)
    })
    headers[`x-${Math.floor(random() * 12)}`] = value.join('')
  }
  return headers
}

/** The header blocks of requests that Node's client writes into a wire that nobody answers. */
async function blocksOfNghttp2(requests: readonly Record<string, string>[]): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk)
      done()
    },
  })
  const session = connect('http://127.0.0.1', {
    createConnection: () => wire,
    maxSendHeaderBlockLength: 65_535,
  })
  session.on('error', () => {})
  for (const headers of requests) {
    const stream = session.request({ ':path': '/', ...headers })
    stream.on('error', () => {})
  }
  const count = (): number => headerBlocks(Buffer.concat(chunks)).length
  // The engine writes from a later turn of the loop.
  while (count() < requests.length) await new Promise(resolve => setImmediate(resolve))
  session.destroy()
  return headerBlocks(Buffer.concat(chunks))
}

function headerBlocks(bytes: Buffer): Buffer[] {
  const blocks: Buffer[] = []
  let at = 24
  while (at + 9 <= bytes.length) {
    const length = bytes.readUIntBE(at, 3)
    const payload = bytes.subarray(at + 9, at + 9 + length)
    const flags = bytes[at + 4] ?? 0
    if (bytes[at + 3] === 1) blocks.push((flags & 0x20) === 0 ? payload : payload.subarray(5))
    at += 9 + length
  }
  return blocks
}
