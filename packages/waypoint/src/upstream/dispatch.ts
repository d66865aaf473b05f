/**
 * Room 10, the dispatch desk: a routed request goes to an endpoint and its response comes back, over tunnels with the
 * waypoint's own identity. Whatever goes wrong comes back as a result, never as an exception.
 */
import { setMaxListeners } from 'node:events'
import {
  type Clock,
  type CredentialsSource,
  type Directory,
  type Logger,
  silentLogger,
  type SpiffeId,
  systemClock,
} from '@ambient/core'
import { type Dial, dial as dialDirect } from '@ambient/core/node'
import type { HbonePool } from '@ambient/hbone'
import { upstreamLimits } from '../limits.ts'
import type { ResolvedCluster } from '../route/endpoints.ts'
import type { ClusterRef } from '../route/ir.ts'
import { Admission, type AdmissionLimits } from './admission.ts'
import { type RunningOrder, startOrder } from './attempts.ts'
import { createEndpointChooser, type EndpointChooser } from './endpoints.ts'
import { failed } from './failure.ts'
import type { Link, LinkOptions } from './link.ts'
import type { DispatchOrder, DispatchResult, TcpOrder, TcpResult } from './order.ts'
import { Mirrors } from './mirrors.ts'
import { connectEndpoint } from './tcp.ts'
import { Upstreams } from './upstreams.ts'

export type {
  DispatchOrder,
  DispatchResponse,
  DispatchResult,
  TcpOrder,
  TcpResult,
} from './order.ts'

export interface DispatcherOptions {
  /** The caller's: closed by it, after the dispatcher. */
  readonly pool: Pick<HbonePool, 'connect'>
  readonly credentials: CredentialsSource
  /** The waypoint's own identity: what endpoints see as source. */
  readonly self: SpiffeId
  readonly directory: Directory
  /** Endpoints of a cluster as they are now. */
  readonly resolve: (cluster: ClusterRef) => ResolvedCluster
  /** Source address of every connection; left to the system when absent. */
  readonly localAddress?: string
  readonly dial?: Dial
  readonly clock?: Clock
  /** At least 0, less than 1. */
  readonly random?: () => number
  /** Who the waypoint is, for the telemetry of the other end. */
  readonly baggage: string
  /** Exchanges under way; those of `upstreamLimits` where absent. */
  readonly limits?: Partial<AdmissionLimits>
  readonly logger?: Logger
}

export interface Dispatcher {
  /** Never rejects. The request's `signal` cancels it, also while the response's body is being read. */
  dispatch(order: DispatchOrder): Promise<DispatchResult>
  /** Never rejects. */
  connectTcp(order: TcpOrder): Promise<TcpResult>
  /** Exchanges under way, bodies included; mirrors are not counted. */
  readonly active: number
  /** Connections that wait for a further request. */
  readonly idle: number
  /** Idle connections are closed, the others when they are done; new ones are made as needed. */
  retire(): void
  /** Takes nothing more, lets exchanges finish for `graceMs`, then cuts them. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  return new Desk(options)
}

class Desk implements Dispatcher {
  readonly #clock: Clock
  readonly #random: () => number
  readonly #logger: Logger
  readonly #link: LinkOptions
  readonly #chooser: EndpointChooser
  readonly #upstreams: Upstreams
  readonly #mirrors: Mirrors
  readonly #admission: Admission
  readonly #orders = new Set<RunningOrder>()
  readonly #abandoned = new Set<Promise<Link>>()
  readonly #lifetime = new AbortController()
  #retries = 0
  #closing: Promise<void> | undefined

  constructor(options: DispatcherOptions) {
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#logger = options.logger ?? silentLogger
    this.#link = {
      pool: options.pool,
      credentials: options.credentials,
      self: options.self,
      directory: options.directory,
      dial: options.dial ?? dialDirect,
      localAddress: options.localAddress,
      baggage: options.baggage,
      lifetime: this.#lifetime.signal,
    }
    // One listener for each connection that is on its way.
    setMaxListeners(0, this.#lifetime.signal)
    this.#admission = new Admission({ ...upstreamLimits, ...options.limits })
    this.#chooser = createEndpointChooser(options.resolve, this.#random)
    this.#upstreams = new Upstreams(this.#link, this.#clock)
    const { clock, chooser, upstreams } = this.#context
    this.#mirrors = new Mirrors({ clock, chooser, upstreams })
  }

  get active(): number {
    return this.#orders.size
  }

  get idle(): number {
    return this.#upstreams.idle
  }

  async dispatch(order: DispatchOrder): Promise<DispatchResult> {
    const leave = this.#closing === undefined ? this.#admission.enter(order) : undefined
    if (leave === undefined) {
      const failure = { reason: 'overflow', isStale: false, cause: undefined } as const
      return failed(failure, { endpoint: undefined, attempts: 0, isExhausted: false })
    }
    const running = startOrder(this.#context, order)
    this.#orders.add(running)
    void running.over.then(() => {
      this.#orders.delete(running)
      leave()
    })
    this.#mirrors.send(order, running.body)
    const result = await running.run()
    if (result.kind === 'failed')
      this.#logger.debug(
        { endpoint: result.endpoint?.workload.uid, detail: result.detail, reason: result.reason },
        'no response from upstream',
      )
    return result
  }

  connectTcp(order: TcpOrder): Promise<TcpResult> {
    return connectEndpoint(this.#link, this.#chooser, this.#abandoned, order)
  }

  retire(): void {
    this.#upstreams.retire()
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? upstreamLimits.graceMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #context(): Parameters<typeof startOrder>[0] {
    return {
      clock: this.#clock,
      random: this.#random,
      chooser: this.#chooser,
      upstreams: this.#upstreams,
      borrowRetry: () => this.#borrowRetry(),
    }
  }

  #borrowRetry(): (() => void) | undefined {
    if (this.#retries >= upstreamLimits.maxConcurrentRetries) return undefined
    this.#retries++
    return () => {
      this.#retries--
    }
  }

  async #close(graceMs: number): Promise<void> {
    this.#upstreams.close()
    this.#mirrors.cut()
    const all = Promise.all([...this.#orders].map(order => order.over))
    const cutAll = (): void => {
      for (const order of [...this.#orders]) order.cancel('caller-gone')
      this.#upstreams.cut()
    }
    if (graceMs <= 0) cutAll()
    const timer = this.#clock.after(graceMs, cutAll, { keepAlive: true })
    await all
    timer.cancel()
    this.#lifetime.abort(new Error('the dispatcher is closed'))
    this.#upstreams.cut()
  }
}
