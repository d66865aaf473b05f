/** The caller's side of one exchange, whichever HTTP it speaks: a request that was read, and a way to answer it. */
import type { Duplex, Readable } from 'node:stream'
import type { LocalReply } from './local-reply.ts'
import type { HeaderFields } from './header-fields.ts'
import type { HttpProtocol } from './message.ts'
import type { CallerBody } from './body.ts'
import type { CodecReply } from './codec-error.ts'

/** A request as it was sent, nothing cleaned yet. */
export interface IncomingRequest {
  readonly protocol: HttpProtocol
  readonly method: string
  readonly scheme: string
  readonly authority: string
  /** Path and query as they were sent. */
  readonly target: string
  readonly headers: HeaderFields
  readonly body: CallerBody | undefined
  trailers(): HeaderFields | undefined
  readonly upgrade: string | undefined
  /** Aborted when the caller has gone before the response was complete. */
  readonly signal: AbortSignal
  /** What the rest of it was found to be while it was carried out; the caller has been told. */
  brokenBy(): CodecReply | undefined
  /** What is wrong with it already; it gets this answer and goes nowhere. */
  readonly problem: LocalReply | undefined
}

export interface ResponseHead {
  readonly status: number
  readonly headers: HeaderFields
}

export interface Sent {
  readonly bytes: number
  /** `upstream`: its body was cut, and the response with it. `caller`: nobody is left. `refused`: not a byte was sent. */
  readonly end: 'complete' | 'upstream' | 'caller' | 'refused'
  /** Of an upgraded exchange, from the caller. */
  readonly receivedBytes?: number
}

export interface Downstream {
  /**
   * Writes one response, once, to its end; owns the body. `refused`: the platform does not send such a head; another
   * response may be written.
   */
  send(
    head: ResponseHead,
    body: Readable | Buffer | undefined,
    trailers: () => HeaderFields | undefined,
  ): Promise<Sent>
  /** The upgrade was accepted: from now on bytes go both ways, until both are over. Owns the upgraded stream. */
  switch(head: ResponseHead, upgraded: Duplex): Promise<Sent>
}
