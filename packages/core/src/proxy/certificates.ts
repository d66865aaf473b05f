/** The certificates of a proxy as `/config_dump` has them, with ztunnel's keys. Never a key. */
import { X509Certificate } from 'node:crypto'

/** What is shown of one identity; `@ambient/identity` tells it. */
export interface ShownIdentity {
  readonly identity: string
  readonly state: string
  /** PEM, leaf first. */
  readonly certChain: readonly string[]
  /** PEM, one each. */
  readonly rootCerts: readonly string[]
}

export interface DumpedCertificate {
  /** The PEM text in base64, as ztunnel has it. */
  readonly pem: string
  /** Decimal. */
  readonly serialNumber: string
  /** `2026-01-02T03:04:05Z`. */
  readonly validFrom: string
  readonly expirationTime: string
}

export interface DumpedIdentity {
  readonly identity: string
  readonly state: string
  readonly certChain: readonly DumpedCertificate[]
  readonly rootCerts: readonly DumpedCertificate[]
}

/** In the order of their names. */
export function dumpCertificates(identities: readonly ShownIdentity[]): readonly DumpedIdentity[] {
  return [...identities]
    .sort((a, b) => (a.identity < b.identity ? -1 : a.identity > b.identity ? 1 : 0))
    .map(({ identity, state, certChain, rootCerts }) => ({
      identity,
      state,
      certChain: certChain.map(dumpCertificate),
      rootCerts: rootCerts.map(dumpCertificate),
    }))
}

function dumpCertificate(pem: string): DumpedCertificate {
  const certificate = new X509Certificate(pem)
  return {
    pem: Buffer.from(pem, 'utf8').toString('base64'),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(10),
    validFrom: toSeconds(certificate.validFrom),
    expirationTime: toSeconds(certificate.validTo),
  }
}

function toSeconds(date: string): string {
  return `${new Date(date).toISOString().slice(0, 19)}Z`
}
