/** What is published of each request: a topic for whoever embeds a waypoint, beside the access log. */
import { createTopic, type SpiffeId } from '@ambient/core'
import type { WaypointDecision, WaypointDryRun } from '@ambient/policy'
import type { GatewayName } from '../config/config.ts'
import type { AccessEntry } from './access-log.ts'
import type { Peers } from './labels.ts'

/** Exactly one per request, published when its response has ended. */
export interface RequestRecord extends AccessEntry {
  /** Whose waypoint it was. */
  readonly gateway: GatewayName
  readonly caller: SpiffeId
  readonly peers: Peers
  /** The decision that refused it. */
  readonly denial?: WaypointDecision
  /** AUDIT policies that marked it, `namespace/name`. */
  readonly audited?: readonly string[]
  /** What policies in a dry run would have done. */
  readonly dryRun?: readonly WaypointDryRun[]
  /** Of the trace that it belongs to; absent when nobody traces. */
  readonly traceId?: string
  readonly attempts: number
}

/** On Node the `diagnostics_channel` of that name. */
export const requestTopic = createTopic<RequestRecord>('ambient:request')
