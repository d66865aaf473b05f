/** The one error class of `@ambient/identity`. */
import { AmbientError } from '@ambient/core'

export type IdentityErrorCode =
  /** An option that cannot be used. */
  | 'AMBIENT_E_IDENTITY_OPTION'
  /** A certificate, or a chain of them, that cannot be read. */
  | 'AMBIENT_E_CERTIFICATE'
  /** A private key that cannot be read, or that belongs to another certificate. */
  | 'AMBIENT_E_PRIVATE_KEY'
  /** A trust bundle without a single certificate that can be used. */
  | 'AMBIENT_E_TRUST_BUNDLE'
  /** A revocation list that cannot be read. */
  | 'AMBIENT_E_CRL'
  /** The bundle endpoint of a trust domain could not be reached, did not prove who it is, or gave no document. */
  | 'AMBIENT_E_BUNDLE_ENDPOINT'
  /** A TLS peer was judged and refused: the reason names certificate and rule. */
  | 'AMBIENT_E_PEER_IDENTITY'
  /** A TLS connection could not be made. */
  | 'AMBIENT_E_TLS'
  /** A certificate request that a CA may not sign. */
  | 'AMBIENT_E_CERTIFICATE_REQUEST'
  /** An identity that this CA does not speak for. */
  | 'AMBIENT_E_CA_IDENTITY'
  /** The folder of a CA that cannot be read, written or trusted, or that another process is changing. */
  | 'AMBIENT_E_CA_FILES'
  /** A lifetime that this CA does not give. */
  | 'AMBIENT_E_CA_TTL'
  /** The CA could not be reached, did not prove who it is, or did not answer in time. */
  | 'AMBIENT_E_CA_UNREACHABLE'
  /** The CA said no. */
  | 'AMBIENT_E_CA_REFUSED'
  /** The CA answered with something that is not a certificate for this key and this identity. */
  | 'AMBIENT_E_CA_RESPONSE'
  /** No certificate yet: the reason is the cause. */
  | 'AMBIENT_E_IDENTITY_UNAVAILABLE'
  /** The certificate ran out while its renewal failed: the reason is the cause. */
  | 'AMBIENT_E_IDENTITY_EXPIRED'
  /** The issuer took the identity back, and gave no other. */
  | 'AMBIENT_E_IDENTITY_WITHDRAWN'
  /** Forgotten while somebody waited for it. */
  | 'AMBIENT_E_IDENTITY_FORGOTTEN'
  /** The manager or signer was closed. */
  | 'AMBIENT_E_IDENTITY_CLOSED'
  /** A PEM file of a certificate, key or bundle that cannot be read. */
  | 'AMBIENT_E_CREDENTIAL_FILE'
  /** The source holds another identity than the one that was asked for. */
  | 'AMBIENT_E_IDENTITY_NOT_HELD'
  /** A renewal was asked for where the issuer alone decides. */
  | 'AMBIENT_E_IDENTITY_ROTATION'
  /** The server of the Workload API could not be reached, or said no. */
  | 'AMBIENT_E_WORKLOAD_API'
  /** The server of the Workload API answered with something that its specification forbids. */
  | 'AMBIENT_E_WORKLOAD_API_RESPONSE'
  /** The socket of a Workload API server cannot be bound, or is not safe where it lies. */
  | 'AMBIENT_E_WORKLOAD_API_LISTEN'

export class IdentityError extends AmbientError<IdentityErrorCode> {}
