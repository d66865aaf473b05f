/**
 * The server's bookkeeping of one type on one stream: what was sent, what was acknowledged, what is under way. At
 * most one response waits for its answer, so a slow client gets the newest state next, never a queue of old ones.
 */
import { create } from '@bufbuild/protobuf'
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../gen/discovery_pb.js'
import { limits } from '../limits.ts'
import type { ResourceType } from './protocol.ts'
import { difference, type PublishedType } from './versioned.ts'

/** What a client was last known to think of a type. */
export interface SubscriptionStatus {
  /** Version of the state that the client last acknowledged; empty before the first ACK. */
  readonly acknowledged: string
  /** Version of the state that was last sent to it. */
  readonly sent: string
  /** Of the last response: why it was refused. Absent when it was accepted. */
  readonly nack?: string
  readonly resources: number
}

export interface Subscription {
  readonly type: ResourceType
  readonly status: SubscriptionStatus
  /** Reads a request of this type; says whether it was an ACK, a NACK or a stale nonce. */
  answer(request: DeltaDiscoveryRequest): 'ack' | 'nack' | 'stale'
  /** All of a state was sent and the client answered, whatever it said. */
  settled(stateVersion: string): boolean
  /**
   * The next response, or `undefined` when there is nothing to say or an answer is awaited.
   * @param keepRemoved holds removals back, for a type that others still refer to.
   */
  next(published: PublishedType, keepRemoved: boolean): DeltaDiscoveryResponse | undefined
}

/** @param initial versions that the client kept from an earlier stream. */
export function createSubscription(
  type: ResourceType,
  initial: Readonly<Record<string, string>>,
  nonce: () => string,
): Subscription {
  const sent = new Map(Object.entries(initial))
  let awaiting: { nonce: string; version: string } | undefined
  let greeted = false
  let sentVersion = ''
  let status: SubscriptionStatus = { acknowledged: '', sent: '', resources: sent.size }

  return {
    type,
    get status() {
      return status
    },
    answer(request) {
      if (awaiting === undefined || request.responseNonce !== awaiting.nonce) return 'stale'
      const { version } = awaiting
      awaiting = undefined
      const { errorDetail } = request
      if (errorDetail !== undefined) {
        status = { ...status, nack: errorDetail.message.slice(0, limits.maxNackChars) }
        return 'nack'
      }
      status = { acknowledged: version, sent: status.sent, resources: status.resources }
      return 'ack'
    },
    settled: stateVersion => awaiting === undefined && sentVersion === stateVersion,
    next({ set, version }, keepRemoved) {
      if (awaiting !== undefined) return undefined
      const { changed, removed: gone, partial } = difference(sent, set)
      const removed = keepRemoved ? [] : gone
      const complete = !partial && removed.length === gone.length
      // The first request of a type is always answered, with nothing if need be: the client waits to become ready.
      if (greeted && changed.length === 0 && removed.length === 0) {
        if (complete && sentVersion !== version) {
          sentVersion = version
          // Nothing differs, so what the client took before is this state too.
          status = { ...status, sent: version, ...(status.nack === undefined && { acknowledged: version }) }
        }
        return undefined
      }
      greeted = true
      for (const resource of changed) sent.set(resource.name, resource.version)
      for (const name of removed) sent.delete(name)
      sentVersion = complete ? version : `${version}+`
      awaiting = { nonce: nonce(), version: sentVersion }
      status = { ...status, sent: sentVersion, resources: sent.size }
      return create(DeltaDiscoveryResponseSchema, {
        typeUrl: type,
        nonce: awaiting.nonce,
        systemVersionInfo: version,
        resources: changed.map(({ resource }) => resource),
        removedResources: [...removed],
      })
    },
  }
}
