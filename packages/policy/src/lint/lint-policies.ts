/** Mistakes that are documents without errors: rules that cannot match, policies that nobody enforces. */
import { type Clock, systemClock } from '@ambient/core'
import type { LintId } from './catalog.ts'
import { checkExpiry } from './expiry-rules.ts'
import {
  byPlace,
  findingOf,
  type LintContext,
  type LintDocuments,
  type LintedPolicy,
  type LintFinding,
} from './finding.ts'
import { createLocate, type SourceText } from './locate.ts'
import { checkLogic } from './logic-rules.ts'
import { checkNames } from './name-rules.ts'
import { checkPeers } from './peer-rules.ts'
import { checkStructure } from './structure-rules.ts'
import { checkTargets } from './target-rules.ts'
import { checkTokens } from './token-rules.ts'
import { checkValues } from './value-rules.ts'
import { checkZtunnel } from './ztunnel-rules.ts'
import { defaults } from '../defaults.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'
import type { MeshFacts } from '../where/mesh-facts.ts'

export interface LintOptions {
  /** Policies of this namespace without selector apply to every namespace. Default `istio-system`. */
  readonly rootNamespace?: string
  /** Default `cluster.local`. */
  readonly trustDomain?: string
  readonly trustDomainAliases?: readonly string[]
  /** Default `BASE`. */
  readonly pathNormalization?: PathNormalization
  /** Names of the mesh configuration's `extensionProviders`; without them nothing is said of CUSTOM's. */
  readonly extensionProviders?: readonly string[]
  /** The control plane lets waypoints reach their workloads by a policy of its own. Default false, as istiod's. */
  readonly requireWaypoint?: boolean
  /** The texts that the documents were read from, for positions of every part; without them only rules have theirs. */
  readonly files?: readonly SourceText[]
  /** For policies that end. Default: the system's. */
  readonly clock?: Clock
  /** Called with what was not looked at because a limit was reached, once for each. */
  readonly onUnfinished?: (what: string) => void
}

/**
 * Every finding, in order of files and lines. Pure but for the clock; never throws for what documents hold.
 * @param mesh workloads, services, waypoints and gateways, where they are known: without them the rules that need them
 * are silent.
 */
export function lintPolicies(
  documents: LintDocuments,
  mesh?: MeshFacts,
  options: LintOptions = {},
): readonly LintFinding[] {
  const locate = createLocate(options.files ?? [])
  const findings = new Map<string, LintFinding>()
  const unfinished = new Set<string>()
  const context: LintContext = {
    documents: {
      authorizationPolicies: documents.authorizationPolicies,
      peerAuthentications: documents.peerAuthentications ?? [],
      requestAuthentications: documents.requestAuthentications ?? [],
    },
    mesh,
    settings: {
      rootNamespace: options.rootNamespace ?? defaults.rootNamespace,
      trustDomain: options.trustDomain ?? defaults.trustDomain,
      trustDomainAliases: options.trustDomainAliases ?? [],
      pathNormalization: options.pathNormalization ?? defaults.pathNormalization,
      extensionProviders: options.extensionProviders,
      requireWaypoint: options.requireWaypoint ?? false,
      nowMs: (options.clock ?? systemClock).now(),
    },
    report(id: LintId, policy: LintedPolicy, path: string, message: string) {
      const finding = findingOf(id, policy, path, { message, locate })
      findings.set(`${id} ${finding.kind} ${finding.policy} ${path}`, finding)
    },
    unfinished: what => void unfinished.add(what),
  }
  for (const check of CHECKS) check(context)
  for (const what of unfinished) options.onUnfinished?.(what)
  return [...findings.values()].sort(byPlace)
}

const CHECKS: readonly ((context: LintContext) => void)[] = [
  checkValues,
  checkStructure,
  checkLogic,
  checkZtunnel,
  checkTargets,
  checkNames,
  checkTokens,
  checkPeers,
  checkExpiry,
]
