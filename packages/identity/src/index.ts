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
  type ServerNames,
  type SignedCertificate,
  type SignRequest,
} from './ca/authority.ts'
export { type CertificateRequest, createCertificateRequest } from './x509/csr.ts'
export { createCredentials, type CredentialsOptions } from './svid/credentials.ts'
export { verifyPeerChain, type VerifyPeerOptions } from './svid/verify.ts'
export { type ChainExplanation, explainChain, type ExplainedRule } from './svid/explain.ts'
export type { ChainRefusal, ChainVerdict } from './svid/verify.ts'
export type { BrokenChainRule, ChainRule } from './svid/rules.ts'
export type { CertificateFacts } from './x509/facts.ts'
export { readPemCertificates } from './x509/pem.ts'
export { type CertificateSigner, createLocalSigner, type SigningRequest } from './manager/signer.ts'
export { createIstioCaClient, type IstioCaClientOptions } from './istio/client.ts'
export {
  type CaAuthorization,
  type CaCall,
  type CaService,
  type CaServiceOptions,
  createCaService,
  type IssuedCertificate,
} from './istio/service.ts'
export {
  type CertificateStatus,
  createIdentityManager,
  type IdentityManager,
  type IdentityManagerOptions,
} from './manager/manager.ts'
export type { X509Source } from './sources/x509-source.ts'
export type { Revocations } from './crl/revocations.ts'
export { type BundleEndpointOptions, createBundleEndpoint } from './bundle/endpoint.ts'
export {
  createFederation,
  type FederatedEndpoint,
  type Federation,
  type FederationOptions,
  type FederationStatus,
} from './bundle/federation.ts'
export type { BundleEndpointProfile } from './bundle/fetch-bundle.ts'
export { bundlePem, formatSpiffeBundle, readSpiffeBundle, type SpiffeBundle } from './bundle/spiffe-bundle.ts'
export {
  type JwtProblem,
  type JwtSvid,
  type JwtVerdict,
  verifyJwtSvid,
  type VerifyJwtOptions,
} from './jwt/jwt-svid.ts'
export {
  createJwtAuthority,
  type IssuedJwtSvid,
  type JwtAuthority,
  type JwtAuthorityOptions,
  type JwtSvidRequest,
} from './jwt/authority.ts'
export { createCrlFile, type CrlFile, type CrlFileOptions, type CrlStatus } from './crl/crl-file.ts'
export type { CrlMode } from './crl/judge.ts'
export {
  createRevocationGuard,
  type Reporter,
  type RevocationGuard,
  type RevocationGuardOptions,
} from './crl/revocation-guard.ts'
export {
  createCredentialFileReader,
  type CredentialFileOptions,
  type CredentialFilePaths,
  type CredentialFileReader,
} from './sources/credential-files.ts'
export { createFileSource, type FileSourceOptions } from './sources/files.ts'
export { credentialsSourceOf } from './sources/own-source.ts'
export {
  createWorkloadApiSource,
  type WorkloadApiSource,
  type WorkloadApiSourceOptions,
} from './workload-api/source.ts'
export {
  createProxyIdentities,
  type ProxyIdentities,
  type ProxyIdentitiesOptions,
} from './proxy-identities.ts'
export { createWorkloadApiIdentities, type WorkloadApiIdentitiesOptions } from './workload-api/identities.ts'
export { readWorkloadApiAddress, type WorkloadApiAddress } from './workload-api/address.ts'
export type { WorkloadSvid } from './workload-api/snapshot.ts'
export type { FetchedJwtSvid, FetchJwtRequest, ValidateJwtRequest } from './workload-api/jwt-calls.ts'
export {
  createWorkloadApiServer,
  type WorkloadApiServer,
  type WorkloadApiServerOptions,
} from './workload-api/server.ts'
export {
  attestBySelectors,
  type AttestWorkload,
  type DueIdentity,
  type WorkloadCaller,
  type WorkloadRegistration,
  type WorkloadSelectors,
} from './workload-api/caller.ts'
export {
  type AuthorityFolderOptions,
  type CertificateAuthorityFolder,
  createCertificateAuthorityFiles,
  type NewAuthorityOptions,
  openCertificateAuthority,
  type RootRotation,
} from './ca/authority-folder.ts'
export type { RootRotationStep } from './ca/folder-changes.ts'
export { type CaKeyType, caKeyTypes } from './ca/key-algorithms.ts'
export {
  createHttpsAgent,
  createUndiciConnector,
  type TlsClientRules,
  type UndiciConnector,
  type UndiciTarget,
} from './tls/agents.ts'
export { connectTls, type ConnectTlsOptions, type TlsTarget } from './tls/connect-tls.ts'
export type { Expectation } from './tls/expectation.ts'
export { createGrpcChannelCredentials, createGrpcServerCredentials, peerOfCall } from './tls/grpc.ts'
export { peerIdentity } from './tls/peer-identity.ts'
export { secureServer, type SecureServerOptions } from './tls/secure-server.ts'
export {
  createServerIdentityCheck,
  createTlsOptions,
  type ServerIdentityCheck,
  type TlsClientOptions,
  type TlsOptionsRequest,
} from './tls/tls-options.ts'
export { authenticateCallers, type Caller, type CallerAuthentication } from './istio/callers.ts'
export type { ProjectedTokens } from './istio/projected-tokens.ts'
export { createTokenFile, readTokens, type TokenTable } from './istio/token-file.ts'
export { type CaServer, type CaServerOptions, createCaServer } from './istio/ca-server.ts'
export { believeRequests } from './istio/self-named.ts'
export type { IdentityEvent } from './manager/events.ts'
