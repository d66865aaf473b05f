/** What the fuzzer does to good bytes: to any of them, to elements of DER as elements, and to text as text. */

/** Numbers that a seed decides (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number, both bounds included. */
  int(from: number, to: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return from + (((mixed ^ (mixed >>> 14)) >>> 0) % (to - from + 1))
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.int(0, 255)))
  }

  pick(list: readonly Buffer[]): Buffer {
    return list[this.int(0, list.length - 1)] ?? Buffer.alloc(0)
  }
}

/** Longer inputs say nothing new and take time. */
const MAX_BYTES = 100_000
const SPECIAL = Buffer.from('\0\t\r\n ",;=:[]@%/\\?#.-_~0129aAzZ+*$|{}()<>\x7f\x80\x9b\xc3\xff', 'latin1')
const TAGS = [
  0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x1f, 0x24, 0x30, 0x31, 0x80, 0x86, 0xa0, 0xa3,
  0xa6,
]

export function mutate(random: Random, seed: Buffer, others: readonly Buffer[]): Buffer {
  let bytes: Buffer = Buffer.from(seed)
  for (let times = random.int(1, 4); times > 0; times--)
    bytes = random.int(0, 9) < 5 ? mutateBytes(random, bytes, others) : mutateElement(random, bytes)
  return bytes.subarray(0, MAX_BYTES)
}

function mutateBytes(random: Random, bytes: Buffer, others: readonly Buffer[]): Buffer {
  const at = random.int(0, Math.max(0, bytes.length - 1))
  const to = Math.min(bytes.length, at + random.int(1, 40))
  const around = (...middle: readonly Buffer[]): Buffer =>
    Buffer.concat([bytes.subarray(0, at), ...middle, bytes.subarray(at)])
  switch (random.int(0, 8)) {
    case 0:
      return replaced(bytes, at, (bytes[at] ?? 0) ^ (1 << random.int(0, 7)))
    case 1:
      return replaced(bytes, at, SPECIAL[random.int(0, SPECIAL.length - 1)] ?? 0)
    case 2:
      return bytes.subarray(0, at)
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)])
    case 4:
      return around(bytes.subarray(at, to))
    case 5:
      return around(random.bytes(random.int(1, 20)))
    case 6:
      return around(Buffer.alloc(random.int(1, 3_000), SPECIAL[random.int(0, SPECIAL.length - 1)] ?? 0))
    case 7:
      return around(...Array.from({ length: random.int(1, 200) }, () => bytes.subarray(at, to)))
    default: {
      const other = random.pick(others)
      return Buffer.concat([bytes.subarray(0, at), other.subarray(random.int(0, other.length))])
    }
  }
}

/** An element of DER at random: another tag, another length, wrapped, emptied, or with a new content of a right length. */
function mutateElement(random: Random, bytes: Buffer): Buffer {
  const starts = elementStarts(bytes)
  const at = starts[random.int(0, Math.max(0, starts.length - 1))]
  if (at === undefined) return bytes
  switch (random.int(0, 4)) {
    case 0:
      return replaced(bytes, at, TAGS[random.int(0, TAGS.length - 1)] ?? 0)
    case 1:
      return replaced(bytes, at + 1, random.int(0, 255))
    case 2:
      return replaced(bytes, at + 1, 0)
    case 3:
      // Sequences in sequences, as deep as bytes last.
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(Array.from({ length: random.int(1, 400) }, () => [0x30, 0x80]).flat()),
        bytes.subarray(at),
      ])
    default: {
      const length = bytes[at + 1] ?? 0
      return length < 0x80
        ? Buffer.concat([bytes.subarray(0, at + 2), random.bytes(length), bytes.subarray(at + 2 + length)])
        : bytes
    }
  }
}

/** Where elements seem to begin: good enough for a fuzzer. */
function elementStarts(bytes: Buffer): readonly number[] {
  const starts: number[] = []
  for (let at = 0; at + 1 < bytes.length && starts.length < 200; ) {
    starts.push(at)
    const [tag = 0, length = 0] = [bytes[at], bytes[at + 1]]
    const head = length < 0x80 ? 2 : 2 + (length & 0x7f)
    // Into what is built of others, past what is not.
    at += (tag & 0x20) !== 0 || length >= 0x80 ? head : head + length
  }
  return starts
}

function replaced(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes)
  if (at < copy.length) copy[at] = value
  return copy
}
