/** How many sessions each identity has on one server: however many it opens, the others find room. */
import type { SpiffeId } from '@ambient/core'
import { HboneError } from './errors.ts'

export class Crowd {
  readonly #max: number
  readonly #sessions = new Map<string, number>()

  constructor(max: number) {
    this.#max = max
  }

  /** One more session, which must `leave` again. The error says that it is one too many. */
  enter(id: SpiffeId): HboneError | undefined {
    const count = (this.#sessions.get(id.uri) ?? 0) + 1
    this.#sessions.set(id.uri, count)
    if (count <= this.#max) return undefined
    const message = `${id.uri} has ${this.#max} sessions already`
    return new HboneError('AMBIENT_E_HBONE_PROTOCOL', message, { h2Code: 'ENHANCE_YOUR_CALM' })
  }

  leave(id: SpiffeId): void {
    const left = (this.#sessions.get(id.uri) ?? 0) - 1
    if (left > 0) this.#sessions.set(id.uri, left)
    else this.#sessions.delete(id.uri)
  }
}
