/** One client's stream on our server: proves who asks, keeps a subscription per type, sends differences. */
import { type ServerDuplexStream, status as grpcStatus } from '@grpc/grpc-js'
import { type Clock, type Logger, messageOf, type Timer } from '@ambient/core'
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../gen/discovery_pb.js'
import { limits } from '../limits.ts'
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  isResourceType,
  type NodeInfo,
  readNode,
  type ResourceType,
  resourceTypes,
} from './protocol.ts'
import { createSubscription, type Subscription, type SubscriptionStatus } from './subscription.ts'
import { routeTypes, supportingTypes } from '../configuration/document.ts'
import type { PublishedType } from './versioned.ts'

export type AdsCall = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

/** What a client shows of itself before anything is sent to it. */
export interface AdsCaller {
  /** The bearer token of the call, without the word. */
  readonly token: string | undefined
  readonly node: NodeInfo
  /** The address that it calls from. */
  readonly peer: string
}

export type AdsAuthorization = { readonly ok: true } | { readonly ok: false; readonly reason: string }

export interface AdsStreamOptions {
  readonly authorize: (caller: AdsCaller) => AdsAuthorization | Promise<AdsAuthorization>
  /** The current state of a type; `undefined` until something was published. */
  readonly published: (type: ResourceType) => PublishedType | undefined
  readonly onChange: (stream: AdsStream) => void
  readonly onEnd: (stream: AdsStream) => void
  readonly logger: Logger
  readonly clock: Clock
}

export interface AdsStream {
  readonly node: NodeInfo | undefined
  readonly peer: string
  status(): ReadonlyMap<ResourceType, SubscriptionStatus>
  /** Sends what the client lacks, if it waits for nothing else. */
  push(): void
  close(reason: string): void
}

export function openAdsStream(call: AdsCall, options: AdsStreamOptions): AdsStream {
  return new ServerStream(call, options)
}

interface Refusal {
  readonly code: grpcStatus
  readonly details: string
}

class ServerStream implements AdsStream {
  readonly peer: string
  readonly #call: AdsCall
  readonly #options: AdsStreamOptions
  readonly #subscriptions = new Map<ResourceType, Subscription>()
  readonly #deadline: Timer
  #node: NodeInfo | undefined
  #nonce = 0
  #ended = false

