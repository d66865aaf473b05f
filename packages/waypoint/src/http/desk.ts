/** What the reading room asks of the rooms behind it, one call per step of an exchange. */
import type { Readable } from 'node:stream'
import type { Clock } from '@ambient/core'
import type { PathNormalization, WaypointDecision } from '@ambient/policy'
import type { Admission, Proof } from '../guard.ts'
import type { RouteDecision } from '../route/decide.ts'
import type { DispatchOrder, DispatchResult } from '../upstream/order.ts'
import type { InboundStream } from '../stream.ts'
import type { IncomingRequest } from './downstream.ts'
import type { HeaderFields } from './header-fields.ts'
import type { LocalReply } from './local-reply.ts'
import type { HttpProtocol, RequestHead } from './message.ts'

export interface RequestDesk {
  readonly clock: Clock
  /** As the mesh says now. */
  pathNormalization(): PathNormalization
  /** `x-forwarded-client-cert` for the upstream, where the Gateway asks for it; the caller's own is never passed on. */
  forwardedClientCert(stream: InboundStream): string | undefined
  /** Room 7, with whoever it has to ask; a promise only then. Whatever it throws is a denial with status 500. */
  authorize(
    stream: InboundStream,
    head: RequestHead,
    incoming: IncomingRequest,
  ): RequestPermission | Promise<RequestPermission>
  /** Room 7 once more, when the request becomes a connection: it is judged again whenever policies change. */
  admit(stream: InboundStream, head: RequestHead, proof: Proof | undefined): Admission
  /** Room 9. `matched`: what routes are matched with, where that is not what goes on. */
  route(stream: InboundStream, head: RequestHead, matched: RequestHead | undefined): RouteDecision
  /** Room 10. */
  dispatch(order: DispatchOrder): Promise<DispatchResult>
  /** Room 15: one observer per request, also for those that could not be read. */
  observe(stream: InboundStream): ExchangeObserver
}

/** A decision, and what those who were asked for it made of the request. */
export interface RequestPermission extends WaypointDecision {
  /** Of a denial: what the caller gets, where it is not the policies' own. */
  readonly reply?: LocalReply
  /** What goes on in place of the head that was asked about. */
  readonly head?: RequestHead
  /** What routes are matched with, in place of what goes on. */
  readonly matched?: RequestHead
  /** The request's body, where its beginning has been looked at. */
  readonly body?: Readable
  /** To be done to the head of whatever is answered. */
  readonly editResponse?: (fields: HeaderFields) => void
  /** For {@link RequestDesk.admit}. */
  readonly proof?: Proof
}

/** The request as the ledger knows it: after path normalization and header hygiene. */
export interface ExchangeStart {
  readonly protocol: HttpProtocol
  readonly head: RequestHead
  readonly isGrpc: boolean
}

/** In this order, each at most once; only `done` is certain. None of them may throw. */
export interface ExchangeObserver {
  /**
   * The head is whole. Returns the `traceparent` that goes on to the upstream, in place of the request's;
   * `undefined` leaves it as it came.
   */
  start(request: ExchangeStart): string | undefined
  authorized(decision: WaypointDecision): void
  routed(decision: RouteDecision): void
  /** Room 10 has answered; the response's body is still to come. */
  dispatched(result: DispatchResult): void
  /** Exactly once, when the last byte is gone or nobody is left to get it. */
  done(outcome: ExchangeOutcome): void
}

/** `-` is no flag: an exchange that went well has none. */
export type ExchangeFlag =
  | 'DPE'
  | 'DC'
  | 'DI'
  | 'FI'
  | 'IH'
  | 'NC'
  | 'NR'
  | 'UAEX'
  | 'UC'
  | 'UF'
  | 'UH'
  | 'UO'
  | 'UPE'
  | 'UR'
  | 'URX'
  | 'UT'

export interface ExchangeOutcome {
  /** What the caller saw; 0 when it saw none. */
  readonly status: number
  readonly flags: readonly ExchangeFlag[]
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly detail: string
  /** Of bodies; of an upgraded exchange, everything after its head. */
  readonly receivedBytes: number
  readonly sentBytes: number
  /** Names and values of the heads, about as they were on the wire. */
  readonly requestHeadBytes: number
  readonly responseHeadBytes: number
  /** As they were sent; `undefined` when nothing was. */
  readonly responseHeaders: HeaderFields | undefined
  /** Of a gRPC exchange, from trailers or headers. */
  readonly grpcStatus: number | undefined
  /** `false`: the response was cut short. */
  readonly isComplete: boolean
}
