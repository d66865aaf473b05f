/** Whether a header block of HTTP/2 is on its way. Node tells of whole ones only, however slowly they come. */

const PREFACE_BYTES = 24
const FRAME_HEAD_BYTES = 9
const HEADERS = 1
const CONTINUATION = 9
const END_HEADERS = 0x4

/** Follows the frames of one direction from its first byte; keeps none of them. */
export class HeadBlocks {
  readonly #head = Buffer.alloc(FRAME_HEAD_BYTES)
  #headBytes = 0
  #skip = PREFACE_BYTES
  #isOpen = false
  #endsBlock = false

  /** `true`: a block has begun and is not whole yet. */
  take(bytes: Buffer): boolean {
    let at = 0
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at)
        at += skipped
        this.#skip -= skipped
        if (this.#skip === 0) this.#endFrame()
        continue
      }
      const copied = bytes.copy(this.#head, this.#headBytes, at)
      at += copied
      this.#headBytes += copied
      if (this.#headBytes === FRAME_HEAD_BYTES) this.#beginFrame()
    }
    return this.#isOpen
  }

  #beginFrame(): void {
    this.#headBytes = 0
    const [type, flags] = [this.#head[3], this.#head[4] ?? 0]
    const isBlock = type === HEADERS || type === CONTINUATION
    if (isBlock) this.#isOpen = true
    this.#endsBlock = isBlock && (flags & END_HEADERS) !== 0
    this.#skip = this.#head.readUIntBE(0, 3)
    if (this.#skip === 0) this.#endFrame()
  }

  #endFrame(): void {
    if (this.#endsBlock) this.#isOpen = false
    this.#endsBlock = false
  }
}
