/** JWT-SVIDs over the Workload API: fetched from the server, proven with its bundles. */
import { create } from '@bufbuild/protobuf'
import { type Client, type MethodDefinition, type ServiceError, status } from '@grpc/grpc-js'
import { type Clock, type Logger, messageOf, readSpiffeId, type SpiffeId, systemClock } from '@ambient/core'
import { decodeJwt } from 'jose'
import { readSpiffeBundle, type SpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { workloadApiDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import {
  JWTBundlesRequestSchema,
  type JWTBundlesResponse,
  type JWTSVID,
  JWTSVIDRequestSchema,
  ValidateJWTSVIDRequestSchema,
} from '../gen/workload-api_pb.ts'
import { type JwtVerdict, verifyJwtSvid } from '../jwt/jwt-svid.ts'
import { redacted } from '../svid/redact.ts'
import type { WorkloadApiAddress } from './address.ts'
import { createWorkloadApiChannel, workloadApiError } from './channel.ts'
import { type FollowedStream, followStream, type StreamFailure } from './follow-stream.ts'
import { securityMetadata, workloadApi } from './protocol.ts'
import { refuse, trustDomainOf } from './snapshot.ts'

export interface FetchJwtRequest {
  /** Whom the token is for; each of several may use it against the others, so give one. */
  readonly audience: string | readonly string[]
  /** Which of several identities. Default: the server's first one. */
  readonly id?: SpiffeId
  readonly signal?: AbortSignal
}

export interface FetchedJwtSvid {
  /** Shown as `[redacted]` by `JSON.stringify` and `util.inspect` of this object. */
  readonly token: string
  readonly id: SpiffeId
  readonly audience: readonly string[]
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  /** The operator's name for the identity; empty for none. */
  readonly hint: string
}

export interface ValidateJwtRequest {
  readonly token: string
  /** Who we are to the bearer; the token has to name it. */
  readonly audience: string
  readonly signal?: AbortSignal
}

export interface JwtCalls {
  fetch(request: FetchJwtRequest): Promise<FetchedJwtSvid>
  validate(request: ValidateJwtRequest): Promise<JwtVerdict>
  bundles(): ReadonlyMap<string, SpiffeBundle>
  close(): void
}

export interface JwtCallsOptions {
  readonly address: WorkloadApiAddress
  readonly clock: Clock
  readonly logger: Logger
  readonly random: () => number
}

/** What a first answer with bundles came to. */
type Bundles =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'held'; readonly bundles: ReadonlyMap<string, SpiffeBundle> }
  | { readonly kind: 'failed'; readonly failure: unknown; readonly isUnimplemented: boolean }

export function createJwtCalls(options: JwtCallsOptions): JwtCalls {
  return new Calls(options)
}

class Calls implements JwtCalls {
  readonly #options: JwtCallsOptions
  readonly #stream: FollowedStream
  readonly #waiters = new Set<() => void>()
  readonly #running = new Set<() => void>()
  #bundles: Bundles = { kind: 'waiting' }
  #client: Client | undefined
  #closed = false

  constructor(options: JwtCallsOptions) {
    this.#options = options
    this.#stream = followStream({
      ...options,
      method: workloadApi.fetchJwtBundles,
      request: create(JWTBundlesRequestSchema),
      onMessage: message => this.#settle({ kind: 'held', bundles: readJwtBundles(message) }),
      onDiscard: error => {
        const { address, logger } = options
        logger.warn({ address: address.text, error: messageOf(error) }, 'JWT bundles were discarded')
        this.#fail(error, false)
      },
      onFailure: (failure: StreamFailure) => {
        // No bundle is due any more: nobody can be believed.
        if (failure.code === status.PERMISSION_DENIED && failure.hadDelivered)
          this.#bundles = { kind: 'waiting' }
        this.#fail(failure.error, failure.code === status.UNIMPLEMENTED)
      },
    })
  }

  bundles(): ReadonlyMap<string, SpiffeBundle> {
    return this.#bundles.kind === 'held' ? this.#bundles.bundles : new Map()
  }

  async fetch({ audience, id, signal }: FetchJwtRequest): Promise<FetchedJwtSvid> {
    const audiences = typeof audience === 'string' ? [audience] : [...audience]
    if (audiences.length === 0 || audiences.includes(''))
      throw new IdentityError(
        'AMBIENT_E_IDENTITY_OPTION',
        'audience: a JWT-SVID is for somebody, and nobody was named',
        { layer: 'config' },
      )
    const { svids } = await this.#call(
      workloadApi.fetchJwtSvid,
      create(JWTSVIDRequestSchema, { audience: audiences, spiffeId: id?.uri ?? '' }),
      signal,
    )
    const wanted = id === undefined ? svids[0] : svids.find(({ spiffeId }) => spiffeId === id.uri)
    if (wanted === undefined) throw refuse(`svids: ${id === undefined ? 'is empty' : `${id.uri} is missing`}`)
    return readJwtSvid(wanted, audiences, this.#options.clock.now())
  }

  async validate({ token, audience, signal }: ValidateJwtRequest): Promise<JwtVerdict> {
    const found = await this.#firstBundles(signal)
    if (found.kind === 'held')
      return verifyJwtSvid({ token, audience, bundles: found.bundles, now: this.#options.clock.now() })
    if (found.kind === 'failed' && found.isUnimplemented)
      return this.#validateRemotely(token, audience, signal)
    throw found.kind === 'failed' ? found.failure : this.#closedError()
  }

  close(): void {
    this.#closed = true
    this.#stream.close()
    this.#bundles = { kind: 'waiting' }
    for (const cancel of [...this.#running]) cancel()
    for (const tell of [...this.#waiters]) tell()
    this.#client?.close()
    this.#client = undefined
  }

  async #firstBundles(signal: AbortSignal | undefined): Promise<Bundles> {
    signal?.throwIfAborted()
    if (this.#closed) throw this.#closedError()
    this.#stream.start()
    if (this.#bundles.kind !== 'waiting') return this.#bundles
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiters.delete(end)
        signal?.removeEventListener('abort', onAbort)
        resolve(this.#bundles)
      }
      const onAbort = (): void => {
        this.#waiters.delete(end)
        reject(signal?.reason)
      }
      this.#waiters.add(end)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  #fail(failure: unknown, isUnimplemented: boolean): void {
    // What is known stays known while the server is away.
    if (this.#bundles.kind !== 'held') this.#settle({ kind: 'failed', failure, isUnimplemented })
  }

  #settle(bundles: Bundles): void {
    this.#bundles = bundles
    for (const tell of [...this.#waiters]) tell()
  }

  async #validateRemotely(
    token: string,
    audience: string,
    signal: AbortSignal | undefined,
  ): Promise<JwtVerdict> {
    try {
      const { spiffeId, claims = {} } = await this.#call(
        workloadApi.validateJwtSvid,
        create(ValidateJWTSVIDRequestSchema, { svid: token, audience }),
        signal,
      )
      const id = readSpiffeId(spiffeId)
      if (!id.ok) throw refuse(`spiffe_id: ${id.reason}`)
      const expiresAt = typeof claims['exp'] === 'number' ? claims['exp'] * 1_000 : 0
      if (expiresAt <= this.#options.clock.now())
        return { ok: false, problem: 'expired', reason: `JWT-SVID: ${spiffeId}: expired, or without exp` }
      return {
        ok: true,
        svid: Object.freeze({ id: id.id, audience: [audience], expiresAt, claims: { ...claims } }),
      }
    } catch (error) {
      const cause = error instanceof IdentityError ? error.cause : undefined
      if (isServiceError(cause) && cause.code === status.INVALID_ARGUMENT)
        return { ok: false, problem: 'malformed', reason: `JWT-SVID: ${cause.details}` }
      throw error
    }
  }

  #call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const { address } = this.#options
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      if (this.#closed) throw this.#closedError()
      this.#client ??= createWorkloadApiChannel(address)
      const client = this.#client
      const call = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        securityMetadata(),
        // The deadline is the wall clock's: grpc-js compares it with its own.
        { deadline: systemClock.now() + workloadApiDefaults.callTimeoutMs },
        (error, response) => {
          this.#running.delete(cancel)
          signal?.removeEventListener('abort', cancel)
          if (error === null && response !== undefined) return resolve(response)
          this.#retire(client)
          if (signal?.aborted === true) reject(signal.reason)
          else if (this.#closed) reject(this.#closedError())
          else reject(callError(address, method.originalName ?? method.path, error))
        },
      )
      const cancel = (): void => call.cancel()
      this.#running.add(cancel)
      signal?.addEventListener('abort', cancel, { once: true })
    })
  }

  /** grpc-js waits longer and longer before it dials again; a caller has its own patience. */
  #retire(client: Client): void {
    if (this.#client !== client || this.#running.size > 0) return
    this.#client = undefined
    client.close()
  }

  #closedError(): IdentityError {
    return new IdentityError(
      'AMBIENT_E_IDENTITY_CLOSED',
      `the Workload API ${this.#options.address.text}: the source is closed`,
      { layer: 'identity' },
    )
  }
}

function callError(address: WorkloadApiAddress, method: string, error: ServiceError | null): IdentityError {
  return error === null
    ? refuse('is missing')
    : workloadApiError(address, method, error.code, error.details, error)
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error
}

/** Documents that cannot be read spoil the whole answer: no half of it is believed. */
function readJwtBundles({ bundles }: JWTBundlesResponse): ReadonlyMap<string, SpiffeBundle> {
  const found = new Map<string, SpiffeBundle>()
  for (const [key, document] of Object.entries(bundles)) {
    const domain = trustDomainOf(key, 'bundles')
    if (found.has(domain)) throw refuse(`bundles: ${domain} is given twice`)
    try {
      found.set(domain, readJwtDocument(domain, document))
    } catch (cause) {
      throw refuse(`bundles[${domain}]: ${messageOf(cause)}`, cause)
    }
  }
  return found
}

/** A plain JWKS, as servers send it here: its keys need not say that they are those of JWT-SVIDs. */
function readJwtDocument(domain: string, bytes: Uint8Array): SpiffeBundle {
  const text = Buffer.from(bytes).toString('utf8')
  const document: unknown = JSON.parse(text)
  if (
    typeof document !== 'object' ||
    document === null ||
    !('keys' in document) ||
    !Array.isArray(document.keys)
  )
    return readSpiffeBundle(domain, text)
  const keys: readonly unknown[] = document.keys
  const named = keys.map(key =>
    typeof key === 'object' && key !== null && (!('use' in key) || key.use !== 'x509-svid')
      ? { ...key, use: 'jwt-svid' }
      : key,
  )
  return readSpiffeBundle(domain, JSON.stringify({ ...document, keys: named }))
}

/** The server's word on who we are, compared with what the token says. */
function readJwtSvid(
  { spiffeId, svid, hint }: JWTSVID,
  audience: readonly string[],
  now: number,
): FetchedJwtSvid {
  const id = readSpiffeId(spiffeId)
  if (!id.ok) throw refuse(`svids.spiffe_id: ${id.reason}`)
  if (svid === '') throw refuse(`svids (${spiffeId}).svid: is missing`)
  let claims: ReturnType<typeof decodeJwt>
  try {
    claims = decodeJwt(svid)
  } catch {
    // The parser's own error could quote its input.
    throw refuse(`svids (${spiffeId}).svid: not a signed JWT`)
  }
  const { sub, aud, exp } = claims
  if (sub !== spiffeId) throw refuse(`svids (${spiffeId}).svid: is that of ${JSON.stringify(sub)}`)
  const named = typeof aud === 'string' ? [aud] : (aud ?? [])
  const missing = audience.find(name => !named.includes(name))
  if (missing !== undefined) throw refuse(`svids (${spiffeId}).svid: is not for ${JSON.stringify(missing)}`)
  if (typeof exp !== 'number' || exp * 1_000 <= now) throw refuse(`svids (${spiffeId}).svid: is expired`)
  const fetched = { token: svid, id: id.id, audience: named, expiresAt: exp * 1_000, hint }
  return Object.freeze(redacted(fetched, { ...fetched, id: spiffeId, token: '[redacted]' }))
}
