/**
 * Where each policy is enforced: by which proxy, in which dialect, what of it is lost there, and whom that proxy sees as
 * the caller. Or why nowhere.
 *
 * Source: Istio's policy attachment for ztunnels, waypoints and gateways.
 */
import { attachedPlaces, type Place } from './places.ts'
import { l4EffectOf, type RuleEffect } from './l4-effect.ts'
import type { MeshFacts } from './mesh-facts.ts'
import type { AuthorizationPolicy, PolicyRuleSpec } from '../documents/authorization-policy.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import { defaults } from '../defaults.ts'
import type { PolicyDialect } from '../evaluator/verdict.ts'
import { compileWaypointPolicy } from '../waypoint/compile-policy.ts'
import { trustDomainsOf } from '../waypoint/trust-domains.ts'
import { toAuthorization } from '../ztunnel/to-authorization.ts'

export interface WhereOptions {
  /** Default `istio-system`. */
  readonly rootNamespace?: string
  /** Default `cluster.local`. */
  readonly trustDomain?: string
  readonly trustDomainAliases?: readonly string[]
}

export interface WhereDocuments {
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly peerAuthentications?: readonly PeerAuthentication[]
  readonly requestAuthentications?: readonly RequestAuthentication[]
}

/** One policy at one proxy; or a policy that no proxy enforces, with `point` absent. */
export interface EnforcementRow {
  readonly kind: 'AuthorizationPolicy' | 'PeerAuthentication' | 'RequestAuthentication'
  /** `namespace/name`. */
  readonly policy: string
  /** Of an AuthorizationPolicy. */
  readonly action?: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM'
  /** Only reported, never enforced. */
  readonly dryRun: boolean
  readonly point?: EnforcementPoint
  readonly dialect?: PolicyDialect
  readonly enforced: boolean
  /** By their index in the document; those that are enforced as they are written are here too. */
  readonly rules: readonly EnforcedRule[]
  /** Whom the proxy sees as the caller. */
  readonly sees?: SeenCaller
  /** What attaches it, or why nothing does. */
  readonly reason: string
}

export interface EnforcementPoint {
  readonly proxy: 'ztunnel' | 'sidecar' | 'waypoint' | 'gateway'
  /** `namespace/name` of the waypoint or gateway; of the workload for a ztunnel or sidecar. */
  readonly name: string
  /** What the traffic is for: `workload shop/web`, `Service shop/web`, `everything`. */
  readonly traffic: string
}

export interface EnforcedRule {
  readonly rule: number
  readonly effect: RuleEffect
  /** Fields that the proxy does not see. */
  readonly unseen: readonly string[]
}

/**
 * `client`: the caller itself. `waypoint`: the waypoint that its traffic came through, `identity`; callers that go around
 * it, to the address of a pod, are seen as themselves.
 */
export interface SeenCaller {
  readonly caller: 'client' | 'waypoint'
  /** `td/ns/…` of each waypoint. */
  readonly identities: readonly string[]
}

/** Every policy at every proxy that obeys it, in the order of the documents. A pure function. */
export function whereEnforced(
  documents: WhereDocuments,
  mesh: MeshFacts,
  options: WhereOptions = {},
): readonly EnforcementRow[] {
  const { rootNamespace = defaults.rootNamespace, trustDomain = defaults.trustDomain } = options
  const settings = { mesh, rootNamespace, trustDomain }
  const { authorizationPolicies, requestAuthentications = [], peerAuthentications = [] } = documents
  const trustDomains = trustDomainsOf(trustDomain, options.trustDomainAliases)
  return [
    ...authorizationPolicies.flatMap(policy =>
      attachedPlaces(policy, settings).map(place =>
        authorizationRow(policy, place, rootNamespace, trustDomains),
      ),
    ),
    ...requestAuthentications.flatMap(policy =>
      attachedPlaces(policy, settings).map(place => tokenRow(policy, place)),
    ),
    ...peerAuthentications.flatMap(policy =>
      attachedPlaces(policy, settings).map(place => peerRow(policy, place, rootNamespace)),
    ),
  ]
}

