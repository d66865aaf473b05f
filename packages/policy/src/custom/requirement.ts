/**
 * The contract of CUSTOM: which providers have to say yes before a request is judged, or why it is denied without asking.
 *
 * Source: istiod's translation of CUSTOM policies for Envoy (shadow rules whose names select the ext_authz filter).
 */
import type { PolicyRule } from '@ambient/core'
import { type WaypointDecision, waypointReasons } from '../waypoint/decision.ts'

/** The first rule of a provider's CUSTOM policies that matched. */
export interface CustomMatch {
  readonly provider: string
  readonly by: PolicyRule & { readonly rule: number }
  /** istiod's name of the rule, `istio-ext-authz-PROVIDER-ns[NS]-policy[NAME]-rule[I]`. */
  readonly id: string
  /** The answer where the provider cannot be asked: its detail ends in `-deny-due-to-bad-CUSTOM-action]`. */
  readonly denial: WaypointDecision
}

export interface CustomMatches {
  /** Every provider that an enforced CUSTOM policy of the target names, whether it matched or not; by name. */
  readonly providers: readonly string[]
  /** At most one per provider, by name. Empty: nobody has to be asked. */
  readonly matches: readonly CustomMatch[]
}

/**
 * Of a provider that a policy names: `ask` it; `missing`, so that what matches is denied; `ignored`, so that the policy
 * does nothing (an HTTP provider on a connection that carries no HTTP).
 */
export type ProviderState = 'ask' | 'missing' | 'ignored'

export interface RequirementOptions {
  stateOf(provider: string): ProviderState
  /**
   * Whether the policies of one target may name several providers, all of which then have to say yes. As istiod has it
   * by default, `false`: a second provider turns every CUSTOM rule of the target into a denial.
   */
  readonly severalProviders: boolean
}

export type CustomRequirement =
  | { readonly kind: 'none' }
  /** In this order; the first that says no ends it. */
  | { readonly kind: 'ask'; readonly matches: readonly CustomMatch[] }
  | { readonly kind: 'denied'; readonly decision: WaypointDecision }

const none: CustomRequirement = Object.freeze({ kind: 'none' })

/** Pure. Policies that do not match cost nothing: a missing provider denies matching requests only. */
export function requireProviders(
  { providers, matches }: CustomMatches,
  options: RequirementOptions,
): CustomRequirement {
  const [first] = matches
  if (first === undefined) return none
  if (providers.length > 1 && !options.severalProviders) {
    const reason = waypointReasons.severalProviders(first.by.policy, providers)
    return { kind: 'denied', decision: { ...first.denial, reason } }
  }
  const missing = matches.find(({ provider }) => options.stateOf(provider) === 'missing')
  if (missing !== undefined) return { kind: 'denied', decision: missing.denial }
  const asked = matches.filter(({ provider }) => options.stateOf(provider) === 'ask')
  return asked.length === 0 ? none : { kind: 'ask', matches: asked }
}
