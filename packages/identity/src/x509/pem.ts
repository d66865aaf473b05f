/** PEM text to DER bytes and back. Strict inside a block; text around blocks (`openssl x509 -text`) is ignored. */
import { IdentityError, type IdentityErrorCode } from '../errors.ts'

export interface PemBlock {
  readonly label: string
  readonly der: Uint8Array
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([A-Za-z0-9+/=\r\n]*?)\r?\n?-----END \1-----/g
const BEGIN = /-----BEGIN /g
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const CERTIFICATE = 'CERTIFICATE'

/** @throws IdentityError with the given code when a block is opened that is not well formed. */
export function readPem(text: string, code: IdentityErrorCode = 'AMBIENT_E_CERTIFICATE'): PemBlock[] {
  const blocks = wellFormedBlocks(text)
  const begun = text.match(BEGIN)?.length ?? 0
  if (begun !== blocks.length)
    throw new IdentityError(code, `PEM: ${begun} blocks begin, ${blocks.length} are well formed`, {
      layer: 'identity',
    })
  return blocks
}

/** The certificates of a PEM text, in order; blocks with other labels are passed over. */
export function readPemCertificates(text: string): Uint8Array[] {
  return certificatesOf(readPem(text))
}

/** Never throws: in a bundle, one broken root must not take the others with it. */
export function readBundleCertificates(text: string): Uint8Array[] {
  return certificatesOf(wellFormedBlocks(text))
}

function certificatesOf(blocks: readonly PemBlock[]): Uint8Array[] {
  return blocks.filter(block => block.label === CERTIFICATE).map(block => block.der)
}

function wellFormedBlocks(text: string): PemBlock[] {
  const blocks: PemBlock[] = []
  for (const [, label = '', body = ''] of text.matchAll(BLOCK)) {
    const base64 = body.replace(/[\r\n]/g, '')
    if (base64 !== '' && BASE64.test(base64)) blocks.push({ label, der: Buffer.from(base64, 'base64') })
  }
  return blocks
}

export function formatPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64')
  return `-----BEGIN ${label}-----\n${base64.replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`
}

export function formatPemCertificate(der: Uint8Array): string {
  return formatPem(CERTIFICATE, der)
}
