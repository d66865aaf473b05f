/** What the fuzzer does to good text: to any character of it, to lines as lines and to words as words. */

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

  pick<T>(list: readonly T[]): T | undefined {
    return list[this.int(0, list.length - 1)]
  }
}

/** Longer inputs say nothing new and take time. */
const MAX_LENGTH = 50_000
const SPECIAL = [
  ...'\0\t\r\n ",;=:[]{}()<>%/\\?#.-_~*&!|@\'`+$^0129aAzZ',
  ...[
    '\x7f',
    '\x80',
    '\xff',
    '\u2028',
    '\ufeff',
    '\ufffd',
    '\ud800',
    '𐍈',
    '---\n',
    '...',
    '<<: ',
    '&a ',
    '*a',
    '!!js ',
  ],
  ...[
    '%2e',
    '%2f',
    '..',
    '..;',
    '{*}',
    '{**}',
    '__proto__',
    'constructor',
    '1e308',
    '-0',
    'null',
    '~',
    '0x10',
    '"',
    '\\u0000',
  ],
]

export function mutateText(random: Random, seeds: readonly string[]): string {
  let text = random.pick(seeds) ?? ''
  for (let times = random.int(1, 5); times > 0; times--) text = mutateOnce(random, text, seeds)
  return text.slice(0, MAX_LENGTH)
}

function mutateOnce(random: Random, text: string, seeds: readonly string[]): string {
  const at = random.int(0, Math.max(0, text.length - 1))
  const to = Math.min(text.length, at + random.int(1, 30))
  const around = (middle: string): string => text.slice(0, at) + middle + text.slice(at)
  switch (random.int(0, 9)) {
    case 0:
      return (
        text.slice(0, at) +
        String.fromCharCode((text.charCodeAt(at) || 0) ^ (1 << random.int(0, 7))) +
        text.slice(at + 1)
      )
    case 1:
      return text.slice(0, at) + (random.pick(SPECIAL) ?? '') + text.slice(at + 1)
    case 2:
      return around(random.pick(SPECIAL) ?? '')
    case 3:
      return text.slice(0, at)
    case 4:
      return text.slice(0, at) + text.slice(to)
    case 5:
      return around(text.slice(at, to))
    case 6:
      return around((random.pick(SPECIAL) ?? '').repeat(random.int(1, 1_500)))
    case 7:
      return around(text.slice(at, to).repeat(random.int(1, 100)))
    case 8:
      return withLinesSwapped(random, text)
    default: {
      const other = random.pick(seeds) ?? ''
      return text.slice(0, at) + other.slice(random.int(0, other.length))
    }
  }
}

function withLinesSwapped(random: Random, text: string): string {
  const lines = text.split('\n')
  const [one, other] = [random.int(0, lines.length - 1), random.int(0, lines.length - 1)]
  const moved = lines[one] ?? ''
  return [
    ...lines.slice(0, one),
    lines[other] ?? '',
    ...lines.slice(one + 1, other),
    moved,
    ...lines.slice(other + 1),
  ].join('\n')
}
