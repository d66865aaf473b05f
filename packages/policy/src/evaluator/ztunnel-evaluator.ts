/** The dialect `ztunnel`: what istiod sends of the documents, and a ztunnel decides over a connection. */
import type { Connection, Workload } from '@ambient/core'
import { keyOfEnforcer, plainEnforcer, type ResolvedEnforcer, resolveEnforcer } from './enforcer.ts'
import { connectionOf } from './facts-of.ts'
import { keep } from './kept.ts'
import type { PolicyEvaluator, ResolvedDocuments, ResolvedOptions } from './policy-evaluator.ts'
import type { PolicyRequest } from './request.ts'
import type { PolicyVerdict } from './verdict.ts'
import { ztunnelReason } from './ztunnel-reason.ts'
import { selectForZtunnel, type ZtunnelSelection } from './ztunnel-selection.ts'
import { documentRule, ztunnelTrace } from './ztunnel-trace.ts'
import { decide } from '../engine/decide.ts'
import { explain } from '../engine/explain.ts'
import { limits } from '../limits.ts'
import { trustDomainsOf } from '../waypoint/trust-domains.ts'

/** What the ztunnel answers to the CONNECT of a caller that it knows; plaintext is cut without a word. */
const HBONE_DENIED = 401

export function createZtunnelEvaluator(
  documents: ResolvedDocuments,
  options: ResolvedOptions,
): PolicyEvaluator {
  const selectionOf = keep(limits.maxKnownEnforcers, (enforcer: ResolvedEnforcer) =>
    selectForZtunnel(documents, enforcer, options.rootNamespace),
  )
  const trustDomains = trustDomainsOf(options.trustDomain, options.trustDomainAliases)
  return {
    dialect: 'ztunnel',
    decide(request, given) {
      const enforcer = resolveEnforcer('ztunnel', request, given)
      const selection = selectionOf(enforcer, keyOfEnforcer(enforcer))
      return judge(request, enforcer, selection, trustDomains)
    },
  }
}

function judge(
  request: PolicyRequest,
  enforcer: ResolvedEnforcer,
  selection: ZtunnelSelection,
  trustDomains: readonly string[],
): PolicyVerdict {
  const connection = connectionOf(request, workloadOf(enforcer, selection.listed))
  const explanation = explain(selection.policies, connection, { unknownPolicy: 'skip' })
  const { decision } = explanation
  const by = decision.by && { policy: decision.by.policy, rule: documentRule(selection, decision.by) }
  const trace = ztunnelTrace(selection, explanation)
  const { identity } = connection.source
  const action =
    by === undefined ? (decision.allowed ? 'default' : 'ALLOW') : decision.allowed ? 'ALLOW' : 'DENY'
  return {
    verdict: decision.allowed ? 'allow' : 'deny',
    action,
    policy: by?.policy ?? null,
    rule: by?.rule ?? null,
    reason: ztunnelReason({
      decision,
      by,
      selection,
      trace,
      trustDomains,
      principal: identity?.uri.slice('spiffe://'.length),
      unknown: explanation.unknownPolicies,
      intendedDenial: intendedDenial(request, enforcer, selection),
      port: request.destination.port,
    }),
    dialect: 'ztunnel',
    enforcer: plainEnforcer(enforcer),
    ...(decision.allowed || identity === undefined ? {} : { status: HBONE_DENIED }),
    // istiod sends no dry-run policy unless it is told to.
    dryRun: [],
    trace,
  }
}

/** Whether the PeerAuthentications, as they are written, deny it. */
function intendedDenial(
  request: PolicyRequest,
  enforcer: ResolvedEnforcer,
  { intendedPeers, intendedList }: ZtunnelSelection,
): boolean {
  const connection: Connection = connectionOf(request, workloadOf(enforcer, intendedList))
  return !decide(intendedPeers, connection, { unknownPolicy: 'skip' }).allowed
}

/** What a decision looks at of a workload, and nothing in the rest. */
function workloadOf({ namespace, name = '' }: ResolvedEnforcer, listed: readonly string[]): Workload {
  return {
    uid: '',
    name,
    namespace,
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: '',
    serviceAccount: '',
    node: '',
    canonicalName: '',
    canonicalRevision: '',
    workloadType: 'pod',
    workloadName: '',
    nativeTunnel: false,
    services: new Map(),
    authorizationPolicies: listed,
    status: 'Healthy',
    clusterId: '',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
  }
}
