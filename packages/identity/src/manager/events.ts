/** What happens to the identities of a manager, one event for each transition. */

interface OfIdentity {
  /** SPIFFE ID. */
  readonly identity: string
}

export type IdentityEvent =
  /** The first certificate, the next one, or the same one with other federated bundles: a new generation is in place. */
  | (OfIdentity & {
      readonly kind: 'issued' | 'renewed' | 'bundles-changed'
      readonly generation: number
      /** Milliseconds since the epoch. */
      readonly notBefore: number
      readonly notAfter: number
      readonly nextRotation?: number
    })
  /** An attempt failed. */
  | (OfIdentity & {
      readonly kind: 'failed'
      /** In a row. */
      readonly attempt: number
      readonly retryMs: number
      readonly error: unknown
      /** Whether there is a valid certificate meanwhile. */
      readonly isServed: boolean
    })
  /** The last certificate ran out before another one came. Once for each certificate. */
  | (OfIdentity & { readonly kind: 'expired'; readonly notAfter: number })
  /** Certificate and key were dropped. */
  | (OfIdentity & { readonly kind: 'forgotten' })
