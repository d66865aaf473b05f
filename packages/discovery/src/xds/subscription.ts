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
import { difference, type PublishedType, type ResourceSet } from './versioned.ts'

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
  /** Every resource of a set was sent in its present version; removals may still be to come. */
  hasSent(set: ResourceSet): boolean
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
  return new TypeSubscription(type, initial, nonce)
}

class TypeSubscription implements Subscription {
  readonly type: ResourceType
  readonly #nonce: () => string
  /** What the client has, or was sent: name to version. */
  readonly #sent: Map<string, string>
  #awaiting: { readonly nonce: string; readonly version: string } | undefined
  #greeted = false
  #sentVersion = ''
  #status: SubscriptionStatus

  constructor(type: ResourceType, initial: Readonly<Record<string, string>>, nonce: () => string) {
    this.type = type
    this.#nonce = nonce
    this.#sent = new Map(Object.entries(initial))
    this.#status = { acknowledged: '', sent: '', resources: this.#sent.size }
  }

  get status(): SubscriptionStatus {
    return this.#status
  }

  hasSent(set: ResourceSet): boolean {
    for (const { name, version } of set.values()) if (this.#sent.get(name) !== version) return false
    return true
  }

  settled(stateVersion: string): boolean {
    return this.#awaiting === undefined && this.#sentVersion === stateVersion
  }

  answer({ responseNonce, errorDetail }: DeltaDiscoveryRequest): 'ack' | 'nack' | 'stale' {
    if (this.#awaiting === undefined || responseNonce !== this.#awaiting.nonce) return 'stale'
    const { version } = this.#awaiting
    this.#awaiting = undefined
    const { sent, resources } = this.#status
    if (errorDetail === undefined) {
      this.#status = { acknowledged: version, sent, resources }
      return 'ack'
    }
    this.#status = { ...this.#status, nack: errorDetail.message.slice(0, limits.maxNackChars) }
    return 'nack'
  }

  next({ set, version }: PublishedType, keepRemoved: boolean): DeltaDiscoveryResponse | undefined {
    if (this.#awaiting !== undefined) return undefined
    const { changed, removed: gone, partial } = difference(this.#sent, set)
    const removed = keepRemoved ? [] : gone
    const complete = !partial && removed.length === gone.length
    // The first request of a type is always answered, with nothing if need be: the client waits to become ready.
    if (this.#greeted && changed.length === 0 && removed.length === 0) {
      if (complete) this.#unchanged(version)
      return undefined
    }
    this.#greeted = true
    for (const resource of changed) this.#sent.set(resource.name, resource.version)
    for (const name of removed) this.#sent.delete(name)
    this.#sentVersion = complete ? version : `${version}+`
    this.#awaiting = { nonce: this.#nonce(), version: this.#sentVersion }
    this.#status = { ...this.#status, sent: this.#sentVersion, resources: this.#sent.size }
    return create(DeltaDiscoveryResponseSchema, {
      typeUrl: this.type,
      nonce: this.#awaiting.nonce,
      systemVersionInfo: version,
      resources: changed.map(({ resource }) => resource),
      removedResources: [...removed],
    })
  }

  /** A state that differs in nothing from what the client took before is one that it took. */
  #unchanged(version: string): void {
    if (this.#sentVersion === version) return
    this.#sentVersion = version
    const accepted = this.#status.nack === undefined
    this.#status = { ...this.#status, sent: version, ...(accepted && { acknowledged: version }) }
  }
}
