/**
 * One order from its first attempt to the end of its response: endpoint, exchange, verdict, back-off, again. Timeouts and
 * the caller's going end it at any moment; a response that was handed out already is cut with it.
 */
import type { Clock, Timer } from '@ambient/core'
import type { HttpResponse } from '../http/message.ts'
import { upstreamLimits } from '../limits.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import { type AttemptOutcome, backoffMs, shouldRetry } from '../route/retry.ts'
import type { Lease } from '../route/balancer.ts'
import { discard } from './discard.ts'
import type { EndpointChooser } from './endpoints.ts'
import type { ExchangeOutcome } from './exchange.ts'
import { type AttemptFailure, attemptFailure, Cancelled, failed, type FailureReason } from './failure.ts'
import { endToEnd } from './fields.ts'
import type { DispatchOrder, DispatchResult } from './order.ts'
import { RequestBody } from './request-body.ts'
import type { Upstreams } from './upstreams.ts'

export interface AttemptsContext {
  readonly clock: Clock
  readonly random: () => number
  readonly chooser: EndpointChooser
  readonly upstreams: Upstreams
  /** Asks for leave to try once more; call the answer when that attempt is over. */
  readonly borrowRetry: () => (() => void) | undefined
}

/** What the desk does with an order while it runs. */
export interface RunningOrder {
  readonly body: RequestBody
  /** Never rejects. */
  run(): Promise<DispatchResult>
  /** Resolves when nothing of it is under way any more, its response's body included. */
  readonly over: Promise<void>
  /** Ends it now. */
  cancel(reason: FailureReason): void
}

export function startOrder(context: AttemptsContext, order: DispatchOrder): RunningOrder {
  return new Attempts(context, order)
}

/** The attempt that is under way, or whose response was handed out. */
interface Current {
  readonly controller: AbortController
  perTry: Timer | undefined
}

class Attempts implements RunningOrder {
  readonly body: RequestBody
  readonly over: Promise<void>
  readonly #context: AttemptsContext
  readonly #order: DispatchOrder
  readonly #startedMs: number
  readonly #tried = new Set<string>()
  #attempts = 0
  /** The response is the caller's; the order is over with it. */
  #isHandedOut = false
  #endpoint: ClusterEndpoint | undefined
  #current: Current | undefined
  #ending: FailureReason | undefined
  #overall: Timer | undefined
  #wake: (() => void) | undefined
  #settle: () => void = () => {}

