/**
 * Everything that has to say yes, in its order: providers of CUSTOM policies, tokens, then the guard (l7 §1.4). Nothing is
 * waited for where nobody has to be asked.
 */
import { type Clock, type Connection, messageOf } from '@ambient/core'
import type { CheckedBody, CustomMatch, WaypointDecision } from '@ambient/policy'
import type { CheckAnswer, CheckEdits, CheckedBytes, CheckReply } from './ext-authz/check.ts'
import { UnreadableAnswer } from './ext-authz/check.ts'
import { applyEdits, editRequest } from './ext-authz/edits.ts'
import { HeldBody, Holding } from './ext-authz/held-body.ts'
import type { Providers } from './ext-authz/providers.ts'
import type { Guard, Proof } from './guard.ts'
import type { RequestPermission } from './http/desk.ts'
import type { IncomingRequest } from './http/downstream.ts'
import { HeaderFields } from './http/header-fields.ts'
import type { LocalReply } from './http/local-reply.ts'
import type { RequestHead } from './http/message.ts'
import type { JwtAuthenticator, JwtStep } from './jwt/authenticator.ts'
import { extAuthzLimits } from './limits.ts'
import type { InboundStream } from './stream.ts'

export interface Authorization {
  /** A promise only where somebody has to be asked. Never rejects. */
  request(
    stream: InboundStream,
    head: RequestHead,
    incoming: IncomingRequest,
  ): RequestPermission | Promise<RequestPermission>
  /** Likewise, of a connection that carries no HTTP; `signal`: nobody waits any more. */
  connection(stream: InboundStream, connection: Connection, signal: AbortSignal): Cleared | Promise<Cleared>
}

/** What providers said of a connection; the guard judges the rest. */
export type Cleared =
  | { readonly kind: 'passed'; readonly proof: Proof }
  | { readonly kind: 'denied'; readonly denial: WaypointDecision }

export interface AuthorizationOptions {
  readonly guard: Guard
  readonly providers: Providers
  readonly tokens: Pick<JwtAuthenticator, 'authenticate'>
  readonly clock: Clock
}

export function createAuthorization(given: AuthorizationOptions): Authorization {
  const options = { ...given, holding: new Holding(extAuthzLimits.heldBytes) }
  const { guard } = options
  return {
    request(stream, head, incoming) {
      if (guard.requirement(stream, head).kind === 'ask')
        return new Questions(options, stream, head, incoming).permission()
      const step = options.tokens.authenticate(stream, head)
      return step instanceof Promise
        ? step.then(taken => afterToken(guard, stream, head, taken))
        : afterToken(guard, stream, head, step)
    },
    connection(stream, connection, signal) {
      const required = guard.connectionRequirement(stream, connection)
      if (required.kind !== 'ask') return nothingAsked
      return clearConnection(options, stream, connection, signal)
    },
  }
}

const nothingAsked: Cleared = Object.freeze({
  kind: 'passed',
  proof: Object.freeze({ asked: new Set<string>() }),
})

/** The guard's word on what the token's step left of the request. */
function afterToken(
  guard: Guard,
  stream: InboundStream,
  head: RequestHead,
  step: JwtStep,
  asked?: ReadonlySet<string>,
): RequestPermission {
  if (step.kind === 'refused')
    return {
      allowed: false,
      reason: step.reply.body.toString(),
      detail: step.reply.detail,
      considered: [],
      reply: step.reply,
    }
  if (asked === undefined && step.head === head && step.jwt === undefined)
    return guard.decideRequest(stream, head)
  const proof: Proof = {
    asked: asked ?? new Set(),
    ...(step.jwt === undefined ? {} : { jwt: step.jwt }),
    // Providers come before tokens: what the step took away or added is no matter of theirs.
    ...(step.head === head ? {} : { withToken: head }),
  }
  // As in Envoy, where the route is known before tokens are.
  const matched = step.head === head ? {} : { matched: head }
  return { ...guard.decideRequest(stream, step.head, proof), ...matched, head: step.head, proof }
}

interface QuestionsOptions extends AuthorizationOptions {
  readonly holding: Holding
}

