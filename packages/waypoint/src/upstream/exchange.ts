/** One request to one endpoint and its response, whichever HTTP carries it. */
import type { HttpProtocol, HttpResponse, RequestHead } from '../http/message.ts'
import type { HeaderFields } from '../http/header-fields.ts'
import type { AttemptFailure } from './failure.ts'
import type { RequestBody } from './request-body.ts'

export interface ExchangeRequest {
  readonly head: RequestHead
  /** End-to-end only. */
  readonly fields: HeaderFields
  readonly body: RequestBody
  readonly callerProtocol: HttpProtocol
  /** `websocket` and the like: the response may be a 101. */
  readonly upgrade: string | undefined
  /** Cuts the exchange at any time before its response is complete. */
  readonly signal: AbortSignal
  /** Once, after a response was handed out: it is complete, cut or discarded; of an upgraded stream, closed. */
  readonly onOver: () => void
}

export type ExchangeOutcome =
  | { readonly kind: 'response'; readonly response: HttpResponse }
  | { readonly kind: 'failed'; readonly failure: AttemptFailure }
