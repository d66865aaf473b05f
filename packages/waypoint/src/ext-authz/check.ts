/** What a provider is asked about, and what it answers: one shape for gRPC and HTTP. */
import type { AuthorizationProvider } from '@ambient/policy'
import type { IncomingRequest } from '../http/downstream.ts'
import type { RequestHead } from '../http/message.ts'
import type { ClusterRef } from '../route/ir.ts'
import type { InboundStream } from '../stream.ts'

/** One question to one provider. */
export interface Check {
  readonly provider: AuthorizationProvider
  readonly cluster: ClusterRef
  readonly stream: InboundStream
  /** Absent for a connection that carries no HTTP. */
  readonly request: CheckedRequest | undefined
}

export interface CheckedRequest {
  /** As the providers before this one left it. */
  readonly head: RequestHead
  readonly protocol: IncomingRequest['protocol']
  /** Milliseconds since the epoch. */
  readonly startMs: number
  /** As much of the body as the provider asks for. */
  readonly body: CheckedBytes | undefined
}

export interface CheckedBytes {
  readonly bytes: Buffer
  /** There is more of it. */
  readonly isPartial: boolean
  /** In gRPC as bytes; otherwise as text. */
  readonly asBytes: boolean
}

export type CheckAnswer =
  | { readonly kind: 'allowed'; readonly edits: CheckEdits }
  | (CheckReply & { readonly kind: 'denied'; readonly status: number })
  /** The provider could not be asked, failed, or nobody understands its answer. */
  | {
      readonly kind: 'error'
      readonly reason: string
      /** What a provider that failed wants the caller to be told, where its failure is not let pass. */
      readonly reply?: CheckReply
    }

export interface CheckReply {
  /** `undefined`: as configured. */
  readonly status: number | undefined
  readonly headers: readonly HeaderEdit[]
  readonly body: Buffer
}

/** What an answer of yes does to the request, and to the response. */
export interface CheckEdits {
  readonly headers: readonly HeaderEdit[]
  readonly remove: readonly string[]
  readonly querySet: readonly (readonly [key: string, value: string])[]
  readonly queryRemove: readonly string[]
  readonly response: readonly HeaderEdit[]
}

export interface HeaderEdit {
  /** In lower case. */
  readonly name: string
  /** As on the wire: one character per byte. */
  readonly value: string
  readonly how: 'set' | 'add' | 'add-if-absent' | 'set-if-present'
}

export const noCheckEdits: CheckEdits = Object.freeze({
  headers: [],
  remove: [],
  querySet: [],
  queryRemove: [],
  response: [],
})

/** An answer that nobody understands; its message is the reason of an `error`. */
export class UnreadableAnswer extends Error {}