/** The providers of one request, one after the other, as each one left it to the next. */
class Questions {
  readonly #options: QuestionsOptions
  readonly #stream: InboundStream
  readonly #original: RequestHead
  readonly #incoming: IncomingRequest
  readonly #startMs: number
  readonly #asked = new Set<string>()
  readonly #responseEdits: CheckEdits['response'][] = []
  #head: RequestHead
  #body: HeldBody | undefined
  #clearsRoute = false

  constructor(
    options: QuestionsOptions,
    stream: InboundStream,
    head: RequestHead,
    incoming: IncomingRequest,
  ) {
    this.#options = options
    this.#stream = stream
    // The rooms behind change the head in place; what routes are matched with stays as it came.
    this.#original = { ...head, headers: head.headers.copy() }
    this.#head = head
    this.#incoming = incoming
    this.#startMs = options.clock.now()
  }

  async permission(): Promise<RequestPermission> {
    let permission: RequestPermission | undefined
    try {
      permission = (await this.#askAll()) ?? (await this.#judge())
    } finally {
      // What nobody is to get is no longer held; the connection reads the rest as that of any refused request.
      if (permission?.allowed !== true) this.#body?.release().destroy()
    }
    const isOnItsRoute = permission.allowed && !this.#clearsRoute
    return {
      ...permission,
      ...(isOnItsRoute ? { matched: this.#original } : {}),
      ...(this.#body === undefined || !permission.allowed ? {} : { body: this.#body.release() }),
      ...(this.#responseEdits.length === 0
        ? {}
        : { editResponse: fields => applyEdits(fields, this.#responseEdits.flat()) }),
    }
  }

  /** Policies may change meanwhile, and a provider may change what matches: who is needed is asked anew each time. */
  async #askAll(): Promise<RequestPermission | undefined> {
    for (;;) {
      const required = this.#options.guard.requirement(this.#stream, this.#head)
      if (required.kind !== 'ask') return undefined
      const match = required.matches.find(({ provider }) => !this.#asked.has(provider))
      if (match === undefined) return undefined
      const refusal = await this.#ask(match)
      if (refusal !== undefined) return refusal
      this.#asked.add(match.provider)
    }
  }

  async #judge(): Promise<RequestPermission> {
    const { guard, tokens } = this.#options
    const step = await tokens.authenticate(this.#stream, this.#head)
    const permission = afterToken(guard, this.#stream, this.#head, step, this.#asked)
    this.#head = permission.head ?? this.#head
    return permission
  }

  async #ask(match: CustomMatch): Promise<RequestPermission | undefined> {
    const { providers } = this.#options
    const provider = providers.find(match.provider)
    const body = await this.#bodyFor(provider?.body)
    if (body === 'too-large') return refused(match, 'its body is longer than the provider may see', TOO_LARGE)
    if (body === 'cut') return refused(match, 'its body was cut', CUT)
    if (body === 'late') return refused(match, 'its body took too long', LATE)
    if (body === 'full') return refused(match, 'too many bodies are held for providers', FULL)
    const answer = await providers.check(match.provider, {
      stream: this.#stream,
      request: {
        head: this.#head,
        protocol: this.#incoming.protocol,
        startMs: this.#startMs,
        body,
      },
      signal: this.#incoming.signal,
    })
    return this.#take(match, this.#carriedOut(answer, provider?.clearRouteCache ?? false))
  }

  /** An answer that cannot be carried out is none. */
  #carriedOut(answer: CheckAnswer, clearsRoute: boolean): CheckAnswer {
    if (answer.kind !== 'allowed') return answer
    try {
      const head = editRequest(this.#head, answer.edits)
      if (head !== this.#head) this.#clearsRoute ||= clearsRoute
      this.#head = head
      if (answer.edits.response.length > 0) this.#responseEdits.push(answer.edits.response)
      return answer
    } catch (error) {
      if (!(error instanceof UnreadableAnswer)) throw error
      return { kind: 'error', reason: messageOf(error) }
    }
  }

  #take(match: CustomMatch, answer: CheckAnswer): RequestPermission | undefined {
    if (answer.kind === 'allowed') return undefined
    if (answer.kind === 'denied')
      return refused(
        match,
        `the provider ${match.provider} denied it`,
        replyOf(answer, answer.status, 'ext_authz_denied'),
      )
    const provider = this.#options.providers.find(match.provider)
    if (provider?.failOpen === true) return undefined
    const { reply = noReply } = answer
    return refused(
      match,
      whyNoAnswer(match, answer),
      replyOf(reply, reply.status ?? provider?.statusOnError ?? FORBIDDEN, 'ext_authz_error'),
    )
  }

  async #bodyFor(
    wanted: CheckedBody | undefined,
  ): Promise<CheckedBytes | 'too-large' | 'cut' | 'full' | 'late' | undefined> {
    const source = this.#incoming.body
    if (wanted === undefined || source === undefined || this.#incoming.upgrade !== undefined) return undefined
    const { maxBytes, allowPartial, asBytes } = wanted
    const announced = Number(this.#head.headers.get('content-length') ?? 0)
    if (!allowPartial && announced > maxBytes) return 'too-large'
    const { holding, clock } = this.#options
    this.#body ??= new HeldBody(source, { holding, clock, limitMs: extAuthzLimits.bodyMs })
    // One byte more than is shown: whether there is more is part of what is shown.
    const read = await this.#body.readBeyond(allowPartial ? maxBytes - 1 : maxBytes)
    if (read !== 'read') return read
    const isLonger = this.#body.bytes > maxBytes
    if (isLonger && !allowPartial) return 'too-large'
    return { bytes: this.#body.head(maxBytes), isPartial: isLonger || !this.#body.isWhole, asBytes }
  }
}

const FORBIDDEN = 403
const TOO_LARGE: LocalReply = {
  status: 413,
  body: 'Payload Too Large',
  flags: [],
  detail: 'request_payload_too_large',
}
const LATE: LocalReply = {
  status: 408,
  body: 'request timeout',
  flags: [],
  detail: 'request_overall_timeout',
}
const FULL: LocalReply = { status: 503, body: 'overflow', flags: ['UO'], detail: 'overflow' }
const CUT: LocalReply = { status: 400, body: '', flags: ['DC'], detail: 'downstream_remote_disconnect' }

function refused({ by }: CustomMatch, why: string, reply: LocalReply): RequestPermission {
  const decision = denialOf({ by }, why, reply.detail)
  return { ...decision, reply }
}

function denialOf({ by }: Pick<CustomMatch, 'by'>, why: string, detail: string): WaypointDecision {
  return { allowed: false, reason: `CUSTOM policy ${by.policy}: ${why}`, detail, by, considered: [] }
}

function whyNoAnswer(
  { provider }: CustomMatch,
  { reason, reply }: Extract<CheckAnswer, { kind: 'error' }>,
): string {
  return `the provider ${provider} ${reply === undefined ? `could not be asked: ${reason}` : reason}`
}

const noReply: CheckReply = Object.freeze({ status: undefined, headers: [], body: Buffer.alloc(0) })

function replyOf({ headers, body }: CheckReply, status: number, detail: string): LocalReply {
  const fields = new HeaderFields()
  applyEdits(fields, headers)
  return { status, body, flags: ['UAEX'], detail, headers: fields }
}

async function clearConnection(
  { guard, providers }: AuthorizationOptions,
  stream: InboundStream,
  connection: Connection,
  signal: AbortSignal,
): Promise<Cleared> {
  const asked = new Set<string>()
  for (;;) {
    const required = guard.connectionRequirement(stream, connection)
    const match = required.kind === 'ask' ? required.matches.find(one => !asked.has(one.provider)) : undefined
    if (match === undefined) return { kind: 'passed', proof: { asked } }
    const answer = await providers.check(match.provider, { stream, request: undefined, signal })
    const isOpen = answer.kind === 'error' && providers.find(match.provider)?.failOpen === true
    if (answer.kind === 'denied')
      return {
        kind: 'denied',
        denial: denialOf(match, `the provider ${match.provider} denied it`, 'ext_authz_denied'),
      }
    if (answer.kind === 'error' && !isOpen)
      return {
        kind: 'denied',
        denial: denialOf(match, whyNoAnswer(match, answer), 'ext_authz_error'),
      }
    asked.add(match.provider)
  }
}
