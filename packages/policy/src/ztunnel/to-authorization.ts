/**
 * AuthorizationPolicy to the L4 form, exactly as istiod translates it for ztunnel, with a warning wherever less is
 * enforced than the document says.
 *
 * Source: istiod observed (its WDS output), Istio's documentation of ambient L4 policy.
 */
import { CoreError, formatCidr, parseCidr } from '@ambient/core'
import {
  type Authorization,
  type AuthorizationClause,
  type AuthorizationMatch,
  type AuthorizationScope,
  emptyMatch,
  type ServiceAccountMatch,
  type StringMatch,
} from './authorization.ts'
import { translationWarnings } from './translation-warnings.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import { hasHttpOperation, hasHttpSource, isL4Key } from './http-fields.ts'
import type {
  AuthorizationPolicy,
  PolicyCondition,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
} from '../documents/authorization-policy.ts'

export interface TranslationOptions {
  /** Policies of this namespace without selector apply to every namespace; `istio-system` in most meshes. */
  readonly rootNamespace: string
  /** istiod's AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY. Off by default, as there: dry-run policies are not sent. */
  readonly dryRun?: boolean
}

export type Translation =
  | {
      readonly kind: 'sent'
      readonly authorization: Authorization
      /** Where each of its rules comes from: istiod leaves rules out, so their numbers are not those of the document. */
      readonly origins: readonly RuleOrigin[]
      /** What becomes weaker, or never matches, at L4. */
      readonly warnings: readonly string[]
    }
  /** ztunnel gets nothing of this policy: it is a waypoint's, or of a kind that L4 does not know. */
  | { readonly kind: 'not-sent'; readonly reason: string }

export interface RuleOrigin {
  /** Index in the document. */
  readonly rule: number
  /** Of each clause: `to`, `from`, `when[0]`, … */
  readonly parts: readonly string[]
}

export function toAuthorization(policy: AuthorizationPolicy, options: TranslationOptions): Translation {
  const { metadata, spec } = policy
  if ((spec.targetRefs?.length ?? 0) > 0)
    return notSent('targetRefs name what a waypoint enforces; a ztunnel ignores the policy')
  const action = spec.action ?? 'ALLOW'
  if (action !== 'ALLOW' && action !== 'DENY') return notSent(`ztunnel does not support the ${action} action`)
  // What does not parse is enforced: the safe reading, and istiod's.
  const dryRun = parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true
  if (dryRun && options.dryRun !== true)
    return notSent('ztunnel does not support dry run unless it is enabled')
  const context = { allow: action === 'ALLOW', namespace: metadata.namespace }
  const translated = (spec.rules ?? []).flatMap((rule, index) => {
    const clauses = translateRule(rule, context)
    return clauses === undefined ? [] : [{ clauses, origin: { rule: index, parts: partsOf(rule) } }]
  })
  const authorization: Authorization = {
    name: metadata.name,
    namespace: metadata.namespace,
    scope: scopeOf(policy, options.rootNamespace),
    action: action === 'ALLOW' ? 'Allow' : 'Deny',
    dryRun,
    rules: translated.map(({ clauses }) => ({ clauses })),
  }
  const origins = translated.map(({ origin }) => origin)
  return { kind: 'sent', authorization, origins, warnings: translationWarnings(policy) }
}

interface RuleContext {
  readonly allow: boolean
  readonly namespace: string
}

function notSent(reason: string): Translation {
  return { kind: 'not-sent', reason }
}

function scopeOf(policy: AuthorizationPolicy, rootNamespace: string): AuthorizationScope {
  if (policy.spec.selector !== undefined) return 'WorkloadSelector'
  return policy.metadata.namespace === rootNamespace ? 'Global' : 'Namespace'
}

/** One clause for all `to`, one for all `from`, one per `when`; `undefined` when the rule is dropped. */
function translateRule(
  rule: PolicyRuleSpec,
  context: RuleContext,
): readonly AuthorizationClause[] | undefined {
  if (context.allow && isHttpRule(rule)) return undefined
  const clauses: AuthorizationClause[] = []
  const { to = [], from = [], when = [] } = rule
  if (to.length > 0) clauses.push({ matches: to.map(({ operation }) => operationMatch(operation)) })
  if (from.length > 0)
    clauses.push({ matches: from.map(({ source }) => sourceMatch(source, context.namespace)) })
  for (const condition of when) clauses.push({ matches: [conditionMatch(condition)] })
  // A list that grew keeps room for more; there are as many as rules.
  return clauses.slice()
}