  constructor(call: AdsCall, options: AdsStreamOptions) {
    this.#call = call
    this.#options = options
    this.peer = call.getPeer()
    this.#deadline = options.clock.after(limits.firstRequestTimeoutMs, () =>
      this.#refuse({ code: grpcStatus.DEADLINE_EXCEEDED, details: 'no request with a node arrived in time' }),
    )
    call.on('data', (request: DeltaDiscoveryRequest) => void this.#receive(request))
    call.on('end', () => {
      if (!this.#ended) call.end()
      this.#end()
    })
    call.on('cancelled', () => this.#end())
    call.on('error', () => this.#end())
    call.on('close', () => this.#end())
  }

  get node(): NodeInfo | undefined {
    return this.#node
  }

  status(): ReadonlyMap<ResourceType, SubscriptionStatus> {
    return new Map([...this.#subscriptions].map(([type, { status }]) => [type, status]))
  }

  /**
   * New policies first, then the workloads that may list them; policies that are gone last, when the client has
   * answered for the workloads: otherwise a listed policy would be unknown for a moment, and unknown means denied.
   * A waypoint learns in the same way what protects a service before it learns of the service, and routes last.
   */
  push(): void {
    this.#pushType(AUTHORIZATION_TYPE, this.#awaitsAddresses())
    for (const type of supportingTypes) this.#pushType(type, false)
    if (!this.#lacksPolicies()) this.#pushType(ADDRESS_TYPE, false)
    this.#pushType(AUTHORIZATION_TYPE, this.#awaitsAddresses())
    for (const type of routeTypes) this.#pushType(type, false)
  }

  close(reason: string): void {
    this.#refuse({ code: grpcStatus.UNAVAILABLE, details: reason })
  }

  async #receive(request: DeltaDiscoveryRequest): Promise<void> {
    this.#call.pause()
    try {
      const refusal = (await this.#identify(request)) ?? this.#handle(request)
      if (refusal !== undefined) this.#refuse(refusal)
    } catch (error) {
      this.#options.logger.error({ peer: this.peer, error: messageOf(error) }, 'xds request failed')
      this.#refuse({ code: grpcStatus.INTERNAL, details: 'the request could not be handled' })
    } finally {
      if (!this.#ended) this.#call.resume()
    }
  }

  async #identify(request: DeltaDiscoveryRequest): Promise<Refusal | undefined> {
    if (this.#node !== undefined) return undefined
    if (request.node === undefined || request.node.id === '')
      return { code: grpcStatus.INVALID_ARGUMENT, details: 'the first request carries no node id' }
    const node = readNode(request.node)
    const verdict = await this.#options.authorize({ token: bearer(this.#call), node, peer: this.peer })
    if (this.#ended) return undefined
    if (!verdict.ok) {
      this.#options.logger.warn(
        { peer: this.peer, node: node.id, reason: verdict.reason },
        'xds client is not authorized',
      )
      return { code: grpcStatus.UNAUTHENTICATED, details: verdict.reason }
    }
    this.#deadline.cancel()
    this.#node = node
    return undefined
  }

  #handle(request: DeltaDiscoveryRequest): Refusal | undefined {
    if (this.#ended) return undefined
    const { typeUrl: type } = request
    if (!isResourceType(type))
      return {
        code: grpcStatus.UNIMPLEMENTED,
        details: `type ${JSON.stringify(type)} is not served here; served are ${resourceTypes.join(', ')}`,
      }
    if (!isWildcard(request))
      return {
        code: grpcStatus.UNIMPLEMENTED,
        details: 'on-demand subscriptions are not served here: leave XDS_ON_DEMAND unset',
      }
    const existing = this.#subscriptions.get(type)
    if (existing === undefined) this.#subscribe(type, request)
    else if (request.responseNonce !== '') this.#answered(existing, request)
    this.push()
    this.#options.onChange(this)
    return undefined
  }

  #subscribe(type: ResourceType, request: DeltaDiscoveryRequest): void {
    const nonce = (): string => `${++this.#nonce}`
    this.#subscriptions.set(type, createSubscription(type, request.initialResourceVersions, nonce))
  }

  #answered(subscription: Subscription, request: DeltaDiscoveryRequest): void {
    if (subscription.answer(request) !== 'nack') return
    this.#options.logger.warn(
      { node: this.#node?.id, type: subscription.type, reason: subscription.status.nack },
      'xds client refused resources',
    )
  }

  #pushType(type: ResourceType, keepRemoved: boolean): void {
    const subscription = this.#subscriptions.get(type)
    const published = this.#options.published(type)
    if (this.#ended || subscription === undefined || published === undefined) return
    const response = subscription.next(published, keepRemoved)
    if (response !== undefined) this.#call.write(response)
  }

  /** A response of policies waits for its answer, and newer ones behind it. */
  #lacksPolicies(): boolean {
    const policies = this.#subscriptions.get(AUTHORIZATION_TYPE)
    const published = this.#options.published(AUTHORIZATION_TYPE)
    return policies !== undefined && published !== undefined && !policies.hasSent(published.set)
  }

  #awaitsAddresses(): boolean {
    const addresses = this.#subscriptions.get(ADDRESS_TYPE)
    const published = this.#options.published(ADDRESS_TYPE)
    return addresses !== undefined && published !== undefined && !addresses.settled(published.version)
  }

  #refuse(refusal: Refusal): void {
    if (this.#ended) return
    this.#end()
    this.#call.emit('error', refusal)
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#deadline.cancel()
    this.#options.onEnd(this)
  }
}

/** Everything, from the start: no names, or the star alone, and nothing taken away. */
function isWildcard(request: DeltaDiscoveryRequest): boolean {
  return (
    request.resourceNamesUnsubscribe.length === 0 &&
    request.resourceNamesSubscribe.every(name => name === '*')
  )
}

function bearer(call: AdsCall): string | undefined {
  const [value] = call.metadata.get('authorization')
  const text = value?.toString() ?? ''
  return /^Bearer /i.test(text) ? text.slice('Bearer '.length) : undefined
}
