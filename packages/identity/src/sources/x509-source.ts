/** Where one workload's own X.509-SVID comes from: one contract for files, the Workload API and every CA. */
import type { Credentials } from '@ambient/core'

export interface X509Source {
  /**
   * The default SVID, valid now; waits for a first one, never for a renewal. Rejects with the signal's reason when
   * aborted, with `AMBIENT_E_IDENTITY_UNAVAILABLE` while the first one cannot be had, `AMBIENT_E_IDENTITY_EXPIRED` when
   * the last one ran out, `AMBIENT_E_IDENTITY_WITHDRAWN` when the issuer took it back, `AMBIENT_E_IDENTITY_CLOSED` after
   * `close`.
   */
  get(options?: { readonly signal?: AbortSignal }): Promise<Credentials>
  /** What `get` would resolve with at once, or `undefined`. */
  current(): Credentials | undefined
  /**
   * Called with each new generation: another certificate, or other bundles. Generations grow. A listener that throws is
   * logged and harms no other. Returns the function that ends the watch.
   */
  watch(listener: (credentials: Credentials) => void): () => void
  /** Ends every stream, watcher and timer. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
