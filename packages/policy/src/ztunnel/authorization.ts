/** The L4 form that ztunnel enforces and WDS carries (`istio.security.Authorization`), in our own words. */

export type AuthorizationScope = 'Global' | 'Namespace' | 'WorkloadSelector'

/** A policy without rules never matches: an ALLOW without rules denies all, a DENY without rules nothing. */
export interface Authorization {
  readonly name: string
  readonly namespace: string
  /** `WorkloadSelector` applies only to workloads that name it in `authorizationPolicies`. */
  readonly scope: AuthorizationScope
  readonly action: 'Allow' | 'Deny'
  /** Matched and reported, never enforced. */
  readonly dryRun: boolean
  /** Or-ed. */
  readonly rules: readonly AuthorizationRule[]
}

export interface AuthorizationRule {
  /** And-ed; a rule without clauses matches everything. */
  readonly clauses: readonly AuthorizationClause[]
}

export interface AuthorizationClause {
  /** Or-ed; a clause without matches matches everything. */
  readonly matches: readonly AuthorizationMatch[]
}

/**
 * Attributes are and-ed, the values of one or-ed, `not…` means none of them; an empty list is an attribute that is
 * not set, and a match that sets none never matches.
 */
export interface AuthorizationMatch {
  readonly namespaces: readonly StringMatch[]
  readonly notNamespaces: readonly StringMatch[]
  /** Against the SPIFFE ID without `spiffe://`. */
  readonly principals: readonly StringMatch[]
  readonly notPrincipals: readonly StringMatch[]
  readonly serviceAccounts: readonly ServiceAccountMatch[]
  readonly notServiceAccounts: readonly ServiceAccountMatch[]
  /** CIDR text, `10.0.0.0/8`. */
  readonly sourceIps: readonly string[]
  readonly notSourceIps: readonly string[]
  readonly destinationIps: readonly string[]
  readonly notDestinationIps: readonly string[]
  readonly destinationPorts: readonly number[]
  readonly notDestinationPorts: readonly number[]
}

export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string }
  /** Any value that is not empty. */
  | { readonly kind: 'presence' }

export interface ServiceAccountMatch {
  readonly namespace: string
  readonly serviceAccount: string
}

export type AuthorizationAttribute = keyof AuthorizationMatch

/** A match that sets nothing, to spread from. */
export const emptyMatch: AuthorizationMatch = Object.freeze({
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
})

/** `namespace/name`: the key of a policy in a store, in xDS and in a workload's list. */
export function authorizationKey(policy: { readonly namespace: string; readonly name: string }): string {
  return `${policy.namespace}/${policy.name}`
}
