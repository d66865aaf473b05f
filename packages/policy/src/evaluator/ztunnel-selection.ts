/** What concerns one workload in the dialect `ztunnel`: what istiod sends and its ztunnel obeys, and what it does not. */
import { elsewhere } from './attachment.ts'
import type { ResolvedEnforcer } from './enforcer.ts'
import type { ResolvedDocuments } from './policy-evaluator.ts'
import { selectorText } from './text.ts'
import { parseCidr } from '@ambient/core'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { createPolicySet, type PolicySet } from '../engine/policy-set.ts'
import { type Authorization, type AuthorizationMatch, authorizationKey } from '../ztunnel/authorization.ts'
import { convertPeerAuthentications } from '../ztunnel/convert-peer-authentications.ts'
import { istiodPeerAuthentications } from '../ztunnel/istiod-peer-authentications.ts'
import { matchesSelector, selectsAll } from '../ztunnel/selector.ts'
import { type RuleOrigin, toAuthorization } from '../ztunnel/to-authorization.ts'

export interface AppliedPolicy {
  readonly key: string
  readonly document: AuthorizationPolicy
  readonly authorization: Authorization
  readonly origins: readonly RuleOrigin[]
  readonly by: string
}

export interface AbsentPolicy {
  readonly key: string
  readonly document: AuthorizationPolicy
  readonly why: string
  /** Whether it is a mistake of upstream's that nothing enforces it. */
  readonly bug: boolean
}

export interface ZtunnelSelection {
  /** In order of keys. */
  readonly applied: readonly AppliedPolicy[]
  readonly absent: readonly AbsentPolicy[]
  /** Converted from PeerAuthentications, as istiod sends and lists them. */
  readonly peers: readonly Authorization[]
  /** What the workload lists: its selector policies and converted ones, sent or not. */
  readonly listed: readonly string[]
  /** Everything that the ztunnel obeys for this workload. */
  readonly policies: PolicySet
  /** What the PeerAuthentications say, converted without istiod's mistakes. */
  readonly intendedPeers: PolicySet
  readonly intendedList: readonly string[]
}

export function selectForZtunnel(
  documents: ResolvedDocuments,
  workload: ResolvedEnforcer,
  rootNamespace: string,
): ZtunnelSelection {
  const applied: AppliedPolicy[] = []
  const absent: AbsentPolicy[] = []
  for (const key of [...documents.authorizationPolicies.keys()].sort()) {
    const document = documents.authorizationPolicies.get(key)
    const namespace = document?.metadata.namespace
    if (document === undefined || (namespace !== workload.namespace && namespace !== rootNamespace)) continue
    const found = judge(key, document, workload, rootNamespace)
    if ('authorization' in found) applied.push(found)
    else absent.push(found)
  }
  return { applied, absent, ...peersOf(documents, workload, rootNamespace, applied) }
}

function peersOf(
  { peerAuthentications }: ResolvedDocuments,
  workload: ResolvedEnforcer,
  rootNamespace: string,
  applied: readonly AppliedPolicy[],
): Omit<ZtunnelSelection, 'applied' | 'absent'> {
  const plan = istiodPeerAuthentications(peerAuthentications, { rootNamespace })
  const intended = convertPeerAuthentications(peerAuthentications, { rootNamespace })
  const named = applied
    .filter(({ authorization }) => authorization.scope === 'WorkloadSelector')
    .map(({ key }) => key)
  const keys = plan.keysFor(workload)
  const peers = plan.sent.filter(authorization => keys.includes(authorizationKey(authorization)))
  return {
    peers,
    listed: [...named, ...keys],
    policies: createPolicySet([...applied.map(({ authorization }) => authorization), ...peers]),
    intendedPeers: createPolicySet(intended.authorizations),
    intendedList: intended.policiesFor(workload),
  }
}

function judge(
  key: string,
  document: AuthorizationPolicy,
  workload: ResolvedEnforcer,
  rootNamespace: string,
): AppliedPolicy | AbsentPolicy {
  const { metadata, spec } = document
  const absent = (why: string, bug = false): AbsentPolicy => ({ key, document, why, bug })
  if ((spec.targetRefs?.length ?? 0) > 0) return absent(elsewhere(document, workload, rootNamespace))
  const translation = toAuthorization(document, { rootNamespace })
  if (translation.kind === 'not-sent') return absent(`istiod does not send it: ${translation.reason}`)
  const { selector } = spec
  if (selector !== undefined && selectsAll(selector))
    return absent(
      'its selector is empty, and istiod then attaches it to no workload: it is enforced nowhere',
      true,
    )
  const wanted = selectorText(selector?.matchLabels ?? {})
  if (selector !== undefined && !matchesSelector(selector, workload.labels))
    return absent(
      `its selector ${wanted} does not select ${selectorText(workload.labels) || 'a workload without labels'}`,
    )
  const isRoot = metadata.namespace === rootNamespace
  const by =
    selector === undefined
      ? `${isRoot ? 'root namespace' : 'namespace'} ${metadata.namespace}`
      : `selector ${wanted}`
  const { authorization, origins } = translation
  return { key, document, authorization: asSent(authorization), origins, by }
}

/** istiod drops address blocks that it cannot read; ours judges them on the strict side. */
function asSent(authorization: Authorization): Authorization {
  const readable = (blocks: readonly string[]): readonly string[] => blocks.filter(isCidr)
  const clean = (match: AuthorizationMatch): AuthorizationMatch => ({
    ...match,
    sourceIps: readable(match.sourceIps),
    notSourceIps: readable(match.notSourceIps),
    destinationIps: readable(match.destinationIps),
    notDestinationIps: readable(match.notDestinationIps),
  })
  const rules = authorization.rules.map(({ clauses }) => ({
    clauses: clauses.map(({ matches }) => ({ matches: matches.map(clean) })),
  }))
  return { ...authorization, rules }
}

function isCidr(text: string): boolean {
  try {
    parseCidr(text)
    return true
  } catch {
    return false
  }
}
