/** Addresses as bytes, the recent ones kept: a mesh has far fewer addresses than connections. */
import { ipToBytes } from '@ambient/core'

/** Some hundred bytes each. When it is full it begins anew, so that strangers' addresses cannot fill memory. */
const MAX_KEPT = 1024

export class AddressBytes {
  readonly #kept = new Map<string, Uint8Array>()

  /** 4 or 16 bytes, none for what is no address: it lies in no block. Not to be written to. */
  of(text: string): Uint8Array {
    const known = this.#kept.get(text)
    if (known !== undefined) return known
    const bytes = ipToBytes(text) ?? noBytes
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear()
    this.#kept.set(text, bytes)
    return bytes
  }
}

const noBytes = new Uint8Array(0)