  constructor(context: AttemptsContext, order: DispatchOrder) {
    this.#context = context
    this.#order = order
    this.#startedMs = context.clock.monotonic()
    this.over = new Promise(resolve => {
      this.#settle = resolve
    })
    const { body, signal } = order.request
    this.body = new RequestBody({
      source: body,
      trailers: () => order.request.trailers(),
      replayBytes: upstreamLimits.replayBytes,
      onComplete: () => this.#onBodyComplete(),
      onCut: () => this.cancel('caller-gone'),
    })
    if (signal.aborted) this.cancel('caller-gone')
    else signal.addEventListener('abort', this.#onCallerGone)
    if (this.body.isComplete) this.#onBodyComplete()
  }

  cancel(reason: FailureReason): void {
    if (this.#ending !== undefined) return
    this.#ending = reason
    this.#current?.controller.abort(new Cancelled(reason))
    this.#wake?.()
  }

  async run(): Promise<DispatchResult> {
    let giveBack: (() => void) | undefined
    for (;;) {
      const outcome = await this.#attempt()
      giveBack?.()
      const verdict = this.#judge(outcome)
      if (verdict !== 'again') return this.#finish(outcome, verdict === 'exhausted')
      giveBack = this.#context.borrowRetry()
      if (giveBack === undefined) return this.#finish(outcome, true)
      if (outcome.kind === 'response') discard(outcome.response, this.#context.clock)
      await this.#backOff()
    }
  }

  async #attempt(): Promise<ExchangeOutcome> {
    if (this.#ending !== undefined) return { kind: 'failed', failure: attemptFailure(this.#ending) }
    const lease = this.#context.chooser.choose(this.#order.cluster, this.#tried)
    if (lease === undefined) return { kind: 'failed', failure: attemptFailure('no-endpoint') }
    this.#attempts++
    this.#endpoint = lease.endpoint
    this.#tried.add(lease.endpoint.key)
    return this.#exchange(lease)
  }

  async #exchange(lease: Lease): Promise<ExchangeOutcome> {
    const { endpoint } = lease
    const current: Current = { controller: new AbortController(), perTry: undefined }
    this.#current = current
    if (this.body.isComplete) this.#armPerTry(current)
    const { request, cluster, protocol, traceparent } = this.#order
    const fields = endToEnd(request.headers)
    fields.set('x-envoy-attempt-count', String(this.#attempts))
    const onOver = (): void => {
      current.perTry?.cancel()
      lease.release()
      if (this.#current === current) this.#current = undefined
      if (this.#isHandedOut) this.#over()
    }
    const outcome = await this.#context.upstreams.send({
      cluster,
      endpoint,
      protocol,
      traceparent,
      head: request,
      fields,
      callerProtocol: request.protocol,
      body: this.body,
      upgrade: request.upgrade,
      signal: current.controller.signal,
      onOver,
    })
    if (outcome.kind === 'failed') onOver()
    return outcome
  }

  /** `exhausted`: it would be tried again, had it not been tried so often. */
  #judge(outcome: ExchangeOutcome): 'again' | 'final' | 'exhausted' {
    if (this.#ending !== undefined || isFutile(outcome)) return 'final'
    const { retry } = this.#order
    if (!shouldRetry(retry, outcomeOf(outcome))) return 'final'
    if (this.#attempts > retry.attempts) return retry.attempts > 0 ? 'exhausted' : 'final'
    return this.body.isReplayable ? 'again' : 'final'
  }

  #finish(outcome: ExchangeOutcome, isExhausted: boolean): DispatchResult {
    if (outcome.kind === 'failed') return this.#failed(outcome.failure, isExhausted)
    const endpoint = this.#endpoint
    // Its timer or its caller was quicker than the last step of this loop.
    if (this.#ending !== undefined || endpoint === undefined) {
      destroy(outcome.response)
      return this.#failed(attemptFailure(this.#ending ?? 'remote-reset'), false)
    }
    this.#isHandedOut = true
    // An attempt is over in time with its head; how long a body may take is for the whole order to say.
    this.#current?.perTry?.cancel()
    this.body.forget()
    const { clock } = this.#context
    const isOverAlready = this.#current === undefined
    if (isOverAlready) this.#over()
    return {
      kind: 'response',
      response: outcome.response,
      endpoint,
      attempts: this.#attempts,
      upstreamServiceMs: Math.round(clock.monotonic() - this.#startedMs),
      flags: isExhausted ? ['URX'] : [],
      detail: 'via_upstream',
    }
  }

  #failed(failure: AttemptFailure, isExhausted: boolean): DispatchResult {
    this.#over()
    return failed(failure, { endpoint: this.#endpoint, attempts: this.#attempts, isExhausted })
  }

  #over(): void {
    this.#overall?.cancel()
    this.#order.request.signal.removeEventListener('abort', this.#onCallerGone)
    this.body.close()
    this.#settle()
  }

  readonly #onCallerGone = (): void => this.cancel('caller-gone')

  /** Timeouts count from the request's last byte, so that a slow upload or a stream is not held against the upstream. */
  #onBodyComplete(): void {
    const { timeoutMs } = this.#order
    if (timeoutMs !== undefined && timeoutMs > 0)
      this.#overall ??= this.#context.clock.after(timeoutMs, () => this.cancel('timeout'))
    if (this.#current !== undefined) this.#armPerTry(this.#current)
  }

  #armPerTry(current: Current): void {
    const { perTryTimeoutMs } = this.#order.retry
    if (perTryTimeoutMs === undefined || current.perTry !== undefined || this.#isHandedOut) return
    const expire = (): void => current.controller.abort(new Cancelled('per-try-timeout'))
    current.perTry = this.#context.clock.after(perTryTimeoutMs, expire)
  }

  async #backOff(): Promise<void> {
    const { clock, random } = this.#context
    const waitMs = backoffMs(this.#order.retry, this.#attempts, random)
    await new Promise<void>(resolve => {
      const timer = clock.after(waitMs, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
      if (this.#ending !== undefined) this.#wake()
    })
    this.#wake = undefined
  }
}

/** No endpoint is an answer, not an attempt; and what could not be sent to one can be sent to none. */
function isFutile(outcome: ExchangeOutcome): boolean {
  if (outcome.kind !== 'failed') return false
  const { reason } = outcome.failure
  return reason === 'no-endpoint' || reason === 'unsendable'
}

function outcomeOf(outcome: ExchangeOutcome): AttemptOutcome {
  if (outcome.kind === 'response')
    return { kind: 'response', status: outcome.response.status, headers: outcome.response.headers }
  switch (outcome.failure.reason) {
    case 'connect-failure':
      return { kind: 'connect-failure' }
    case 'refused-stream':
      return { kind: 'refused-stream' }
    case 'per-try-timeout':
      return { kind: 'per-try-timeout' }
    case 'overflow':
      return { kind: 'overflow' }
    default:
      return { kind: 'reset', sent: true }
  }
}

function destroy(response: HttpResponse): void {
  response.body?.destroy()
  response.upgraded?.destroy()
}
