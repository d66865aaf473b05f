/** Counts a byte sequence in streams of chunks, also where it lies across the border of two. */

export interface MarkerScan {
  readonly count: number
  /** The next chunk of a stream; `stream` is any object that stands for it. */
  add(stream: object, bytes: Uint8Array): void
}

export function createMarkerScan(marker: string | Uint8Array): MarkerScan {
  const needle = typeof marker === 'string' ? Buffer.from(marker) : Buffer.from(marker)
  const tails = new WeakMap<object, Buffer>()
  const overlap = needle.length - 1
  let count = 0
  return {
    get count() {
      return count
    },
    add(stream, bytes) {
      if (needle.length === 0) return
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
      const tail = tails.get(stream) ?? Buffer.alloc(0)
      // Both parts are shorter than the needle, so what is found here lies across the border.
      const border = Buffer.concat([tail, chunk.subarray(0, overlap)])
      count += occurrences(border, needle) + occurrences(chunk, needle)
      tails.set(stream, lastBytes(tail, chunk, overlap))
    },
  }
}

/** A copy, because the chunk's memory is not ours. */
function lastBytes(tail: Buffer, chunk: Buffer, length: number): Buffer {
  if (length === 0) return Buffer.alloc(0)
  if (chunk.length >= length) return Buffer.from(chunk.subarray(chunk.length - length))
  return Buffer.concat([tail, chunk]).subarray(-length)
}

function occurrences(haystack: Buffer, needle: Buffer): number {
  let found = 0
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + 1)) found++
  return found
}
