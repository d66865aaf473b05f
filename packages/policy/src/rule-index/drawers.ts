/**
 * Rules by a value that one of their attributes must have. Looking up allocates nothing. Prefixes, suffixes and blocks
 * are found by hashes, so a drawer may offer rules of another value: whoever looks up asks each rule anyway.
 */
import { insertSorted, type Order, removeSorted } from './sorted-rules.ts'
import type { IndexKey } from './index-key.ts'

/** Whoever looks up takes what may be the rule: lists in order of rules, and rules that are alone under their key. */
export interface ListSink<R> {
  take(rules: readonly R[]): void
  takeOne(rule: R): void
}

/** More than one rule under a key. */
class Several<R> {
  readonly rules: R[]

  constructor(rules: R[]) {
    this.rules = rules
  }
}

/** Rules by key. Most keys have one, which is kept without a list around it: two walks to memory less. */
class Lists<K extends string | number, R> {
  readonly #lists = new Map<K, R | Several<R>>()

  get isEmpty(): boolean {
    return this.#lists.size === 0
  }

  lengthAt(key: K): number {
    const found = this.#lists.get(key)
    if (found === undefined) return 0
    return found instanceof Several ? found.rules.length : 1
  }

  add(key: K, rule: R, order: Order<R>): void {
    const found = this.#lists.get(key)
    if (found === undefined) this.#lists.set(key, rule)
    else if (found instanceof Several) insertSorted(found.rules, rule, order)
    else this.#lists.set(key, new Several(order(found, rule) < 0 ? [found, rule] : [rule, found]))
  }

  /** Nothing happens when the rule is not there. */
  remove(key: K, rule: R, order: Order<R>): void {
    const found = this.#lists.get(key)
    if (found === rule) this.#lists.delete(key)
    if (!(found instanceof Several) || !removeSorted(found.rules, rule, order)) return
    const [only] = found.rules
    if (only !== undefined && found.rules.length === 1) this.#lists.set(key, only)
  }

  look(key: K, sink: ListSink<R>): void {
    const found = this.#lists.get(key)
    if (found === undefined) return
    if (found instanceof Several) sink.take(found.rules)
    else sink.takeOne(found)
  }
}

/** By the whole value. */
export class ExactDrawer<R> extends Lists<string | number, R> {}

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
    return this.#byLength[value.length]?.lengthAt(this.#hash(value)) ?? 0
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
      this.#byLength[length]?.look(hash, sink)
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
    return this.#of(block)?.lists.lengthAt(hashOf(block.bytes, block.prefixLength)) ?? 0
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
    for (let at = 0; at < this.#byLength.length; at++) {
      const drawer = this.#byLength[at]
      if (drawer === undefined || drawer.length > address.length * 8) continue
      drawer.lists.look(hashOf(address, drawer.length), sink)
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
