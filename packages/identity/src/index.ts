/**
 * SPIFFE identities for Node: an embedded CA, certificate requests, strict peer verification, rotation.
 * @packageDocumentation
 */
export { IdentityError, type IdentityErrorCode } from './errors.ts'
export {
  type CertificateAuthority,
  type CertificateAuthorityOptions,
  createCertificateAuthority,
  type ServerCertificate,
  type SignedCertificate,
  type SignRequest,
} from './ca.ts'
export { type CertificateRequest, createCertificateRequest } from './csr.ts'
export { createCredentials, type CredentialsOptions } from './credentials.ts'
export { verifyPeerChain, type VerifyPeerOptions } from './verify.ts'
export { type CertificateSigner, createLocalSigner, type SigningRequest } from './signer.ts'
export { createIstioCaClient, type IstioCaClientOptions } from './ca-client.ts'
export {
  type CaAuthorization,
  type CaCall,
  type CaService,
  type CaServiceOptions,
  createCaService,
  type IssuedCertificate,
} from './ca-service.ts'
export {
  type CertificateStatus,
  createIdentityManager,
  type IdentityManager,
  type IdentityManagerOptions,
} from './manager.ts'
