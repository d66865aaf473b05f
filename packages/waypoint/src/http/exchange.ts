/**
 * The order of one exchange (l7 §1.4): path, header hygiene, trace, guard, fault, switchboard's action, dispatch desk,
 * response edits, body, ledger. Nothing is dialled and no byte of a body is read before the guard has said yes.
 */
import type { Duplex } from 'node:stream'
import { messageOf, type Clock } from '@ambient/core'
import { normalizePath } from '@ambient/policy'
import { applyHeaderEdits } from '../route/header-edits.ts'
import type { RouteDecision } from '../route/decide.ts'
import type { DispatchResponse } from '../upstream/order.ts'
import type { InboundStream } from '../stream.ts'
import type { CodecReply } from './codec-error.ts'
import { HeaderFields } from './header-fields.ts'
import { cleanRequestFields, cleanResponseFields, cleanTrailers, headBytes, isGrpc } from './hygiene.ts'
import { localResponse, type LocalReply } from './local-reply.ts'
import type { HttpRequest, HttpResponse, RequestHead } from './message.ts'
import type { ExchangeFlag, ExchangeObserver, ExchangeOutcome, RequestDesk } from './desk.ts'
import type { Downstream, IncomingRequest, ResponseHead, Sent } from './downstream.ts'
import { reset } from './upgrade.ts'

/** What the caller gets, decided before a byte of it is written. */
type Answer =
  | { readonly kind: 'local'; readonly reply: LocalReply }
  | {
      readonly kind: 'upstream'
      readonly result: DispatchResponse
      readonly decision: ForwardDecision
      readonly flags: readonly ExchangeFlag[]
    }
  | { readonly kind: 'gone'; readonly flags: readonly ExchangeFlag[] }

type ForwardDecision = Extract<RouteDecision, { kind: 'forward' }>

interface Exchange {
  readonly incoming: IncomingRequest
  readonly head: RequestHead
  /** As policy sees it, nothing of ours added yet; a copy only where it is asked again. */
  readonly judged: RequestHead
  readonly isGrpc: boolean
  readonly stream: InboundStream
  readonly desk: RequestDesk
  readonly observer: ExchangeObserver
}

const SERVER = 'istio-envoy'
const noTrailers = (): undefined => undefined

/** Carries out one exchange, to the last byte of its response. Never rejects. */
export async function runExchange(
  incoming: IncomingRequest,
  downstream: Downstream,
  stream: InboundStream,
  desk: RequestDesk,
): Promise<void> {
  const observer = desk.observe(stream)
  const { head, problem } = judgeHead(incoming, desk)
  const judged = incoming.upgrade === undefined ? head : { ...head, headers: head.headers.copy() }
  const exchange = { incoming, head, judged, isGrpc: isGrpc(head.headers), stream, desk, observer }
  const answer = await answerTo(exchange, problem).catch(
    (error: unknown): Answer => local(brokenDesk(messageOf(error))),
  )
  const outcome = await deliver(exchange, answer, downstream)
  const broken = incoming.brokenBy()
  observer.done(broken === undefined ? outcome : { ...outcome, ...brokenFacts(broken) })
}

/** Path and fields; the head is what the ledger shows, even when it is refused. */
function judgeHead(
  incoming: IncomingRequest,
  desk: RequestDesk,
): { readonly head: RequestHead; readonly problem: LocalReply | undefined } {
  const { method, scheme, authority, target } = incoming
  const isAsterisk = target === '*' && method === 'OPTIONS'
  const path = isAsterisk
    ? ({ ok: true, path: target } as const)
    : normalizePath(target, desk.pathNormalization)
  const fields = cleanRequestFields(incoming.headers, {
    scheme,
    isHttp2: incoming.protocol === 'HTTP/2',
  })
  const head: RequestHead = {
    method,
    scheme,
    authority,
    path: path.ok ? path.path : target,
    headers: fields.ok ? fields.headers : incoming.headers,
  }
  const problem =
    incoming.problem ??
    (path.ok ? undefined : badRequest('path_normalization_failed')) ??
    (fields.ok ? undefined : badRequest(fields.detail))
  return { head, problem }
}

async function answerTo(exchange: Exchange, problem: LocalReply | undefined): Promise<Answer> {
  const { incoming, head, stream, desk, observer } = exchange
  const traceparent = observer.start({
    protocol: incoming.protocol,
    head,
    isGrpc: exchange.isGrpc,
  })
  if (problem !== undefined) return local(problem)
  const permission = desk.authorize(stream, head)
  observer.authorized(permission)
  if (!permission.allowed) return local(denied(permission.detail))
  if (traceparent !== undefined) head.headers.set('traceparent', traceparent)
  const caller = desk.forwardedClientCert(stream)
  if (caller !== undefined) head.headers.set('x-forwarded-client-cert', caller)
  const decision = desk.route(stream, head)
  observer.routed(decision)
  const fault = decision.kind === 'not-found' ? undefined : decision.fault
  const flags: ExchangeFlag[] = []
  if (fault?.delayMs !== undefined) {
    flags.push('DI')
    await wait(desk.clock, fault.delayMs, incoming.signal)
  }
  if (incoming.signal.aborted) return { kind: 'gone', flags }
  if (fault?.abort !== undefined) return local(aborted(fault.abort), flags)
  if (decision.kind !== 'forward') return local(replyOf(decision), flags)
  return forward(exchange, decision, traceparent, flags)
}

