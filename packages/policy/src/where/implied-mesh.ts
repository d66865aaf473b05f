/** The least mesh in which policies would be enforced: for whoever has the policies and not the mesh. */
import type { WhereDocuments } from './where-enforced.ts'
import { type AttachablePolicy, hasTargets } from './attached-to.ts'
import {
  keyOfNamed,
  type MeshFacts,
  type MeshService,
  type MeshWaypoint,
  type MeshWorkload,
} from './mesh-facts.ts'
import { defaults } from '../defaults.ts'

/** What stands for any name. */
const ANY = '*'
/** As istioctl names it. */
const WAYPOINT = 'waypoint'

/**
 * Everything that the policies name, and nothing else: a workload per selector and one (`*`) per namespace, each behind a
 * ztunnel, and the services of targetRefs behind a waypoint. A Gateway that is named is taken for a waypoint.
 */
export function impliedMesh(
  documents: WhereDocuments,
  { rootNamespace = defaults.rootNamespace }: { readonly rootNamespace?: string } = {},
): MeshFacts {
  const { authorizationPolicies, peerAuthentications = [], requestAuthentications = [] } = documents
  const all: readonly AttachablePolicy[] = [
    ...authorizationPolicies,
    ...peerAuthentications,
    ...requestAuthentications,
  ]
  const selecting = all.filter(policy => !hasTargets(policy))
  const targets = all.flatMap(({ metadata: { namespace }, spec: { targetRefs = [] } }) =>
    targetRefs.map(({ kind, name }) => ({ kind, namespace, name })),
  )
  const named = (wanted: string): readonly MeshWaypoint[] =>
    targets.flatMap(({ kind, namespace, name }) =>
      kind === wanted
        ? [{ namespace, name: kind === 'Gateway' ? name : WAYPOINT, serviceAccount: WAYPOINT }]
        : [],
    )
  const ofServices = [...named('Service'), ...named('ServiceEntry')]
  const others = [...named('Gateway'), ...ofServices]
  const everywhere = { namespace: ANY, name: ANY, serviceAccount: WAYPOINT }
  return {
    workloads: unique(selecting.flatMap(policy => workloadsOf(policy, rootNamespace))),
    services: unique(
      targets.flatMap(({ kind, namespace, name }): readonly MeshService[] =>
        kind === 'Service' || kind === 'ServiceEntry'
          ? [
              {
                kind,
                namespace,
                name,
                hostname: `${name}.${namespace}`,
                ports: [],
                workloads: [],
                waypoint: `${namespace}/${WAYPOINT}`,
              },
            ]
          : [],
      ),
    ),
    waypoints: unique(others.length === 0 && named('GatewayClass').length > 0 ? [everywhere] : others),
    gateways: [],
  }
}

/** Those of its namespace; of a policy of the root namespace, those of any. */
function workloadsOf({ metadata, spec }: AttachablePolicy, rootNamespace: string): readonly MeshWorkload[] {
  const labels = spec.selector?.matchLabels ?? {}
  const namespace = metadata.namespace === rootNamespace ? ANY : metadata.namespace
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  const of = { namespace, serviceAccount: ANY, ports: [], proxy: 'ztunnel' as const }
  return [{ ...of, name: pairs.length === 0 ? ANY : pairs.join(','), labels }]
}

function unique<T extends { readonly namespace: string; readonly name: string; readonly kind?: string }>(
  list: readonly T[],
): readonly T[] {
  return [...new Map(list.map(one => [`${one.kind ?? ''} ${keyOfNamed(one)}`, one])).values()]
}
