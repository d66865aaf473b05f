/** HEADERS and its CONTINUATION frames, put together under limits and decoded. */
import type { HboneLimits } from '../limits.ts'
import { FLAG, violation } from './codes.ts'
import { readUint31 } from './frame.ts'
import { type HeaderList, HpackDecoder } from './hpack.ts'

export interface HeaderBlock {
  readonly streamId: number
  readonly endStream: boolean
  readonly headers: HeaderList
  readonly tooLarge: boolean
  /** The stream it was told to depend on, with the PRIORITY flag; deprecated, but one value is an error. */
  readonly dependsOn: number | undefined
}

interface Fragment {
  readonly streamId: number
  readonly endStream: boolean
  readonly dependsOn: number | undefined
}

export class HeaderBlocks {
  readonly #decoder: HpackDecoder
  readonly #maxBytes: number
  readonly #maxContinuations: number
  #open: Fragment | undefined
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(maxBytes: number, limits: HboneLimits) {
    this.#decoder = new HpackDecoder(maxBytes, limits.maxHeaderFields)
    this.#maxBytes = maxBytes
    this.#maxContinuations = limits.maxContinuations
  }

  /** Stream whose CONTINUATION must come next, whatever else is sent. */
  get expects(): number | undefined {
    return this.#open?.streamId
  }

  /** The decoded block, `undefined` when CONTINUATION follows. */
  headers(streamId: number, flags: number, payload: Uint8Array): HeaderBlock | undefined {
    const { fragment, dependsOn } = stripHeaders(flags, payload)
    const open: Fragment = { streamId, endStream: (flags & FLAG.endStream) !== 0, dependsOn }
    if ((flags & FLAG.endHeaders) !== 0) return this.#decode(open, fragment)
    this.#open = open
    this.#parts = []
    this.#bytes = 0
    this.#gather(fragment)
    return undefined
  }

  continuation(flags: number, payload: Uint8Array): HeaderBlock | undefined {
    const open = this.#open
    if (open === undefined) throw violation('PROTOCOL_ERROR', 'CONTINUATION without HEADERS')
    if (this.#parts.length > this.#maxContinuations)
      throw violation('ENHANCE_YOUR_CALM', `more than ${this.#maxContinuations} CONTINUATION frames`)
    this.#gather(payload)
    if ((flags & FLAG.endHeaders) === 0) return undefined
    const block = Buffer.concat(this.#parts)
    this.#open = undefined
    this.#parts = []
    return this.#decode(open, block)
  }

  #gather(part: Uint8Array): void {
    this.#bytes += part.length
    if (this.#bytes > this.#maxBytes)
      throw violation('ENHANCE_YOUR_CALM', `header block is longer than ${this.#maxBytes} bytes`)
    // `slice` of a Buffer is a view.
    this.#parts.push(new Uint8Array(part))
  }

  #decode(open: Fragment, block: Uint8Array): HeaderBlock {
    return { ...open, ...this.#decoder.decode(block) }
  }
}

/** Without padding and priority. */
function stripHeaders(
  flags: number,
  payload: Uint8Array,
): { fragment: Uint8Array; dependsOn: number | undefined } {
  let start = 0
  let end = payload.length
  if ((flags & FLAG.padded) !== 0) {
    start = 1
    end -= payload[0] ?? 0
    if (payload.length === 0) throw violation('FRAME_SIZE_ERROR', 'padded HEADERS without a pad length')
  }
  let dependsOn: number | undefined
  if ((flags & FLAG.priority) !== 0) {
    if (payload.length < start + 5) throw violation('FRAME_SIZE_ERROR', 'HEADERS too short for its priority')
    dependsOn = readUint31(payload, start)
    start += 5
  }
  if (end < start) throw violation('PROTOCOL_ERROR', 'padding is longer than its HEADERS frame')
  return { fragment: payload.subarray(start, end), dependsOn }
}
