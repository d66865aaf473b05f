/** What the dispatch desk is asked for, and what it answers. */
import type { AppProtocol, Channel } from '@ambient/core'
import type { HttpRequest, HttpResponse } from '../http/message.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { ClusterRef, RetryPolicy } from '../route/ir.ts'
import type { Caller } from '../stream.ts'

/** One request that was routed. */
export interface DispatchOrder {
  readonly cluster: ClusterRef
  /**
   * Head as the upstream is to see it (hop-by-hop fields may be left in). The desk reads the body, once; its `signal`
   * cancels everything that is still under way.
   */
  readonly request: HttpRequest
  readonly retry: RetryPolicy
  /** Of the whole exchange from the request's last byte to the response's, retries included. */
  readonly timeoutMs?: number | undefined
  /** Each gets a copy of the request. What becomes of it is nobody's business. */
  readonly mirrors: readonly { readonly cluster: ClusterRef }[]
  /** What the service port speaks; `undefined`: as the caller. */
  readonly protocol: AppProtocol | undefined
  /** Of the upstream span; goes into the CONNECT, the request's own header is the head's. */
  readonly traceparent?: string | undefined
  readonly caller: Caller
}

/**
 * Envoy's response flags, as far as this room sets them. `UPE` is a back end that does not speak HTTP, `DC` a caller who
 * has gone; `URX` comes beside another flag, or alone with the last response.
 */
export type DispatchFlag = 'UF' | 'UC' | 'UR' | 'UH' | 'UT' | 'UO' | 'UPE' | 'DC' | 'URX'

export interface DispatchResponse {
  readonly kind: 'response'
  /**
   * The caller of `dispatch` owns body and upgraded stream and must read or destroy them. A cut body ends in an error,
   * never in an end. Hop-by-hop fields are gone; a 101 keeps `upgrade` and leaves `connection` to whoever writes it.
   */
  readonly response: HttpResponse
  readonly endpoint: ClusterEndpoint
  /** Requests that left for an upstream, the first one included. */
  readonly attempts: number
  /** From the first attempt to the response's head. */
  readonly upstreamServiceMs: number
  /** `['URX']` when this is the last of several attempts and would have been tried again. */
  readonly flags: readonly DispatchFlag[]
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly detail: string
}

export interface DispatchFailure {
  readonly kind: 'failed'
  /** 503, 504 or 502; 0 when the caller has gone and nobody is left to be answered. */
  readonly status: number
  readonly flag: DispatchFlag
  /** `flag` and `URX` where attempts ran out. */
  readonly flags: readonly DispatchFlag[]
  /** For the caller, as Envoy words it. */
  readonly body: string
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly detail: string
  /** For logs: what the layer beneath said. */
  readonly reason: string
  /** Which was tried last. */
  readonly endpoint: ClusterEndpoint | undefined
  readonly attempts: number
}

export type DispatchResult = DispatchResponse | DispatchFailure

/** One TCP connection to a cluster. */
export interface TcpOrder {
  readonly cluster: ClusterRef
  readonly caller: Caller
  readonly traceparent?: string | undefined
  /** Gives up while connecting. */
  readonly signal: AbortSignal
}

export type TcpResult =
  | {
      readonly kind: 'connected'
      /** The caller of `connectTcp` owns it. */
      readonly channel: Channel
      readonly endpoint: ClusterEndpoint
      readonly attempts: number
      /** To be called when the connection is over: the endpoint has one less. Idempotent. */
      readonly release: () => void
    }
  | DispatchFailure
