/** `AuthorizationPolicy` of `security.istio.io`, as readonly data: every field of the Istio API, none of our own. */
import type { PolicyObject } from './metadata.ts'

export type AuthorizationAction = 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM'

export interface AuthorizationPolicy extends PolicyObject {
  readonly kind: 'AuthorizationPolicy'
  readonly spec: AuthorizationPolicySpec
}

export interface AuthorizationPolicySpec {
  readonly selector?: WorkloadSelector
  readonly targetRefs?: readonly PolicyTargetReference[]
  /** ALLOW when absent. */
  readonly action?: AuthorizationAction
  /** Or-ed. Absent and empty are the same: never matches. */
  readonly rules?: readonly PolicyRuleSpec[]
  /** With CUSTOM only. */
  readonly provider?: { readonly name: string }
}

export interface WorkloadSelector {
  readonly matchLabels: Readonly<Record<string, string>>
}

export interface PolicyTargetReference {
  /** Empty for the core group. */
  readonly group: string
  readonly kind: string
  readonly name: string
  readonly namespace?: string
}

/** And of: one of `from`, one of `to`, each of `when`. An absent part matches anything. */
export interface PolicyRuleSpec {
  readonly from?: readonly { readonly source: PolicySource }[]
  readonly to?: readonly { readonly operation: PolicyOperation }[]
  readonly when?: readonly PolicyCondition[]
}

/** Fields are and-ed, values of a field or-ed, `not…` means none of them. */
export interface PolicySource {
  readonly principals?: readonly string[]
  readonly notPrincipals?: readonly string[]
  readonly requestPrincipals?: readonly string[]
  readonly notRequestPrincipals?: readonly string[]
  readonly namespaces?: readonly string[]
  readonly notNamespaces?: readonly string[]
  readonly ipBlocks?: readonly string[]
  readonly notIpBlocks?: readonly string[]
  readonly remoteIpBlocks?: readonly string[]
  readonly notRemoteIpBlocks?: readonly string[]
  readonly serviceAccounts?: readonly string[]
  readonly notServiceAccounts?: readonly string[]
  readonly trustDomains?: readonly string[]
  readonly notTrustDomains?: readonly string[]
}

export interface PolicyOperation {
  readonly hosts?: readonly string[]
  readonly notHosts?: readonly string[]
  readonly ports?: readonly string[]
  readonly notPorts?: readonly string[]
  readonly methods?: readonly string[]
  readonly notMethods?: readonly string[]
  readonly paths?: readonly string[]
  readonly notPaths?: readonly string[]
}

export interface PolicyCondition {
  readonly key: string
  readonly values?: readonly string[]
  readonly notValues?: readonly string[]
}

export type SourceField = keyof PolicySource
export type OperationField = keyof PolicyOperation