async function forward(
  exchange: Exchange,
  decision: ForwardDecision,
  traceparent: string | undefined,
  flags: readonly ExchangeFlag[],
): Promise<Answer> {
  const { incoming, stream, desk, observer } = exchange
  const result = await desk.dispatch({
    cluster: decision.cluster,
    request: requestOf(incoming, decision.request),
    retry: decision.route.retry,
    timeoutMs: decision.route.timeoutMs,
    mirrors: decision.mirrors,
    protocol: stream.target.kind === 'service' ? stream.target.protocol : undefined,
    traceparent,
    caller: stream.caller,
  })
  observer.dispatched(result)
  if (result.kind === 'failed') {
    if (result.status === 0 || incoming.signal.aborted) return { kind: 'gone', flags }
    const { status, body, detail } = result
    return local({ status, body, detail, flags: result.flags }, flags)
  }
  if (!incoming.signal.aborted)
    return { kind: 'upstream', result, decision, flags: [...flags, ...result.flags] }
  result.response.body?.destroy()
  result.response.upgraded?.destroy()
  return { kind: 'gone', flags }
}

function requestOf(incoming: IncomingRequest, head: RequestHead): HttpRequest {
  return {
    method: head.method,
    scheme: head.scheme,
    authority: head.authority,
    path: head.path,
    headers: head.headers,
    protocol: incoming.protocol,
    body: incoming.body,
    trailers: () => cleaned(incoming.trailers()),
    upgrade: incoming.upgrade,
    signal: incoming.signal,
  }
}

function cleaned(trailers: HeaderFields | undefined): HeaderFields | undefined {
  return trailers && cleanTrailers(trailers)
}

function deliver(exchange: Exchange, answer: Answer, downstream: Downstream): Promise<ExchangeOutcome> {
  switch (answer.kind) {
    case 'gone':
      return Promise.resolve(nobodyLeft(exchange, answer.flags))
    case 'local':
      return deliverLocal(exchange, answer.reply, downstream)
    case 'upstream':
      return deliverUpstream(exchange, answer, downstream)
  }
}

async function deliverLocal(
  exchange: Exchange,
  reply: LocalReply,
  downstream: Downstream,
): Promise<ExchangeOutcome> {
  const response = localResponse(reply, exchange.isGrpc)
  response.headers.set('server', SERVER)
  const body = exchange.incoming.method === 'HEAD' ? undefined : response.body
  const sent = await downstream.send(response, body, noTrailers)
  return outcomeOf(exchange, sent, { ...response, flags: reply.flags, detail: reply.detail })
}

async function deliverUpstream(
  exchange: Exchange,
  answer: Extract<Answer, { kind: 'upstream' }>,
  downstream: Downstream,
): Promise<ExchangeOutcome> {
  const { response, detail } = answer.result
  if (!isAnswer(exchange.incoming, response)) {
    response.body?.destroy()
    response.upgraded?.destroy()
    return deliverLocal(exchange, unusableResponse(answer.flags), downstream)
  }
  const headers = cleanResponseFields(response.headers, response.status)
  headers.set('x-envoy-upstream-service-time', String(Math.round(answer.result.upstreamServiceMs)))
  for (const edits of answer.decision.responseHeaders) applyHeaderEdits(headers, edits)
  headers.set('server', SERVER)
  const head = { status: response.status, headers }
  if (response.upgraded !== undefined)
    return deliverUpgraded(exchange, answer, downstream, { head, upgraded: response.upgraded })
  const sent = await downstream.send(head, response.body, () => cleaned(response.trailers()))
  if (sent.end === 'refused') return deliverLocal(exchange, unusableResponse(answer.flags), downstream)
  const grpcStatus = exchange.isGrpc ? grpcStatusOf(response.trailers() ?? headers) : undefined
  return outcomeOf(exchange, sent, { ...head, grpcStatus, flags: answer.flags, detail })
}

/** From a 101 to the end of both directions, or to a policy that no longer allows it: then both are cut. */
async function deliverUpgraded(
  exchange: Exchange,
  answer: Extract<Answer, { kind: 'upstream' }>,
  downstream: Downstream,
  { head, upgraded }: { readonly head: ResponseHead; readonly upgraded: Duplex },
): Promise<ExchangeOutcome> {
  const { desk, stream, judged } = exchange
  const admission = desk.admit(stream, judged)
  if (!admission.allowed) {
    upgraded.destroy()
    return deliverLocal(exchange, denied(admission.denial.detail), downstream)
  }
  const { permit } = admission
  let denial: string | undefined
  permit.onWithdrawn = decision => {
    denial = decision.detail
    reset(upgraded, 'no longer allowed')
  }
  const sent = await downstream.switch(head, upgraded).finally(() => permit.release())
  if (sent.end === 'refused') return deliverLocal(exchange, unusableResponse(answer.flags), downstream)
  const { flags, result } = answer
  const outcome = outcomeOf(exchange, sent, { ...head, grpcStatus: undefined, flags, detail: result.detail })
  return denial === undefined ? outcome : { ...outcome, flags, detail: denial }
}

