/**
 * Rules by a value that one of their attributes must have. Looking up allocates nothing. Prefixes, suffixes and blocks
 * are found by hashes, so a drawer may offer rules of another value: whoever looks up asks each rule anyway.
 */
import { insertSorted, type Order, removeSorted } from './sorted-rules.ts'
import type { IndexKey } from './index-key.ts'

/** Whoever looks up takes each list that may hold the rule, in order of rules. */
export interface ListSink<R> {
  take(rules: readonly R[]): void
}

/** Rules by key, a list for each key that has any. */
class Lists<K extends string | number, R> {
  readonly #lists = new Map<K, R[]>()

  get isEmpty(): boolean {
    return this.#lists.size === 0
  }

  get(key: K): readonly R[] | undefined {
    return this.#lists.get(key)
  }

  add(key: K, rule: R, order: Order<R>): void {
    const list = this.#lists.get(key)
    // A literal has room for one rule, which most lists never exceed.
    if (list === undefined) this.#lists.set(key, [rule])
    else insertSorted(list, rule, order)
  }

  /** Nothing happens when the rule is not there. */
  remove(key: K, rule: R, order: Order<R>): void {
    const list = this.#lists.get(key)
    if (list !== undefined && removeSorted(list, rule, order) && list.length === 0) this.#lists.delete(key)
  }
}

/** By the whole value. */
export class ExactDrawer<R> extends Lists<string | number, R> {
  lengthAt(value: string | number): number {
    return this.get(value)?.length ?? 0
  }

  look(value: string | number, sink: ListSink<R>): void {
    const list = this.get(value)
    if (list !== undefined) sink.take(list)
  }
}

/** By the beginning, or the end, of a text. */
export class AffixDrawer<R> {
  readonly #atEnd: boolean
  /** At the length of the prefixes in it, by their hash. */
  readonly #byLength: (Lists<number, R> | undefined)[] = []

  constructor(form: 'prefix' | 'suffix') {
    this.#atEnd = form === 'suffix'
  }

  get isEmpty(): boolean {
    return this.#byLength.length === 0
  }

  lengthAt(value: string): number {
    return this.#byLength[value.length]?.get(this.#hash(value))?.length ?? 0
  }

  add(value: string, rule: R, order: Order<R>): void {
    while (this.#byLength.length <= value.length) this.#byLength.push(undefined)
    const lists = this.#byLength[value.length] ?? new Lists<number, R>()
    lists.add(this.#hash(value), rule, order)
    this.#byLength[value.length] = lists
  }

  remove(value: string, rule: R, order: Order<R>): void {
    const lists = this.#byLength[value.length]
    if (lists === undefined) return
    lists.remove(this.#hash(value), rule, order)
    if (!lists.isEmpty) return
    this.#byLength[value.length] = undefined
    while (this.#byLength.length > 0 && this.#byLength[this.#byLength.length - 1] === undefined)
      this.#byLength.pop()
  }

  look(text: string, sink: ListSink<R>): void {
    const end = Math.min(text.length, this.#byLength.length - 1)
    let hash = SEED
    for (let length = 0; length <= end; length++) {
      if (length > 0) hash = step(hash, text.charCodeAt(this.#atEnd ? text.length - length : length - 1))
      const list = this.#byLength[length]?.get(hash)
      if (list !== undefined) sink.take(list)
    }
  }

  #hash(value: string): number {
    let hash = SEED
    for (let i = 0; i < value.length; i++)
      hash = step(hash, value.charCodeAt(this.#atEnd ? value.length - 1 - i : i))
    return hash
  }
}

type Block = Extract<IndexKey, { form: 'block' }>['value']

/** By the address block that an address lies in. */
export class BlockDrawer<R> {
  /** Blocks of one length each, by the hash of their bits. */
  readonly #byLength: { readonly length: number; readonly lists: Lists<number, R> }[] = []

  get isEmpty(): boolean {
    return this.#byLength.length === 0
  }

  lengthAt(block: Block): number {
    return this.#of(block)?.lists.get(hashOf(block.bytes, block.prefixLength))?.length ?? 0
  }

  add(block: Block, rule: R, order: Order<R>): void {
    const known = this.#of(block)
    const drawer = known ?? { length: block.prefixLength, lists: new Lists<number, R>() }
    if (known === undefined) this.#byLength.push(drawer)
    drawer.lists.add(hashOf(block.bytes, block.prefixLength), rule, order)
  }

  remove(block: Block, rule: R, order: Order<R>): void {
    const drawer = this.#of(block)
    if (drawer === undefined) return
    drawer.lists.remove(hashOf(block.bytes, block.prefixLength), rule, order)
    if (drawer.lists.isEmpty) this.#byLength.splice(this.#byLength.indexOf(drawer), 1)
  }

  look(address: Uint8Array, sink: ListSink<R>): void {
    for (const { length, lists } of this.#byLength) {
      if (length > address.length * 8) continue
      const list = lists.get(hashOf(address, length))
      if (list !== undefined) sink.take(list)
    }
  }

  #of(block: Block): { readonly length: number; readonly lists: Lists<number, R> } | undefined {
    return this.#byLength.find(({ length }) => length === block.prefixLength)
  }
}

/** FNV-1a's, in 32 bits. */
const SEED = 0x811c9dc5 | 0
const PRIME = 0x01000193

function step(hash: number, unit: number): number {
  return Math.imul(hash ^ unit, PRIME)
}

/** Of the family, the length and the bits that count. */
function hashOf(bytes: Uint8Array, prefixLength: number): number {
  let hash = step(step(SEED, bytes.length), prefixLength)
  const whole = prefixLength >> 3
  for (let i = 0; i < whole; i++) hash = step(hash, bytes[i] ?? 0)
  const rest = prefixLength & 7
  return rest === 0 ? hash : step(hash, (bytes[whole] ?? 0) & (0xff00 >> rest))
}
