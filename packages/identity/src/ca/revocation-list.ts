/** Revocation lists as a CA writes them: RFC 5280 §5, version 2, with a number and the issuer's key. */
import { IdentityError } from '../errors.ts'
import { crypto, Extension, X509CrlGenerator } from '../x509/peculiar.ts'
import { formatPem } from '../x509/pem.ts'
import { authorityKeyOf, type IssuingAuthority, parseAuthority } from './ca-certificates.ts'

export interface RevocationListOptions {
  readonly entries: readonly { readonly serial: string; readonly at: number }[]
  readonly number: number
  /** Milliseconds since the epoch. */
  readonly thisUpdate: number
  readonly nextUpdate: number
}

const CRL_NUMBER = '2.5.29.20'

/** PEM of one list, also when nothing is on it: a strict reader has to see that. */
export async function signRevocationList(
  issuer: IssuingAuthority,
  { entries, number, thisUpdate, nextUpdate }: RevocationListOptions,
): Promise<string> {
  const certificate = parseAuthority(issuer.certificatePem)
  const list = await X509CrlGenerator.create(
    {
      issuer: certificate.subjectName,
      thisUpdate: new Date(thisUpdate),
      nextUpdate: new Date(nextUpdate),
      signingKey: issuer.signing.key,
      signingAlgorithm: issuer.signing.algorithm,
      entries: entries.map(({ serial, at }) => ({
        serialNumber: positive(serial),
        revocationDate: new Date(at),
      })),
      extensions: [
        await authorityKeyOf(certificate),
        new Extension(CRL_NUMBER, false, derInteger(positive(number.toString(16)))),
      ],
    },
    crypto,
  )
  return formatPem('X509 CRL', new Uint8Array(list.rawData))
}

/**
 * A serial number as people write it (colons, `0x`, capitals, leading zeros), in hexadecimal without leading zeros.
 * @throws IdentityError `AMBIENT_E_CERTIFICATE`
 */
export function readSerial(text: string): string {
  const digits = text
    .trim()
    .toLowerCase()
    .replace(/^0x/, '')
    .replaceAll(':', '')
    .replace(/^0+(?=.)/, '')
  if (/^[0-9a-f]{1,40}$/.test(digits)) return digits
  throw new IdentityError(
    'AMBIENT_E_CERTIFICATE',
    `a serial number is 1 to 40 hexadecimal digits, not ${JSON.stringify(text.slice(0, 64))}`,
    { layer: 'identity' },
  )
}

/** Whole bytes whose first bit says that the number is positive. */
function positive(hex: string): string {
  const whole = hex.length % 2 === 0 ? hex : `0${hex}`
  return Number.parseInt(whole.slice(0, 2), 16) >= 0x80 ? `00${whole}` : whole
}

function derInteger(hex: string): Uint8Array {
  const content = Buffer.from(hex, 'hex')
  return Uint8Array.from([0x02, content.length, ...content])
}