/** In the order of the clauses. */
function partsOf({ to = [], from = [], when = [] }: PolicyRuleSpec): readonly string[] {
  return [
    ...(to.length > 0 ? ['to'] : []),
    ...(from.length > 0 ? ['from'] : []),
    ...when.map((_, index) => `when[${index}]`),
  ]
}

function isHttpRule({ to = [], from = [], when = [] }: PolicyRuleSpec): boolean {
  return (
    to.some(({ operation }) => hasHttpOperation(operation)) ||
    from.some(({ source }) => hasHttpSource(source)) ||
    when.some(({ key }) => !isL4Key(key))
  )
}

function operationMatch({ ports, notPorts }: PolicyOperation): AuthorizationMatch {
  return { ...emptyMatch, destinationPorts: toPorts(ports), notDestinationPorts: toPorts(notPorts) }
}

function sourceMatch(source: PolicySource, namespace: string): AuthorizationMatch {
  return {
    ...emptyMatch,
    namespaces: toStringMatches(source.namespaces),
    notNamespaces: toStringMatches(source.notNamespaces),
    principals: toStringMatches(source.principals),
    notPrincipals: toStringMatches(source.notPrincipals),
    serviceAccounts: toServiceAccounts(source.serviceAccounts, namespace),
    notServiceAccounts: toServiceAccounts(source.notServiceAccounts, namespace),
    sourceIps: toCidrs(source.ipBlocks),
    notSourceIps: toCidrs(source.notIpBlocks),
  }
}

/** A key that L4 does not know gives a match that sets nothing, hence never matches. */
function conditionMatch({ key, values, notValues }: PolicyCondition): AuthorizationMatch {
  switch (key) {
    case 'source.ip':
      return { ...emptyMatch, sourceIps: toCidrs(values), notSourceIps: toCidrs(notValues) }
    case 'source.namespace':
      return { ...emptyMatch, namespaces: toStringMatches(values), notNamespaces: toStringMatches(notValues) }
    case 'source.principal':
      return { ...emptyMatch, principals: toStringMatches(values), notPrincipals: toStringMatches(notValues) }
    case 'destination.ip':
      return { ...emptyMatch, destinationIps: toCidrs(values), notDestinationIps: toCidrs(notValues) }
    case 'destination.port':
      return { ...emptyMatch, destinationPorts: toPorts(values), notDestinationPorts: toPorts(notValues) }
    default:
      return emptyMatch
  }
}

/** Of most fields of most rules: one list for all of them. */
const none: readonly never[] = Object.freeze([])

/** The suffix form is looked for first; a second star is a star. */
function toStringMatches(values: readonly string[] = []): readonly StringMatch[] {
  if (values.length === 0) return none
  return values.map(value => {
    if (value === '*') return { kind: 'presence' }
    if (value.startsWith('*')) return { kind: 'suffix', value: value.slice(1) }
    if (value.endsWith('*')) return { kind: 'prefix', value: value.slice(0, -1) }
    return { kind: 'exact', value }
  })
}

function toServiceAccounts(
  values: readonly string[] = [],
  namespace: string,
): readonly ServiceAccountMatch[] {
  if (values.length === 0) return none
  return values.map(value => {
    const slash = value.indexOf('/')
    if (slash < 0) return { namespace, serviceAccount: value }
    return { namespace: value.slice(0, slash), serviceAccount: value.slice(slash + 1) }
  })
}

function toPorts(values: readonly string[] = []): readonly number[] {
  if (values.length === 0) return none
  return values.filter(value => /^\d{1,5}$/.test(value)).map(Number)
}

/** Canonical text, host bits kept. What does not parse stays as written: the matcher decides what it is worth. */
function toCidrs(values: readonly string[] = []): readonly string[] {
  if (values.length === 0) return none
  return values.map(value => {
    try {
      return formatCidr(parseCidr(value))
    } catch (error) {
      if (error instanceof CoreError) return value
      throw error
    }
  })
}
