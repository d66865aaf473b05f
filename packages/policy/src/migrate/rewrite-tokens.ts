/**
 * RequestAuthentications of sidecars at waypoints: no ztunnel looks at tokens, so a copy per service goes to its waypoint, and
 * nobody may go around it.
 */
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import { attachmentAtEnvoy } from '../evaluator/attachment.ts'
import {
  keyOfNamed,
  type MeshFacts,
  type MeshService,
  type MeshWorkload,
  waypointsOf,
} from '../where/mesh-facts.ts'

export interface RewrittenTokens {
  readonly requestAuthentications: readonly RequestAuthentication[]
  readonly problems: readonly string[]
}

/** @param servicesOf those of the workloads that have a waypoint before them */
export function rewriteTokens(
  documents: readonly RequestAuthentication[],
  mesh: MeshFacts,
  {
    rootNamespace,
    servicesOf,
  }: {
    readonly rootNamespace: string
    readonly servicesOf: (workloads: readonly MeshWorkload[]) => readonly MeshService[]
  },
): RewrittenTokens {
  const problems: string[] = []
  const requestAuthentications = documents.flatMap(document => {
    if ((document.spec.targetRefs?.length ?? 0) > 0 || !hasRules(document)) return [document]
    const workloads = mesh.workloads.filter(one => looksAtTokensOf(document, one, rootNamespace))
    const bare = workloads.filter(workload => waypointsOf(workload, mesh).length === 0)
    const services = servicesOf(workloads)
    const name = `RequestAuthentication ${keyOfNamed(document.metadata)}`
    if (bare.length > 0)
      problems.push(
        `${name} is for ${bare.map(keyOfNamed).join(', ')}, which no waypoint is before: there nobody looks at tokens`,
      )
    const copies = services.map(service => atWaypoint(document, service))
    return bare.length > 0 || copies.length === 0 ? [...copies, document] : copies
  })
  return { requestAuthentications, problems }
}

/** Whether the workload's sidecar refuses tokens. */
export function refusesTokens(
  documents: readonly RequestAuthentication[],
  workload: MeshWorkload,
  rootNamespace: string,
): boolean {
  return documents.some(one => hasRules(one) && looksAtTokensOf(one, workload, rootNamespace))
}

/** Beside no other ALLOW: lets the waypoints of a workload in and nobody else, who could bring any token. */
export function onlyByWaypoint(
  { namespace, name, labels }: MeshWorkload,
  principals: readonly string[],
): AuthorizationPolicy {
  return {
    kind: 'AuthorizationPolicy',
    metadata: { namespace, name: `${name}-tokens-waypoint`, labels: {}, annotations: {} },
    spec: {
      selector: { matchLabels: labels },
      action: 'ALLOW',
      rules: [{ from: [{ source: { principals } }] }],
    },
  }
}

function hasRules({ spec }: RequestAuthentication): boolean {
  return (spec.jwtRules?.length ?? 0) > 0
}

function looksAtTokensOf(
  document: RequestAuthentication,
  { namespace, name, labels }: MeshWorkload,
  rootNamespace: string,
): boolean {
  const sidecar = { kind: 'workload', namespace, name, labels, service: undefined } as const
  return attachmentAtEnvoy(document, sidecar, rootNamespace)?.attached === true
}

function atWaypoint(
  { kind, metadata, spec }: RequestAuthentication,
  service: MeshService,
): RequestAuthentication {
  const { selector: _, targetRefs: __, ...rest } = spec
  const { namespace, name } = service
  const isEntry = service.kind === 'ServiceEntry'
  // Those of the root namespace come to the same service as the namespace's own.
  const from = metadata.namespace === namespace ? '' : `${metadata.namespace}-`
  return {
    kind,
    metadata: { ...metadata, namespace, name: `${from}${metadata.name}-${name}` },
    spec: {
      ...rest,
      targetRefs: [
        isEntry
          ? { group: 'networking.istio.io', kind: 'ServiceEntry', name }
          : { group: '', kind: 'Service', name },
      ],
    },
  }
}
