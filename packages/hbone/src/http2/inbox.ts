/**
 * Bytes that arrived and wait for a stream's reader: bounded by its receive window, cheap for small pieces. A view is kept
 * only of what fills at least half of its read buffer, so that memory stays within twice the window.
 */

/** Shorter pieces are copied together: a view would keep a whole read buffer alive for a few bytes. */
const COPY_BELOW_BYTES = 4_096
const FIRST_BLOCK_BYTES = 512
const MAX_BLOCK_BYTES = 16_384

export class Inbox {
  readonly #pieces: Uint8Array[] = []
  #head = 0
  #bytes = 0
  /** The block that small pieces are copied into; its used part is the last piece. */
  #block: Uint8Array | undefined
  #blockUsed = 0

  get bytes(): number {
    return this.#bytes
  }

  /** `false` when a view of the piece is kept. */
  push(piece: Uint8Array): boolean {
    this.#bytes += piece.length
    if (piece.length >= COPY_BELOW_BYTES && piece.length * 2 >= piece.buffer.byteLength) {
      this.#block = undefined
      this.#pieces.push(piece)
      return false
    }
    this.#copy(piece)
    return true
  }

  shift(): Uint8Array | undefined {
    const piece = this.#pieces[this.#head]
    if (piece === undefined) return undefined
    this.#head++
    if (this.#head === this.#pieces.length) {
      this.#pieces.length = 0
      this.#head = 0
      this.#block = undefined
    }
    this.#bytes -= piece.length
    return piece
  }

  clear(): void {
    this.#pieces.length = 0
    this.#head = 0
    this.#bytes = 0
    this.#block = undefined
  }

  #copy(piece: Uint8Array): void {
    const block = this.#block
    const last = this.#pieces.length - 1
    if (block !== undefined && last >= this.#head && block.length - this.#blockUsed >= piece.length) {
      const start = this.#pieces[last]?.byteOffset ?? 0
      block.set(piece, this.#blockUsed)
      this.#blockUsed += piece.length
      this.#pieces[last] = block.subarray(start - block.byteOffset, this.#blockUsed)
      return
    }
    const wish = block === undefined ? FIRST_BLOCK_BYTES : Math.min(MAX_BLOCK_BYTES, block.length * 2)
    const fresh = new Uint8Array(Math.max(wish, piece.length))
    fresh.set(piece)
    this.#block = fresh
    this.#blockUsed = piece.length
    this.#pieces.push(fresh.subarray(0, piece.length))
  }
}
