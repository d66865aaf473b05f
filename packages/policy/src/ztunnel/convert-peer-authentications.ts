/**
 * PeerAuthentication to L4 policies, with istiod's names: STRICT is a DENY of callers without identity. Where istiod
 * converts a policy that nobody lists, or lists one that it never sends, this does what the documents say.
 */
import { type Authorization, authorizationKey, type AuthorizationRule, emptyMatch } from './authorization.ts'
import { matchesSelector, selectsAll } from './selector.ts'
import type { MutualTlsMode, PeerAuthentication } from '../documents/peer-authentication.ts'

/** What a workload has to be to have policies and a mode. */
export interface SelectableWorkload {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

export type EffectiveMode = Exclude<MutualTlsMode, 'UNSET'>

export interface PeerAuthenticationPlan {
  /** To be sent with the other policies. */
  readonly authorizations: readonly Authorization[]
  /** Keys to list in the workload's `authorizationPolicies`, after its own. */
  policiesFor(workload: SelectableWorkload): readonly string[]
  /** The mode in force, for a port of the workload when one is named. DISABLE is enforced as PERMISSIVE. */
  modeFor(workload: SelectableWorkload, port?: number): EffectiveMode
}

/** istiod's name of the policy that strict workloads share. */
const STATIC_STRICT = 'istio_converted_static_strict'
/** istiod's name of a converted document, with the document's. */
export const CONVERTED = 'converted_peer_authentication_'

/** A caller in plaintext. */
export const noIdentity = Object.freeze({ ...emptyMatch, notPrincipals: [{ kind: 'presence' as const }] })

/**
 * Plans the whole mesh. Workload level wins over namespace, namespace over mesh (the root namespace); within a level
 * the oldest wins, then the first by name. A selector in the root namespace is ignored, as istiod does.
 */
export function convertPeerAuthentications(
  all: readonly PeerAuthentication[],
  options: { readonly rootNamespace: string },
): PeerAuthenticationPlan {
  const { rootNamespace } = options
  const sorted = [...all].sort(byAge)
  const parents = parentModes(sorted)
  const parentOf = (namespace: string): EffectiveMode =>
    parents.get(namespace) ?? parents.get(rootNamespace) ?? 'PERMISSIVE'
  const selecting = sorted.filter(
    document => !selectsAll(document.spec.selector) && document.metadata.namespace !== rootNamespace,
  )
  const levels = new Map(
    selecting.map(document => [document, levelOf(document, parentOf(document.metadata.namespace))]),
  )
  const find = (workload: SelectableWorkload): WorkloadLevel | undefined => {
    const found = selecting.find(
      ({ metadata, spec }) =>
        metadata.namespace === workload.namespace && matchesSelector(spec.selector, workload.labels),
    )
    return found === undefined ? undefined : levels.get(found)
  }
  const staticStrict = strictForAll(rootNamespace)
  const staticKey = authorizationKey(staticStrict)
  const converted = [...levels.values()].flatMap(level => level.converted ?? [])
  return {
    authorizations: all.length === 0 ? [] : [staticStrict, ...converted],
    policiesFor(workload) {
      const level = find(workload)
      if (level?.converted !== undefined) return [authorizationKey(level.converted)]
      return (level?.mode ?? parentOf(workload.namespace)) === 'STRICT' ? [staticKey] : []
    },
    modeFor(workload, port) {
      const level = find(workload)
      const atPort = port === undefined ? undefined : level?.ports.get(port)
      return atPort ?? level?.mode ?? parentOf(workload.namespace)
    },
  }
}

/** A document with a selector, its mode and ports resolved against what it inherits. */
interface WorkloadLevel {
  readonly mode: EffectiveMode
  readonly ports: ReadonlyMap<number, EffectiveMode>
  /** Only where a port differs from the mode: a plain mode needs no policy of its own. */
  readonly converted: Authorization | undefined
}

function levelOf(document: PeerAuthentication, parent: EffectiveMode): WorkloadLevel {
  const mode = resolve(document.spec.mtls?.mode, parent)
  const ports = new Map(
    [...(document.spec.portLevelMtls ?? [])].map(([port, tls]) => [port, resolve(tls.mode, mode)] as const),
  )
  const strict = mode === 'STRICT'
  const exceptions = [...ports].filter(([, at]) => (at === 'STRICT') !== strict).map(([port]) => port)
  const rules = strict ? strictWithHoles(exceptions) : strictPorts(exceptions)
  const converted =
    exceptions.length === 0
      ? undefined
      : denial(document.metadata.namespace, `${CONVERTED}${document.metadata.name}`, rules)
  return { mode, ports, converted }
}

function resolve(mode: MutualTlsMode | undefined, parent: EffectiveMode): EffectiveMode {
  return mode === undefined || mode === 'UNSET' ? parent : mode
}

/** One rule: no identity, and none of the ports that stay open. */
function strictWithHoles(ports: readonly number[]): readonly AuthorizationRule[] {
  const holes = ports.map(port => ({ matches: [{ ...emptyMatch, notDestinationPorts: [port] }] }))
  return [{ clauses: [{ matches: [noIdentity] }, ...holes] }]
}

/** A rule per port that asks for identity. */
function strictPorts(ports: readonly number[]): readonly AuthorizationRule[] {
  return ports.map(port => ({ clauses: [{ matches: [{ ...noIdentity, destinationPorts: [port] }] }] }))
}

/** What every workload under a strict mode lists. */
export function strictForAll(rootNamespace: string): Authorization {
  return denial(rootNamespace, STATIC_STRICT, [{ clauses: [{ matches: [noIdentity] }] }])
}

export function denial(namespace: string, name: string, rules: readonly AuthorizationRule[]): Authorization {
  return { name, namespace, scope: 'WorkloadSelector', action: 'Deny', dryRun: false, rules }
}

/** Mode per namespace from the documents without selector, unset ones left out. */
function parentModes(sorted: readonly PeerAuthentication[]): ReadonlyMap<string, EffectiveMode> {
  const modes = new Map<string, MutualTlsMode | undefined>()
  for (const { metadata, spec } of sorted)
    if (selectsAll(spec.selector) && !modes.has(metadata.namespace))
      modes.set(metadata.namespace, spec.mtls?.mode)
  const known = [...modes].flatMap(([namespace, mode]) =>
    mode === undefined || mode === 'UNSET' ? [] : [[namespace, mode] as const],
  )
  return new Map(known)
}

/** The oldest first, then by name: which of several documents of one level counts. */
export function byAge(a: PeerAuthentication, b: PeerAuthentication): number {
  const age = (a.metadata.creationTimestamp ?? 0) - (b.metadata.creationTimestamp ?? 0)
  if (age !== 0) return age
  const [left, right] = [
    `${a.metadata.name}.${a.metadata.namespace}`,
    `${b.metadata.name}.${b.metadata.namespace}`,
  ]
  return left < right ? -1 : left > right ? 1 : 0
}