/** Nobody switches a connection whose caller did not ask for it: what it sends next would pass unjudged. */
function isAnswer({ upgrade }: IncomingRequest, { status, upgraded }: HttpResponse): boolean {
  return upgraded === undefined ? status >= 200 : upgrade !== undefined
}

function outcomeOf(
  exchange: Exchange,
  sent: Sent,
  facts: Pick<ExchangeOutcome, 'status' | 'flags' | 'detail' | 'grpcStatus'> & { headers: HeaderFields },
): ExchangeOutcome {
  const isUnsent = sent.end === 'refused'
  return {
    status: isUnsent ? 0 : facts.status,
    ...ending(sent, facts),
    receivedBytes: sent.receivedBytes ?? exchange.incoming.body?.bytes ?? 0,
    sentBytes: sent.bytes,
    requestHeadBytes: requestHeadBytes(exchange.head),
    responseHeadBytes: isUnsent ? 0 : headBytes(facts.headers),
    responseHeaders: isUnsent ? undefined : facts.headers,
    grpcStatus: facts.grpcStatus,
    isComplete: sent.end === 'complete',
  }
}

function ending(
  sent: Sent,
  facts: Pick<ExchangeOutcome, 'flags' | 'detail'>,
): Pick<ExchangeOutcome, 'flags' | 'detail'> {
  switch (sent.end) {
    case 'complete':
      return { flags: facts.flags, detail: facts.detail }
    case 'upstream':
      return {
        flags: [...facts.flags, 'UC'],
        detail: 'upstream_reset_after_response_started{connection_termination}',
      }
    default:
      return { flags: [...facts.flags, 'DC'], detail: 'downstream_remote_disconnect' }
  }
}

function nobodyLeft(exchange: Exchange, flags: readonly ExchangeFlag[]): ExchangeOutcome {
  return {
    status: 0,
    flags: [...flags, 'DC'],
    detail: 'downstream_remote_disconnect',
    receivedBytes: exchange.incoming.body?.bytes ?? 0,
    sentBytes: 0,
    requestHeadBytes: requestHeadBytes(exchange.head),
    responseHeadBytes: 0,
    responseHeaders: undefined,
    grpcStatus: undefined,
    isComplete: false,
  }
}

/** What the switchboard answers itself. */
function replyOf(decision: Exclude<RouteDecision, { kind: 'forward' }>): LocalReply {
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

function local(reply: LocalReply, flags: readonly ExchangeFlag[] = []): Answer {
  return { kind: 'local', reply: { ...reply, flags: [...flags, ...reply.flags] } }
}

function badRequest(detail: string): LocalReply {
  return { status: 400, body: 'Bad Request', flags: ['DPE'], detail }
}

function denied(detail: string): LocalReply {
  return { status: 403, body: 'RBAC: access denied', flags: [], detail, grpcStatus: 7 }
}

function aborted(abort: { readonly status: number; readonly grpcStatus?: number | undefined }): LocalReply {
  const { status, grpcStatus } = abort
  return { status, grpcStatus, body: 'fault filter abort', flags: ['FI'], detail: 'fault_filter_abort' }
}

function brokenFacts({ status, detail }: CodecReply): Pick<ExchangeOutcome, 'status' | 'flags' | 'detail'> {
  return { status, flags: ['DPE'], detail }
}

/** Our own mistake; its words are for the ledger, not for the caller. */
function brokenDesk(message: string): LocalReply {
  return {
    status: 500,
    body: '',
    flags: [],
    detail: `internal_error{${message.replaceAll(/\s+/g, '_')}}`,
  }
}

function unusableResponse(flags: readonly ExchangeFlag[]): LocalReply {
  return {
    status: 502,
    body: 'upstream connect error or disconnect/reset before headers. reset reason: protocol error',
    flags: [...flags, 'UPE'],
    detail: 'upstream_reset_before_response_started{protocol_error}',
  }
}

function requestHeadBytes(head: RequestHead): number {
  return head.method.length + head.path.length + head.authority.length + headBytes(head.headers)
}

function grpcStatusOf(fields: HeaderFields): number | undefined {
  const value = fields.get('grpc-status')
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined
}

/** Resolves early when the caller goes. */
function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve()
    const onOver = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', onOver)
      resolve()
    }
    const timer = clock.after(ms, onOver)
    signal.addEventListener('abort', onOver)
  })
}
