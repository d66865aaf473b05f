/**
 * The order of one exchange (l7 §1.4): path, header hygiene, trace, providers and tokens, guard, fault, switchboard's action, dispatch desk,
 * response edits, body, ledger. Nothing is dialled for it and no byte of a body is read, but for what a provider is
 * to see of it, before all have said yes.
 */
import type { Duplex, Readable } from 'node:stream'
import { messageOf, type Clock } from '@ambient/core'
import { normalizePath } from '@ambient/policy'
import { applyHeaderEdits } from '../route/header-edits.ts'
import type { RouteDecision } from '../route/decide.ts'
import type { DispatchResponse } from '../upstream/order.ts'
import type { InboundStream } from '../stream.ts'
import type { CodecReply } from './codec-error.ts'
import type { HeaderFields } from './header-fields.ts'
import { cleanRequestFields, cleanResponseFields, cleanTrailers, headBytes, isGrpc } from './hygiene.ts'
import { localResponse, type LocalReply } from './local-reply.ts'
import { aborted, badRequest, brokenDesk, denied, replyOf, unusableResponse } from './own-replies.ts'
import type { HttpRequest, HttpResponse, RequestHead } from './message.ts'
import type {
  ExchangeFlag,
  ExchangeObserver,
  ExchangeOutcome,
  RequestDesk,
  RequestPermission,
} from './desk.ts'
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
  readonly isGrpc: boolean
  readonly stream: InboundStream
  readonly desk: RequestDesk
  readonly observer: ExchangeObserver
  /** Once it is known. */
  permission: RequestPermission | undefined
  /** As policy saw it, nothing of ours added yet; a copy only where it is asked again. */
  judged: RequestHead
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
  const exchange: Exchange = {
    incoming,
    head,
    isGrpc: isGrpc(head.headers),
    stream,
    desk,
    observer,
    permission: undefined,
    judged: head,
  }
  const answer = await answerTo(exchange, problem).catch(
    (error: unknown): Answer => local(brokenDesk(messageOf(error))),
  )
  const outcome = await deliver(exchange, answer, downstream)
  exchange.permission?.body?.destroy()
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
    : normalizePath(target, desk.pathNormalization(), { dotParameters: 'refuse' })
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
  const { incoming, stream, desk, observer } = exchange
  const traceparent = observer.start({
    protocol: incoming.protocol,
    head: exchange.head,
    isGrpc: exchange.isGrpc,
  })
  if (problem !== undefined) return local(problem)
  const asked = desk.authorize(stream, exchange.head, incoming)
  const permission = asked instanceof Promise ? await asked : asked
  exchange.permission = permission
  if (incoming.signal.aborted) return { kind: 'gone', flags: [] }
  observer.authorized(permission)
  if (!permission.allowed) return local(permission.reply ?? denied(permission.detail))
  const { head = exchange.head } = permission
  exchange.judged = incoming.upgrade === undefined ? head : { ...head, headers: head.headers.copy() }
  if (traceparent !== undefined) head.headers.set('traceparent', traceparent)
  const caller = desk.forwardedClientCert(stream)
  if (caller !== undefined) head.headers.set('x-forwarded-client-cert', caller)
  const decision = desk.route(stream, head, permission.matched)
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
    request: requestOf(incoming, decision.request, exchange.permission?.body),
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

function requestOf(
  incoming: IncomingRequest,
  head: RequestHead,
  body: Readable | undefined = incoming.body,
): HttpRequest {
  return {
    method: head.method,
    scheme: head.scheme,
    authority: head.authority,
    path: head.path,
    headers: head.headers,
    protocol: incoming.protocol,
    body,
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
  exchange.permission?.editResponse?.(response.headers)
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
  exchange.permission?.editResponse?.(headers)
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
  const { desk, stream, judged, permission } = exchange
  const admission = desk.admit(stream, judged, permission?.proof)
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

function local(reply: LocalReply, flags: readonly ExchangeFlag[] = []): Answer {
  return { kind: 'local', reply: { ...reply, flags: [...flags, ...reply.flags] } }
}

function brokenFacts({ status, detail }: CodecReply): Pick<ExchangeOutcome, 'status' | 'flags' | 'detail'> {
  return { status, flags: ['DPE'], detail }
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
