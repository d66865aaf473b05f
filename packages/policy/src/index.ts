/**
 * Istio's authorization policy: read, translate, compile, decide, and say why. Runs in a browser.
 * @packageDocumentation
 */
export { PolicyError, type PolicyErrorCode } from './errors.ts'
export { formatProblem, type Problem, type SourcePosition } from './yaml/problem.ts'
export { readYaml, type YamlDocument, type YamlFile } from './yaml/read-yaml.ts'
export type { YamlObject, YamlReader } from './yaml/reader.ts'
export { type ObjectMeta, type PolicyObject, readMetadata } from './documents/metadata.ts'
export type {
  AuthorizationAction,
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  PolicyCondition,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
  PolicyTargetReference,
  WorkloadSelector,
} from './documents/authorization-policy.ts'
export type {
  MutualTlsMode,
  PeerAuthentication,
  PeerAuthenticationSpec,
} from './documents/peer-authentication.ts'
export { readAuthorizationPolicy } from './documents/read-authorization-policy.ts'
export { readPeerAuthentication } from './documents/read-peer-authentication.ts'
export { parsePolicies, type PolicyDocuments, readPolicies } from './documents/read-policies.ts'
export {
  type Authorization,
  type AuthorizationAttribute,
  type AuthorizationClause,
  authorizationKey,
  type AuthorizationMatch,
  type AuthorizationRule,
  type AuthorizationScope,
  emptyMatch,
  type ServiceAccountMatch,
  type StringMatch,
} from './ztunnel/authorization.ts'
