/** One attribute that rules are found by: what the facts have of it, and the drawers of its forms. */
import { AffixDrawer, BlockDrawer, ExactDrawer, type ListSink } from './drawers.ts'
import type { IndexKey } from './index-key.ts'
import type { Order } from './sorted-rules.ts'

/** Where the facts have the attribute. Several texts: each may be the one. */
export type Attribute<F> =
  | { readonly kind: 'text'; of(facts: F): string | undefined }
  | { readonly kind: 'texts'; of(facts: F): readonly string[] }
  | { readonly kind: 'number'; of(facts: F): number }
  | { readonly kind: 'address'; of(facts: F): Uint8Array }

export class Dimension<R, F> {
  readonly #attribute: Attribute<F>
  readonly #exact = new ExactDrawer<R>()
  readonly #prefix = new AffixDrawer<R>('prefix')
  readonly #suffix = new AffixDrawer<R>('suffix')
  readonly #block = new BlockDrawer<R>()

  constructor(attribute: Attribute<F>) {
    this.#attribute = attribute
  }

  get isEmpty(): boolean {
    return this.#exact.isEmpty && this.#prefix.isEmpty && this.#suffix.isEmpty && this.#block.isEmpty
  }

  /** How many rules there are already under a key, about. */
  lengthAt(key: IndexKey): number {
    switch (key.form) {
      case 'exact':
        return this.#exact.lengthAt(key.value)
      case 'block':
        return this.#block.lengthAt(key.value)
      default:
        return this.#affix(key.form).lengthAt(key.value)
    }
  }

  add(key: IndexKey, rule: R, order: Order<R>): void {
    if (key.form === 'exact') this.#exact.add(key.value, rule, order)
    else if (key.form === 'block') this.#block.add(key.value, rule, order)
    else this.#affix(key.form).add(key.value, rule, order)
  }

  /** Nothing happens when the rule is not filed under the key. */
  remove(key: IndexKey, rule: R, order: Order<R>): void {
    if (key.form === 'exact') this.#exact.remove(key.value, rule, order)
    else if (key.form === 'block') this.#block.remove(key.value, rule, order)
    else this.#affix(key.form).remove(key.value, rule, order)
  }

  look(facts: F, sink: ListSink<R>): void {
    const attribute = this.#attribute
    switch (attribute.kind) {
      case 'number':
        return this.#exact.look(attribute.of(facts), sink)
      case 'address':
        return this.#block.look(attribute.of(facts), sink)
      case 'text': {
        const text = attribute.of(facts)
        if (text !== undefined) this.#lookText(text, sink)
        return
      }
      case 'texts': {
        const texts = attribute.of(facts)
        for (let at = 0; at < texts.length; at++) this.#lookText(texts[at] ?? '', sink)
      }
    }
  }

  #lookText(text: string, sink: ListSink<R>): void {
    this.#exact.look(text, sink)
    if (!this.#prefix.isEmpty) this.#prefix.look(text, sink)
    if (!this.#suffix.isEmpty) this.#suffix.look(text, sink)
  }

  #affix(form: 'prefix' | 'suffix'): AffixDrawer<R> {
    return form === 'prefix' ? this.#prefix : this.#suffix
  }
}
