/** Bytes of header fields (one character per byte) as text that protobuf takes, and back. */

const strict = new TextDecoder('utf-8', { fatal: true })
const lenient = new TextDecoder('utf-8')
const ASCII = /^[\x00-\x7f]*$/

/**
 * UTF-8 stays what it is. Bytes that are none become `!`, as Envoy has them: a provider that cannot read a header must
 * not be a provider that was never asked (CVE-2023-27488).
 */
export function toText(field: string): string {
  if (ASCII.test(field)) return field
  return bytesToText(Buffer.from(field, 'latin1'))
}

export function bytesToText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    return lenient.decode(bytes).replaceAll('\u{fffd}', '!')
  }
}

export function toField(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
}