function authorizationRow(
  policy: AuthorizationPolicy,
  place: Place,
  rootNamespace: string,
  trustDomains: readonly string[],
): EnforcementRow {
  const { metadata, spec } = policy
  const { action = 'ALLOW' } = spec
  const base = {
    kind: policy.kind,
    policy: `${metadata.namespace}/${metadata.name}`,
    action,
    dryRun: parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true,
  }
  if (place.kind === 'nowhere') return { ...base, enforced: false, rules: [], reason: place.reason }
  const { point, sees, reason } = place
  if (point.proxy === 'ztunnel') {
    const translation = toAuthorization(policy, { rootNamespace })
    const at = { ...base, point, sees, dialect: 'ztunnel' as const }
    if (translation.kind === 'not-sent')
      return { ...at, enforced: false, rules: [], reason: `${reason}; ${translation.reason}` }
    const rules = (spec.rules ?? []).map((rule, index) => ({
      rule: index,
      ...l4EffectOf(rule, action === 'DENY' ? 'DENY' : 'ALLOW'),
    }))
    return { ...at, enforced: enforces(action, rules), rules, reason }
  }
  const dialect = place.opaque ? 'envoy-tcp' : 'envoy-http'
  const rules = compileWaypointPolicy(policy, dialect, trustDomains).rules.map(
    ({ skipped, dropped }, rule) => ({
      rule,
      effect: envoyEffect(skipped, dropped),
      unseen: dialect === 'envoy-tcp' ? unseenWithoutHttp(spec.rules?.[rule] ?? {}) : [],
    }),
  )
  return { ...base, point, sees, dialect, enforced: enforces(action, rules), rules, reason }
}

function envoyEffect(skipped: string | undefined, dropped: readonly string[]): RuleEffect {
  if (skipped !== undefined) return 'dropped'
  return dropped.length > 0 ? 'wider' : 'as-written'
}

/** Addresses and trust domains, which ztunnel does not judge, Envoy does. */
function unseenWithoutHttp(rule: PolicyRuleSpec): readonly string[] {
  const { when = [] } = rule
  return l4EffectOf(rule, 'DENY').unseen.filter(path => {
    const condition = /^when\[(\d+)\]$/.exec(path)?.[1]
    if (condition !== undefined) return when[Number(condition)]?.key.startsWith('request.') === true
    return /\.(not)?(hosts|methods|paths|requestPrincipals)$/i.test(path)
  })
}

/** An ALLOW always means something: whatever it does not allow is denied. */
function enforces(action: string, rules: readonly EnforcedRule[]): boolean {
  return action === 'ALLOW' || rules.some(({ effect }) => effect !== 'nothing' && effect !== 'dropped')
}

function tokenRow(policy: RequestAuthentication, place: Place): EnforcementRow {
  const base = {
    kind: policy.kind,
    policy: `${policy.metadata.namespace}/${policy.metadata.name}`,
    dryRun: false,
    rules: [],
  }
  if (place.kind === 'nowhere') return { ...base, enforced: false, reason: place.reason }
  const { point, sees, reason } = place
  if (point.proxy === 'ztunnel')
    return {
      ...base,
      point,
      sees,
      dialect: 'ztunnel',
      enforced: false,
      reason: `${reason}; ztunnel sees no tokens`,
    }
  if (place.opaque)
    return {
      ...base,
      point,
      sees,
      dialect: 'envoy-tcp',
      enforced: false,
      reason: `${reason}; there are no tokens without HTTP`,
    }
  return { ...base, point, sees, dialect: 'envoy-http', enforced: true, reason }
}

function peerRow(policy: PeerAuthentication, place: Place, rootNamespace: string): EnforcementRow {
  const { metadata, spec } = policy
  const base = {
    kind: policy.kind,
    policy: `${metadata.namespace}/${metadata.name}`,
    dryRun: false,
    rules: [],
  }
  if (place.kind === 'nowhere') return { ...base, enforced: false, reason: place.reason }
  const { point, sees, reason } = place
  if (point.proxy === 'gateway' || point.proxy === 'waypoint')
    return {
      ...base,
      point,
      sees,
      enforced: false,
      reason: `${reason}; a ${point.proxy} does not ask for it`,
    }
  const dialect = point.proxy === 'ztunnel' ? ('ztunnel' as const) : ('envoy-tcp' as const)
  const ignored = metadata.namespace === rootNamespace && spec.selector !== undefined
  return {
    ...base,
    point,
    sees,
    dialect,
    enforced: !ignored,
    reason: ignored ? `${reason}; a selector in the root namespace is ignored` : reason,
  }
}
