/** What a TLS peer presented, as bytes: the platform's printed forms are not to be trusted. */
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'

/** A longer chain is refused by every verifier; the walk has to end. */
const MAX_CHAIN = 10

/** DER, leaf first, as the peer sent it (the platform may have added the issuer it knows). */
export function peerChain(secure: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  let certificate: DetailedPeerCertificate | undefined = secure.getPeerCertificate(true)
  const seen = new Set<string>()
  while (
    certificate?.raw !== undefined &&
    chain.length < MAX_CHAIN &&
    !seen.has(certificate.fingerprint256)
  ) {
    seen.add(certificate.fingerprint256)
    chain.push(certificate.raw)
    certificate = certificate.issuerCertificate
  }
  return chain
}
