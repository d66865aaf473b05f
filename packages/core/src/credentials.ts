/**
 * Who we are and whom we believe, as a contract: `@ambient/identity` makes these, `@ambient/hbone` uses them without
 * knowing where they come from.
 */
import type { SpiffeId } from './spiffe-id.ts'

/** What a peer has to prove. */
export type PeerExpectation =
  /** Any workload of our own trust domain: what a server asks of its clients. */
  | { readonly kind: 'own-trust-domain' }
  /** One of these IDs exactly: what a client asks of the server it dialled. An empty list never matches. */
  | { readonly kind: 'one-of'; readonly ids: readonly SpiffeId[] }
  /** Any workload of this trust domain, ours or one whose bundle we hold. */
  | { readonly kind: 'member-of'; readonly trustDomain: string }
  /** Any workload whose trust domain's bundle we hold. */
  | { readonly kind: 'any' }

/** The rule of X509-SVID or of the expectation that a chain breaks. */
export type PeerProblem =
  | 'no-certificate'
  | 'malformed'
  | 'expired'
  | 'not-yet-valid'
  | 'untrusted'
  | 'key-usage'
  | 'basic-constraints'
  | 'weak-key'
  | 'uri-san'
  | 'spiffe-id'
  | 'trust-domain'
  | 'unexpected-identity'
  | 'revoked'
  /** Revocation lists are required, and none that is in force speaks of it. */
  | 'revocation-unknown'

export type PeerVerdict =
  | {
      readonly ok: true
      readonly id: SpiffeId /** Milliseconds since the epoch. */
      readonly notAfter: number
    }
  | {
      readonly ok: false
      readonly problem: PeerProblem /** Names the certificate and the rule. */
      readonly reason: string
    }

/** One identity at one generation: immutable; a rotation gives a new object with a higher generation. */
export interface Credentials {
  readonly id: SpiffeId
  /** Grows with each rotation of this identity or of its bundle. */
  readonly generation: number
  /** PEM, leaf first, then intermediates, never the root. */
  readonly certificateChain: string
  /** PEM of every trust anchor of our own trust domain. */
  readonly trustBundle: string
  /** PEM of the anchors of other trust domains that we federate with, by trust domain. Empty in most meshes. */
  readonly federatedBundles: ReadonlyMap<string, string>
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** PKCS#8 PEM. A function, so that no dump, log or `JSON.stringify` shows it. */
  privateKey(): string
  /**
   * The only verdict that counts: the chain (DER, leaf first, as the peer sent it) against the bundle of the leaf's own
   * trust domain and the rules of X509-SVID, and the leaf's ID against the expectation. Synchronous, because it stands before the first byte.
   * @param at the moment whose validity counts, milliseconds since the epoch; default now. A peer that is judged again
   *   is judged by the moment of its handshake: its session does not end when its certificate expires. What was revoked
   *   is refused whenever it was.
   */
  verifyPeer(chain: readonly Uint8Array[], expect: PeerExpectation, at?: number): PeerVerdict
}

/** The passport desk: fresh credentials per identity. */
export interface CredentialsSource {
  /**
   * Resolves with credentials that are valid now; waits for a first certificate, never for a renewal.
   * Rejects with the signal's reason when aborted, else with the identity error that keeps this ID unavailable.
   */
  get(id: SpiffeId, options?: { readonly signal?: AbortSignal }): Promise<Credentials>
  /** What `get` would resolve with at once, or `undefined`. */
  current(id: SpiffeId): Credentials | undefined
  /** Called with each new generation of an identity. Returns the function that ends the watch. */
  watch(id: SpiffeId, listener: (credentials: Credentials) => void): () => void
}
