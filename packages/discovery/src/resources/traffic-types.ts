/** What the kinds of traffic management share: matches, header edits, CORS. Durations are milliseconds, shares percent. */
import type { KubernetesObject } from './types.ts'
import type { JsonObject } from './json.ts'

/** An object of which waypoints are told. */
export interface ConfigurationObject extends KubernetesObject {
  /** The spec as it was written: what goes over the wire, where the same reader reads it again. */
  readonly written: JsonObject
}

/** Regular expressions are RE2's and match the whole value. */
export type ValueMatch =
  | { readonly kind: 'exact' | 'prefix' | 'regex'; readonly value: string }
  /** There at all. */
  | { readonly kind: 'presence' }

/** A named thing and what its value has to be; header names are in lower case. */
export interface NamedMatch {
  readonly name: string
  readonly match: ValueMatch
}

export type HeaderValue = readonly [name: string, value: string]

/** Names in lower case. */
export interface HeaderModifier {
  readonly set: readonly HeaderValue[]
  readonly add: readonly HeaderValue[]
  readonly remove: readonly string[]
}

export interface HeaderOperations {
  readonly request: HeaderModifier
  readonly response: HeaderModifier
}

export const noModifier: HeaderModifier = Object.freeze({ set: [], add: [], remove: [] })
export const noOperations: HeaderOperations = Object.freeze({ request: noModifier, response: noModifier })

export interface CorsPolicy {
  /** Wildcards of the Gateway API (`https://*.example.com`) are regular expressions here. */
  readonly allowOrigins: readonly ValueMatch[]
  readonly allowMethods: readonly string[]
  readonly allowHeaders: readonly string[]
  readonly exposeHeaders: readonly string[]
  readonly maxAgeMs?: number
  readonly allowCredentials?: boolean
  /** What a preflight of another origin gets: passed on, or answered without CORS headers. */
  readonly unmatchedPreflights: 'FORWARD' | 'IGNORE'
}
