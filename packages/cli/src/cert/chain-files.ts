/** Certificate chains and trust bundles from files: PEM, one certificate of DER, or a SPIFFE bundle document. */
import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { messageOf, quoteText } from '@ambient/core'
import { bundlePem, readPemCertificates, readSpiffeBundle } from '@ambient/identity'

/** What could not be read, as a rule that is broken. */
export interface Unreadable {
  readonly ok: false
  readonly message: string
}

/** A chain has 64 KiB, a bundle of a hundred roots fits many times; the text of `openssl x509 -text` stands between them. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

/** DER of each certificate, the leaf first. */
export function readChainFile(
  path: string,
): { readonly ok: true; readonly chain: readonly Uint8Array[] } | Unreadable {
  try {
    const bytes = readBounded(path)
    const chain = isDer(bytes) ? [bytes] : readPemCertificates(bytes.toString('utf8'))
    return chain.length > 0 ? { ok: true, chain } : unreadable(path, 'holds no certificate')
  } catch (error) {
    return unreadable(path, messageOf(error))
  }
}

/** PEM of the trust anchors of one trust domain. */
export function readBundleFile(
  path: string,
  trustDomain: string,
): { readonly ok: true; readonly pem: string } | Unreadable {
  try {
    const bytes = readBounded(path)
    const pem = bundleText(bytes, trustDomain)
    return pem.includes('-----BEGIN CERTIFICATE-----')
      ? { ok: true, pem }
      : unreadable(path, 'holds no certificate')
  } catch (error) {
    return unreadable(path, messageOf(error))
  }
}

function bundleText(bytes: Buffer, trustDomain: string): string {
  if (isDer(bytes)) return new X509Certificate(bytes).toString()
  const text = bytes.toString('utf8')
  return text.trimStart().startsWith('{') ? bundlePem(readSpiffeBundle(trustDomain, text)) : text
}

/** A SEQUENCE of more than 127 bytes; no text begins so. */
function isDer([tag, length = 0]: Buffer): boolean {
  return tag === 0x30 && length >= 0x80
}

function readBounded(path: string): Buffer {
  const { size } = statSync(path)
  if (size > MAX_FILE_BYTES) throw new RangeError(`${size} bytes, at most ${MAX_FILE_BYTES}`)
  return readFileSync(path)
}

function unreadable(path: string, why: string): Unreadable {
  return { ok: false, message: `${quoteText(path)} cannot be used: ${why}` }
}
