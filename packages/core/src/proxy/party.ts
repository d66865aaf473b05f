/** One end of a connection as telemetry names it: from discovery, from baggage, or unknown. */
import type { SpiffeId } from '../spiffe-id.ts'
import type { Workload } from '../workload.ts'

/** What a peer says of itself: the baggage header, read. Not proven. */
export interface PartyBaggage {
  readonly clusterId?: string
  readonly namespace?: string
  readonly workloadName?: string
  readonly canonicalName?: string
  readonly canonicalRevision?: string
  readonly region?: string
  readonly zone?: string
}

/** Empty text where nothing is known. */
export interface Party {
  readonly known: boolean
  readonly workload: string
  readonly canonicalService: string
  readonly canonicalRevision: string
  readonly namespace: string
  readonly principal: string
  readonly app: string
  readonly version: string
  readonly cluster: string
  readonly region: string
  readonly zone: string
  /** What the access log calls it: the pod, else the canonical service. */
  readonly logName: string
}

export const unknownParty: Party = Object.freeze({
  known: false,
  workload: '',
  canonicalService: '',
  canonicalRevision: '',
  namespace: '',
  principal: '',
  app: '',
  version: '',
  cluster: '',
  region: '',
  zone: '',
  logName: '',
})

/** Discovery is believed over baggage; the principal is only ever a proven identity, given by the caller. */
export function partyOf(from: {
  readonly workload?: Workload | undefined
  readonly baggage?: PartyBaggage | undefined
  readonly principal?: SpiffeId | undefined
}): Party {
  const principal = from.principal?.uri ?? ''
  if (from.workload !== undefined) return partyOfWorkload(from.workload, principal)
  if (from.baggage !== undefined) return partyOfBaggage(from.baggage, principal)
  return principal === '' ? unknownParty : { ...unknownParty, principal }
}

/** Istio's names of the labels that {@link sourceLabels} fills, in its order. */
export const sourceLabelNames: readonly string[] = Object.freeze([
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
])

/** Empty text where nothing is known. */
export function sourceLabels(source: Party): readonly string[] {
  return [
    source.workload,
    source.canonicalService,
    source.canonicalRevision,
    source.namespace,
    source.principal,
    source.app,
    source.version,
    source.cluster,
  ]
}

function partyOfWorkload(workload: Workload, principal: string): Party {
  return {
    known: true,
    workload: workload.workloadName,
    canonicalService: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    namespace: workload.namespace,
    principal,
    app: workload.canonicalName,
    version: workload.canonicalRevision,
    cluster: workload.clusterId,
    region: workload.locality.region,
    zone: workload.locality.zone,
    logName: workload.name === '' ? workload.canonicalName : workload.name,
  }
}

function partyOfBaggage(baggage: PartyBaggage, principal: string): Party {
  return {
    known: true,
    workload: baggage.workloadName ?? '',
    canonicalService: baggage.canonicalName ?? '',
    canonicalRevision: baggage.canonicalRevision ?? '',
    namespace: baggage.namespace ?? '',
    principal,
    app: baggage.workloadName ?? '',
    version: baggage.canonicalRevision ?? '',
    cluster: baggage.clusterId ?? '',
    region: baggage.region ?? '',
    zone: baggage.zone ?? '',
    logName: baggage.canonicalName ?? '',
  }
}
