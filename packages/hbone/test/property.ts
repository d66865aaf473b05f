/**
 * Property tests: many random cases, each with a seed of its own that a failure names. `AMBIENT_SEED=… ` runs that case
 * alone, `AMBIENT_CASES=…` more or fewer of them than the file asks for.
 */
import { it } from 'vitest'
import { seededRandom } from './random.ts'

const FIRST_SEED = 5_000_000

export class Random {
  readonly #next: () => number

  constructor(seed: number) {
    this.#next = seededRandom(seed)
  }

  /** A whole number, both bounds included. */
  int(from: number, to: number): number {
    return from + Math.floor(this.#next() * (to - from + 1))
  }

  chance(probability: number): boolean {
    return this.#next() < probability
  }

  pick<T>(list: readonly T[]): T {
    const found = list[this.int(0, list.length - 1)]
    if (found === undefined && list.length === 0) throw new Error('nothing to pick from')
    return found as T
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at++) bytes[at] = this.int(0, 255)
    return bytes
  }

  /** Pieces of random lengths that make up the whole. */
  split(bytes: Uint8Array, most: number): Uint8Array[] {
    const pieces: Uint8Array[] = []
    for (let at = 0; at < bytes.length; ) {
      const size = this.chance(0.3) ? 1 : this.int(1, most)
      pieces.push(bytes.subarray(at, at + size))
      at += size
    }
    return pieces
  }
}

/** One test of `cases` cases. */
export function property(name: string, cases: number, run: (random: Random) => void | Promise<void>): void {
  const { AMBIENT_SEED, AMBIENT_CASES } = process.env
  const count = AMBIENT_SEED === undefined ? Math.ceil(cases * Number(AMBIENT_CASES ?? 1)) : 1
  const first = AMBIENT_SEED === undefined ? FIRST_SEED : Number(AMBIENT_SEED)
  it(`${name} (${count} cases)`, { timeout: 60_000 * Math.max(1, count / cases) }, async () => {
    for (let seed = first; seed < first + count; seed++)
      try {
        const result = run(new Random(seed))
        if (result !== undefined) await result
      } catch (error) {
        throw new Error(`case AMBIENT_SEED=${seed}: ${String(error)}`, { cause: error })
      }
  })
}
