// Bytes that look random but can be made again from a seed, by either end of a transfer.
import { createHash } from 'node:crypto'

const BLOCK = 64 * 1024

/** Yields `bytes` bytes in chunks of at most 64 KiB; the same for the same seed. */
export function* pattern(bytes, seed) {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  const words = new Uint32Array(BLOCK / 4)
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    words[index] = state
  }
  for (let sent = 0, block = 0; sent < bytes; sent += BLOCK, block++) {
    // Each block differs in its first word, so a lost, doubled or swapped block changes the digest.
    words[0] = block
    const size = Math.min(BLOCK, bytes - sent)
    yield Buffer.from(new Uint8Array(words.buffer).slice(0, size))
  }
}

/** The SHA-256 of `pattern(bytes, seed)`. */
export function patternDigest(bytes, seed) {
  const hash = createHash('sha256')
  for (const chunk of pattern(bytes, seed)) hash.update(chunk)
  return hash.digest('hex')
}
