/** What this proxy answers itself, in Envoy's words. */
import { applyHeaderEdits } from '../route/header-edits.ts'
import type { RouteDecision } from '../route/decide.ts'
import type { ExchangeFlag } from './desk.ts'
import { HeaderFields } from './header-fields.ts'
import type { LocalReply } from './local-reply.ts'

export function badRequest(detail: string): LocalReply {
  return { status: 400, body: 'Bad Request', flags: ['DPE'], detail }
}

export function denied(detail: string): LocalReply {
  return { status: 403, body: 'RBAC: access denied', flags: [], detail, grpcStatus: 7 }
}

export function aborted(abort: {
  readonly status: number
  readonly grpcStatus?: number | undefined
}): LocalReply {
  const { status, grpcStatus } = abort
  return { status, grpcStatus, body: 'fault filter abort', flags: ['FI'], detail: 'fault_filter_abort' }
}

/** Our own mistake; its words are for the ledger, not for the caller. */
export function brokenDesk(message: string): LocalReply {
  return {
    status: 500,
    body: '',
    flags: [],
    detail: `internal_error{${message.replaceAll(/\s+/g, '_')}}`,
  }
}

export function unusableResponse(flags: readonly ExchangeFlag[]): LocalReply {
  return {
    status: 502,
    body: 'upstream connect error or disconnect/reset before headers. reset reason: protocol error',
    flags: [...flags, 'UPE'],
    detail: 'upstream_reset_before_response_started{protocol_error}',
  }
}

/** What the switchboard answers itself. */
export function replyOf(decision: Exclude<RouteDecision, { kind: 'forward' }>): LocalReply {
  if (decision.kind === 'not-found')
    return { status: 404, body: '', flags: ['NR'], detail: 'route_not_found' }
  const headers = new HeaderFields()
  if (decision.kind === 'redirect') headers.set('location', decision.location)
  for (const edits of decision.responseHeaders) applyHeaderEdits(headers, edits)
  const isUnknown = decision.kind === 'missing' && decision.flag === 'NC'
  return {
    status: decision.status,
    body: decision.kind === 'respond' ? decision.body : '',
    flags: isUnknown ? ['NC'] : [],
    detail: isUnknown ? 'cluster_not_found' : 'direct_response',
    headers,
  }
}
