/** The connections to all endpoints, and which of them an exchange takes. */
import type { AppProtocol, Clock } from '@ambient/core'
import { isGrpc } from '../http/hygiene.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { ClusterRef } from '../route/ir.ts'
import type { ExchangeOutcome, ExchangeRequest } from './exchange.ts'
import { attemptFailure } from './failure.ts'
import { type Http1Connection, Http1Connections } from './http1-connections.ts'
import { exchangeHttp1 } from './http1-exchange.ts'
import { exchangeHttp2 } from './http2-exchange.ts'
import { type Http2Session, Http2Sessions } from './http2-sessions.ts'
import { type Link, linkKey, type LinkOptions, openLink } from './link.ts'

export interface UpstreamRequest extends ExchangeRequest {
  readonly cluster: ClusterRef
  readonly endpoint: ClusterEndpoint
  readonly protocol: AppProtocol | undefined
  readonly traceparent: string | undefined
}

/** RFC 9110 §9.2.2: only these may be repeated by a proxy that does not know whether the first one was acted upon. */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

export class Upstreams {
  readonly #options: LinkOptions
  readonly #http1: Http1Connections
  readonly #http2: Http2Sessions

  constructor(options: LinkOptions, clock: Clock) {
    this.#options = options
    this.#http1 = new Http1Connections(clock)
    this.#http2 = new Http2Sessions(clock)
  }

  get idle(): number {
    return this.#http1.idle + this.#http2.idle
  }

  retire(): void {
    this.#http1.retire()
    this.#http2.retire()
  }

  close(): void {
    this.#http1.close()
    this.#http2.close()
  }

  cut(): void {
    this.#http1.cut()
    this.#http2.cut()
  }

  /** Never rejects. */
  send(request: UpstreamRequest): Promise<ExchangeOutcome> {
    return speaksHttp2(request) ? this.#sendHttp2(request) : this.#sendHttp1(request)
  }

  async #sendHttp2(request: UpstreamRequest): Promise<ExchangeOutcome> {
    let outcome = await this.#tryHttp2(request)
    if (outcome.kind === 'failed' && mayRepeat(outcome, request)) outcome = await this.#tryHttp2(request)
    return outcome
  }

  /** Named after the certificate that is presented: before the first one there is none to name. */
  async #key({ cluster, endpoint, signal }: UpstreamRequest): Promise<string> {
    const { credentials, self } = this.#options
    if (endpoint.hbone && credentials.current(self) === undefined) await credentials.get(self, { signal })
    return linkKey(this.#options, cluster, endpoint)
  }

  /** For whoever takes it when it is there: the request that it was opened for may have gone. */
  #open({ cluster, endpoint, traceparent }: UpstreamRequest): Promise<Link> {
    const signal = this.#options.lifetime
    return openLink(this.#options, { cluster, endpoint, traceparent, signal })
  }

  async #tryHttp2(request: UpstreamRequest): Promise<ExchangeOutcome> {
    let session: Http2Session
    try {
      const key = await this.#key(request)
      session = await this.#http2.take(key, () => this.#open(request), request.signal)
    } catch (error) {
      return { kind: 'failed', failure: attemptFailure('connect-failure', error) }
    }
    return exchangeHttp2(session, request)
  }

  async #sendHttp1(request: UpstreamRequest): Promise<ExchangeOutcome> {
    let fresh: Http1Connection
    try {
      const key = await this.#key(request)
      const kept = request.upgrade === undefined ? this.#http1.take(key) : undefined
      if (kept !== undefined) {
        const outcome = await exchangeHttp1(kept, request)
        if (!mayRepeat(outcome, request)) return outcome
      }
      fresh = await this.#http1.open(key, () => this.#open(request), request.signal)
    } catch (error) {
      return { kind: 'failed', failure: attemptFailure('connect-failure', error) }
    }
    return exchangeHttp1(fresh, request)
  }
}

/** gRPC has no other; a port that declares nothing is taken to speak what its caller does. Upgrades are HTTP/1.1's. */
function speaksHttp2({ protocol, upgrade, fields, callerProtocol }: UpstreamRequest): boolean {
  if (upgrade !== undefined) return false
  if (isGrpc(fields) || protocol === 'HTTP2' || protocol === 'GRPC') return true
  return protocol === undefined && callerProtocol === 'HTTP/2'
}

/** The kept connection had died before it could take the request, or at least before it answered. */
function mayRepeat(outcome: ExchangeOutcome, request: UpstreamRequest): boolean {
  if (outcome.kind === 'response' || !outcome.failure.isStale || request.signal.aborted) return false
  const isUntouched = outcome.failure.reason === 'refused-stream'
  return (isUntouched || idempotent.has(request.head.method)) && request.body.isReplayable
}
