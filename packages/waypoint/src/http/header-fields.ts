/** HTTP fields in the order in which they came, names in lower case; repeated fields stay apart. */

export type HeaderField = readonly [name: string, value: string]

export class HeaderFields implements Iterable<HeaderField> {
  readonly #fields: HeaderField[] = []

  constructor(fields: Iterable<HeaderField> = []) {
    for (const [name, value] of fields) this.add(name, value)
  }

  get size(): number {
    return this.#fields.length
  }

  /** Repeated fields joined with `, `. */
  get(name: string): string | undefined {
    const values = this.all(name)
    return values.length === 0 ? undefined : values.join(', ')
  }

  all(name: string): readonly string[] {
    const wanted = name.toLowerCase()
    const values: string[] = []
    for (const [field, value] of this.#fields) if (field === wanted) values.push(value)
    return values
  }

  has(name: string): boolean {
    const wanted = name.toLowerCase()
    return this.#fields.some(([field]) => field === wanted)
  }

  add(name: string, value: string): void {
    this.#fields.push([name.toLowerCase(), value])
  }

  /** Replaces every field of the name. */
  set(name: string, value: string): void {
    this.delete(name)
    this.add(name, value)
  }

  delete(name: string): void {
    const wanted = name.toLowerCase()
    for (let index = this.#fields.length - 1; index >= 0; index--)
      if (this.#fields[index]?.[0] === wanted) this.#fields.splice(index, 1)
  }

  copy(): HeaderFields {
    return new HeaderFields(this.#fields)
  }

  [Symbol.iterator](): Iterator<HeaderField> {
    return this.#fields[Symbol.iterator]()
  }
}
