/** Who signs certificates for the manager: the embedded CA in this process, or Istio's over gRPC. */
import type { SpiffeId } from '@ambient/core'
import type { CertificateAuthority } from '../ca/authority.ts'
import { checkOption } from '../option-checks.ts'

export interface SigningRequest {
  readonly id: SpiffeId
  readonly csrPem: string
  /** Wanted lifetime; the CA may give less. */
  readonly ttlMs: number
  readonly signal?: AbortSignal
}

/** Whoever creates a signer closes it; the manager only calls it. */
export interface CertificateSigner {
  /** Resolves with PEM texts: leaf, intermediates one by one, and last all roots in one text. */
  sign(request: SigningRequest): Promise<readonly string[]>
  /** Idempotent. */
  close(): Promise<void>
}

/** Signs with a CA of this process: for a mesh of one process, and for tests. */
export function createLocalSigner(ca: CertificateAuthority): CertificateSigner {
  checkOption('ca', ca, 'authority')
  return {
    async sign({ id, csrPem, ttlMs, signal }) {
      signal?.throwIfAborted()
      return (await ca.sign({ id, csrPem, ttlMs })).chain
    },
    close: async () => {},
  }
}
