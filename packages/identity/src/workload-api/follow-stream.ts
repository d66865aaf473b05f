/**
 * One server stream that is never left alone: opened again when it ends, at once or with patience, until the server says
 * that asking is useless. SPIFFE Workload API §6, Workload Endpoint §6.
 */
import {
  type Client,
  type ClientReadableStream,
  type MethodDefinition,
  status,
  type StatusObject,
} from '@grpc/grpc-js'
import type { Clock, Logger, Timer } from '@ambient/core'
import { workloadApiDefaults } from '../defaults.ts'
import type { IdentityError } from '../errors.ts'
import type { WorkloadApiAddress } from './address.ts'
import { createWorkloadApiChannel, workloadApiError } from './channel.ts'
import { securityMetadata } from './protocol.ts'

export interface StreamFailure {
  readonly error: IdentityError
  readonly code: status
  /** Nothing is tried again. */
  readonly isFinal: boolean
  /** The stream that failed had brought a message that was taken. */
  readonly hadDelivered: boolean
}

export interface FollowStreamOptions<Request, Response> {
  readonly address: WorkloadApiAddress
  readonly method: MethodDefinition<Request, Response>
  readonly request: Request
  readonly clock: Clock
  readonly logger: Logger
  /** In [0, 1), for the jitter. */
  readonly random: () => number
  /** Throws to discard a message; the stream goes on. */
  onMessage(message: Response): void
  /** A message was discarded. */
  onDiscard(error: unknown): void
  onFailure(failure: StreamFailure): void
}

export interface FollowedStream {
  start(): void
  close(): void
}

/** Asking again would be answered in the same way. */
const FINAL: readonly status[] = [status.INVALID_ARGUMENT, status.UNIMPLEMENTED]

export function followStream<Request, Response>(
  options: FollowStreamOptions<Request, Response>,
): FollowedStream {
  return new Follower(options)
}

/** The wait after the n-th failure in a row: 1 s, doubling to 30 s, ±20 %. */
export function streamRetryDelay(failures: number, random: number): number {
  const { retryFirstMs, retryFactor, retryMaxMs, retryJitter } = workloadApiDefaults
  const delay = Math.min(retryFirstMs * retryFactor ** Math.max(0, failures - 1), retryMaxMs)
  return delay * (1 + (random * 2 - 1) * retryJitter)
}

interface Attempt<Response> {
  readonly client: Client
  readonly call: ClientReadableStream<Response>
  readonly openedAtMs: number
  hadDelivered: boolean
}

class Follower<Request, Response> implements FollowedStream {
  readonly #options: FollowStreamOptions<Request, Response>
  #attempt: Attempt<Response> | undefined
  #timer: Timer | undefined
  #failures = 0
  #wasBrief = false
  #started = false
  #closed = false

  constructor(options: FollowStreamOptions<Request, Response>) {
    this.#options = options
  }

  start(): void {
    if (this.#started) return
    this.#started = true
    this.#open()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#drop()
  }

  #open(): void {
    if (this.#closed) return
    const { address, method, request, clock } = this.#options
    const client = createWorkloadApiChannel(address)
    const call = client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      securityMetadata(),
    )
    const attempt = { client, call, openedAtMs: clock.monotonic(), hadDelivered: false }
    this.#attempt = attempt
    this.#timer = clock.after(workloadApiDefaults.firstMessageTimeoutMs, () => {
      if (this.#attempt === attempt) this.#end(attempt, status.DEADLINE_EXCEEDED, 'nothing came in time')
    })
    call.on('data', (message: Response) => this.#message(attempt, message))
    // Its status says the same, and comes for clean ends too.
    call.on('error', () => {})
    call.on('status', ({ code, details }: StatusObject) => {
      if (this.#attempt !== attempt) return
      // What was sent before a clean end is still to be read.
      if (code === status.OK && !call.readableEnded) call.once('end', () => this.#end(attempt, code, details))
      else this.#end(attempt, code, details)
    })
  }

  #message(attempt: Attempt<Response>, message: Response): void {
    if (this.#attempt !== attempt) return
    this.#timer?.cancel()
    try {
      this.#options.onMessage(message)
      attempt.hadDelivered = true
      this.#failures = 0
    } catch (error) {
      this.#options.onDiscard(error)
    }
  }

  #end(attempt: Attempt<Response>, code: status, details: string): void {
    if (this.#attempt !== attempt) return
    this.#drop()
    this.#timer?.cancel()
    const { address, method, clock, logger, random, onFailure } = this.#options
    const livedMs = clock.monotonic() - attempt.openedAtMs
    const isBrief = livedMs < workloadApiDefaults.minStreamMs
    // A server that restarts ends its streams cleanly; one that does nothing else is not asked in a tight loop.
    const atOnce = code === status.OK && (!isBrief || (attempt.hadDelivered && !this.#wasBrief))
    this.#wasBrief = isBrief
    if (atOnce) return this.#open()
    this.#failures += 1
    const delay = streamRetryDelay(this.#failures, random())
    if (code === status.OK) return this.#openIn(delay)
    const error = workloadApiError(address, method.originalName ?? method.path, code, details)
    const isFinal = FINAL.includes(code)
    if (!isFinal) this.#openIn(delay)
    logger.warn(
      { address: address.text, error: error.message, ...(isFinal ? {} : { retryMs: Math.round(delay) }) },
      isFinal
        ? 'the Workload API will not answer: it is not asked again'
        : 'the Workload API does not answer',
    )
    onFailure({ error, code, isFinal, hadDelivered: attempt.hadDelivered })
  }

  #openIn(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => this.#open())
  }

  #drop(): void {
    const attempt = this.#attempt
    this.#attempt = undefined
    attempt?.call.cancel()
    attempt?.client.close()
  }
}
