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
export type {
  JwtRule,
  RequestAuthentication,
  RequestAuthenticationSpec,
} from './documents/request-authentication.ts'
export type {
  PolicyRequest,
  RequestDestination,
  RequestHttp,
  RequestSource,
} from './evaluator/request.ts'
export type {
  ClauseTrace,
  DryRunVerdict,
  Enforcer,
  FieldTrace,
  PolicyDialect,
  PolicyTrace,
  PolicyVerdict,
  RuleTrace,
} from './evaluator/verdict.ts'
export { parseJson, type TextStart } from './json/parse-json.ts'
export { formatEnforcer } from './evaluator/enforcer.ts'
export { formatVerdict } from './evaluator/format-verdict.ts'
export { readEnforcer, readPolicyRequest } from './evaluator/read-request.ts'
export { createEvaluator } from './evaluator/create-evaluator.ts'
export type {
  EvaluatorDocuments,
  EvaluatorOptions,
  PolicyEvaluator,
} from './evaluator/policy-evaluator.ts'
export { positionsOf, rememberPositions } from './documents/positions.ts'
export { type PolicyKind, policyKindOf } from './documents/policy-kind.ts'
export type { ReadOptions } from './documents/read-spec.ts'
export { readAuthorizationPolicy } from './documents/read-authorization-policy.ts'
export { readPeerAuthentication } from './documents/read-peer-authentication.ts'
export { readRequestAuthentication } from './documents/read-request-authentication.ts'
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
export { toAuthorization, type Translation, type TranslationOptions } from './ztunnel/to-authorization.ts'
export { selectsWorkload } from './ztunnel/selector.ts'
export {
  convertPeerAuthentications,
  type EffectiveMode,
  type PeerAuthenticationPlan,
  type SelectableWorkload,
} from './ztunnel/convert-peer-authentications.ts'
export { authorizationProblems } from './ztunnel/authorization-problems.ts'
export { createPolicySet, type PolicySet } from './engine/policy-set.ts'
export { createPolicyStore, type PolicyStore, type PolicyUpdate } from './engine/store.ts'
export { decide, type DecideOptions, type DryRunFinding } from './engine/decide.ts'
export {
  type ClauseFailure,
  explain,
  type Explanation,
  formatExplanation,
  type MatchFailure,
  type PolicyExplanation,
  type RuleExplanation,
} from './engine/explain.ts'
export {
  type AuthorizerOptions,
  createAuthorizer,
  type PolicyAuthorizer,
  type RecheckOptions,
} from './engine/admit.ts'
export {
  type NormalizedPath,
  normalizePath,
  type NormalizePathOptions,
  type PathNormalization,
} from './waypoint/normalize-path.ts'
export type { WaypointTarget } from './waypoint/attachment.ts'
export type { WaypointPolicyOptions } from './waypoint/attached-policies.ts'
export type { HttpRequestFacts } from './waypoint/facts.ts'
export type { JwtClaims } from './waypoint/jwt-claims.ts'
export type { WaypointDecision, WaypointDialect, WaypointDryRun } from './waypoint/decision.ts'
export { defaultMeshConfig, type MeshConfig, parseMeshConfig, readMeshConfig } from './custom/mesh-config.ts'
export {
  type AuthorizationProvider,
  type CheckedBody,
  type GrpcAuthorizationProvider,
  headerMatcher,
  type HttpAuthorizationProvider,
} from './custom/provider.ts'
export {
  type CustomMatch,
  type CustomMatches,
  type CustomRequirement,
  type ProviderState,
  requireProviders,
  type RequirementOptions,
} from './custom/requirement.ts'
export { createWaypointPolicies, type WaypointPolicies } from './waypoint/waypoint-policies.ts'
export type {
  WaypointClauseFailure,
  WaypointExplanation,
  WaypointFieldFailure,
  WaypointPolicyExplanation,
  WaypointRuleExplanation,
} from './waypoint/explain-request.ts'
export { formatWaypointExplanation } from './waypoint/format-explanation.ts'
export {
  requireWaypoint,
  type RequiredWaypoint,
  type RequireWaypointOptions,
} from './waypoint/require-waypoint.ts'
export {
  allow,
  audit,
  type AuthorizationPolicyBuilder,
  custom,
  deny,
} from './builders/authorization-policy.ts'
export {
  peerAuthentication,
  type PeerAuthenticationBuilder,
  requestAuthentication,
  type RequestAuthenticationBuilder,
} from './builders/authentication.ts'
export { type PolicyManifest, type SecurityDocument, toManifest, toYaml } from './builders/manifest.ts'
export type {
  AddressTerms,
  ConditionKey,
  ConditionTerms,
  HttpMethod,
  MetadataTerms,
  ObjectName,
  OneOrMore,
  OperationTerms,
  PrincipalTerms,
  ServiceAccountTerms,
  SourceTerms,
  TargetTerms,
  UnjudgedConditionKey,
} from './builders/terms.ts'
export {
  isLintId,
  type LintId,
  lintPage,
  type LintRule,
  lintRules,
  type LintSeverity,
} from './lint/catalog.ts'
export type { LintDocuments, LintFinding } from './lint/finding.ts'
export type { SourceText } from './lint/locate.ts'
export { type LintOptions, lintPolicies } from './lint/lint-policies.ts'
export type {
  MeshFacts,
  MeshGateway,
  MeshService,
  MeshServicePort,
  MeshWaypoint,
  MeshWorkload,
} from './where/mesh-facts.ts'
export {
  createJwtAuthenticator,
  type JwtAuthenticator,
  type JwtAuthenticatorOptions,
  type JwtOutcome,
  jwtRulesOf,
} from './jwt/authenticator.ts'
export { attachedJwtRules } from './jwt/attached-rules.ts'
export type { JwtEdits, JwtRequest } from './jwt/request.ts'
export { failureText, type JwtFailure, type JwtRefusal } from './jwt/status.ts'
export { createJwksCache, type FetchText, type JwksCache, type JwksCacheOptions } from './jwt/jwks-cache.ts'
export { type JwksReference, type JwksSource, noJwksSource } from './jwt/jwks-source.ts'
export { type JwtKey, type JwtKeySet, readKeySet } from './jwt/key-set.ts'
export { checkDecidedBy, type DecidedBy, decidedBy, wasDecidedBy } from './test-file/decided-by.ts'
export { describeRequest } from './test-file/describe-request.ts'
export { readPolicyTests } from './test-file/read-test-file.ts'
export {
  createPolicyBench,
  type PolicyBench,
  type PolicyQuestion,
  type PolicyTestResult,
  type PolicyTestRun,
  runPolicyTests,
} from './test-file/run-tests.ts'
export type { DestinationTerms, KnownWorkload, RequestTerms } from './test-file/terms.ts'
export type {
  PolicyExpectation,
  PolicyTestCase,
  PolicyTestFile,
  PolicyTestSettings,
} from './test-file/test-case.ts'
export { type CoverageItem, coverageItems, type CoverageKind } from './coverage/items.ts'
export { addCounts, type CoverageCounts, type CoverageRecorder } from './coverage/recorder.ts'
export {
  coverageLcov,
  type CoverageReport,
  coverageReport,
  type CoverageShare,
  type CoverageSummary,
  formatCoverage,
  type PolicyCoverage,
} from './coverage/report.ts'
export {
  type EnforcedRule,
  type EnforcementPoint,
  type EnforcementRow,
  type SeenCaller,
  type WhereDocuments,
  whereEnforced,
  type WhereOptions,
} from './where/where-enforced.ts'
export { impliedMesh } from './where/implied-mesh.ts'
export type { RuleEffect } from './where/l4-effect.ts'
export {
  classesOf,
  type DimensionClasses,
  type Implication,
  implies,
  isSatisfiable,
  type RuleSetOptions,
  type Satisfiability,
  type ValueClass,
} from './symbolic/rule-set.ts'
export { diffPolicies } from './diff/diff-policies.ts'
export type { Decider, DiffOptions, PolicyChange, PolicyDiff, UndecidedPart } from './diff/policy-diff.ts'
export { conditionKeys } from './documents/policy-values.ts'
export { type L4Effect, l4EffectOf } from './where/l4-effect.ts'
export {
  createExpiryTimer,
  EXPIRES,
  expiresAt,
  type ExpiryTimer,
  hasExpired,
  nextExpiry,
  withoutExpired,
} from './documents/expiry.ts'
export { readRecorded, type Recorded } from './suggest/read-recorded.ts'
export type { Mutant } from './suggest/mutants.ts'
export { type Suggestion, type SuggestOptions, suggestPolicies } from './suggest/suggest-policies.ts'
export { suggestedTests, type SuggestedTestOptions } from './suggest/suggested-tests.ts'
export { type BlockedTraffic, type WhatIf, whatIf, type WhatIfOptions } from './suggest/what-if.ts'
export {
  type MigrateOptions,
  type RewriteOptions,
  rewritePolicies,
  type Rewritten,
} from './migrate/rewrite-policies.ts'
export { type MigrationChange, type MigrationProof, proveMigration } from './migrate/prove-migration.ts'
