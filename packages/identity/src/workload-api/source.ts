/** An X.509-SVID, JWT-SVIDs and bundles from a SPIFFE Workload API: SPIRE's agent, or our own server. */
import { createHash } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { status } from '@grpc/grpc-js'
import {
  type Clock,
  type Credentials,
  type Logger,
  messageOf,
  silentLogger,
  systemClock,
} from '@ambient/core'
import type { SpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { type CrlSet, crlSet, revocationProblem } from '../crl/judge.ts'
import { nothingRevoked, type Revocations } from '../crl/revocations.ts'
import { X509SVIDRequestSchema, type X509SVIDResponse } from '../gen/workload-api_pb.ts'
import type { JwtVerdict } from '../jwt/jwt-svid.ts'
import { HeldSvid } from '../sources/held-svid.ts'
import type { X509Source } from '../sources/x509-source.ts'
import { readWorkloadApiAddress, type WorkloadApiAddress } from './address.ts'
import { type FollowedStream, followStream, type StreamFailure } from './follow-stream.ts'
import {
  createJwtCalls,
  type FetchedJwtSvid,
  type FetchJwtRequest,
  type JwtCalls,
  type ValidateJwtRequest,
} from './jwt-calls.ts'
import { workloadApi } from './protocol.ts'
import { readX509Snapshot, type WorkloadSvid, type X509Snapshot } from './snapshot.ts'
import { checkOptions } from '../option-checks.ts'

export interface WorkloadApiSourceOptions {
  /** `unix:///ABSOLUTE/PATH` or `tcp://IP:PORT`; usually what the environment has in `SPIFFE_ENDPOINT_SOCKET`. */
  readonly address: string
  /** Which of several identities is the default. Default: the first one. `undefined` for none of them. */
  readonly pick?: (svids: readonly WorkloadSvid[]) => WorkloadSvid | undefined
  /** What is known of withdrawn certificates beside the lists that the Workload API sends. Default: nothing is. */
  readonly revocations?: Revocations
  readonly clock?: Clock
  readonly logger?: Logger
  /** In [0, 1), for the jitter. Default `Math.random`. */
  readonly random?: () => number
}

export interface WorkloadApiSource extends X509Source {
  /** Every identity of this workload that is valid now, the default of the server first. Empty before the first answer. */
  svids(): readonly WorkloadSvid[]
  /** What is known of each trust domain; JWT keys from the first call of `validateJwtSvid` on. */
  bundles(): ReadonlyMap<string, SpiffeBundle>
  /**
   * A token for an audience, from the server, which says who we are.
   * @throws IdentityError `AMBIENT_E_WORKLOAD_API`, `AMBIENT_E_WORKLOAD_API_RESPONSE`, `AMBIENT_E_IDENTITY_CLOSED`, or
   * the signal's reason.
   */
  fetchJwtSvid(request: FetchJwtRequest): Promise<FetchedJwtSvid>
  /**
   * Proves a bearer's token with the bundles of the Workload API; by the server itself where that gives none.
   * @throws IdentityError `AMBIENT_E_WORKLOAD_API` while there are no bundles, `AMBIENT_E_IDENTITY_CLOSED`, or the signal's reason.
   */
  validateJwtSvid(request: ValidateJwtRequest): Promise<JwtVerdict>
}

/**
 * Nothing is dialled before the first use; one stream is kept open from then on until `close`. Each answer replaces the
 * last one as a whole: what is missing in it was withdrawn. While the server is away the old certificate is given to its
 * expiry.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createWorkloadApiSource(options: WorkloadApiSourceOptions): WorkloadApiSource {
  checkOptions(options, { address: 'text' })
  return new Source(options)
}

class Source implements WorkloadApiSource {
  readonly #address: WorkloadApiAddress
  readonly #pick: (svids: readonly WorkloadSvid[]) => WorkloadSvid | undefined
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #held: HeldSvid
  readonly #stream: FollowedStream
  readonly #jwt: JwtCalls
  readonly #revocations: Revocations
  #crls: CrlSet = crlSet([])
  #snapshot: X509Snapshot | undefined
  /** The answer that the snapshot was read from, to know it when it comes again. */
  #fingerprint = ''
  #generation = 0

  constructor(options: WorkloadApiSourceOptions) {
    const { pick = firstOf, revocations = nothingRevoked, random = Math.random } = options
    this.#address = readWorkloadApiAddress(options.address)
    this.#pick = pick
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
    const common = { address: this.#address, clock: this.#clock, logger: this.#logger, random }
    this.#held = new HeldSvid({ ...common, label: `the Workload API ${this.#address.text}` })
    this.#jwt = createJwtCalls(common)
    this.#revocations = {
      problemOf: (path, at) =>
        revocations.problemOf(path, at) ??
        revocationProblem(path, { set: this.#crls, mode: 'allow-unknown', at, now: this.#clock.now() }),
    }
    this.#stream = followStream({
      ...common,
      method: workloadApi.fetchX509Svid,
      request: create(X509SVIDRequestSchema),
      onMessage: message => this.#take(message),
      onDiscard: error => this.#discard(error),
      onFailure: failure => this.#failed(failure),
    })
  }

  async get(options: { readonly signal?: AbortSignal } = {}): Promise<Credentials> {
    options.signal?.throwIfAborted()
    if (!this.#held.closed) this.#stream.start()
    return this.#held.get(options.signal)
  }

  current(): Credentials | undefined {
    return this.#held.current
  }

  watch(listener: (credentials: Credentials) => void): () => void {
    const stop = this.#held.watch(listener)
    if (!this.#held.closed) this.#stream.start()
    return stop
  }

  svids(): readonly WorkloadSvid[] {
    const now = this.#clock.now()
    return (this.#snapshot?.svids ?? []).filter(({ credentials }) => now <= credentials.notAfter)
  }

  bundles(): ReadonlyMap<string, SpiffeBundle> {
    const x509 = this.#snapshot?.bundles ?? new Map<string, readonly Uint8Array[]>()
    const jwt = this.#jwt.bundles()
    return new Map(
      [...new Set([...x509.keys(), ...jwt.keys()])].map(trustDomain => [
        trustDomain,
        {
          trustDomain,
          x509Authorities: x509.get(trustDomain) ?? [],
          jwtAuthorities: jwt.get(trustDomain)?.jwtAuthorities ?? new Map(),
          ignored: jwt.get(trustDomain)?.ignored ?? [],
        },
      ]),
    )
  }

  fetchJwtSvid(request: FetchJwtRequest): Promise<FetchedJwtSvid> {
    return this.#jwt.fetch(request)
  }

  validateJwtSvid(request: ValidateJwtRequest): Promise<JwtVerdict> {
    return this.#jwt.validate(request)
  }

  async close(): Promise<void> {
    this.#held.close()
    this.#stream.close()
    this.#jwt.close()
    this.#snapshot = undefined
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #take(message: X509SVIDResponse): void {
    const fingerprint = fingerprintOf(message)
    if (fingerprint === this.#fingerprint && this.#held.latest !== undefined) return this.#held.recover()
    const snapshot = readX509Snapshot(message, {
      generation: this.#generation + 1,
      clock: this.#clock,
      revocations: this.#revocations,
    })
    const picked = snapshot.svids.length === 0 ? undefined : this.#pick(snapshot.svids)
    this.#generation += 1
    this.#fingerprint = fingerprint
    this.#snapshot = snapshot
    this.#crls = snapshot.crls
    if (picked === undefined)
      return this.#withdraw(
        snapshot.svids.length === 0 ? 'its answer holds no identity' : 'none of its identities was picked',
      )
    this.#logger.info(
      {
        identity: picked.id.uri,
        generation: picked.credentials.generation,
        notAfter: picked.credentials.notAfter,
        svids: snapshot.svids.length,
      },
      'certificate available',
    )
    this.#held.take(picked.credentials)
  }

  #withdraw(reason: string, cause?: unknown): void {
    this.#logger.warn(
      { address: this.#address.text, identity: this.#held.latest?.id.uri, reason },
      'the identity was withdrawn',
    )
    this.#held.withdraw(reason, cause)
  }

  #discard(error: unknown): void {
    this.#logger.warn(
      { address: this.#address.text, error: messageOf(error) },
      'an answer of the Workload API was discarded',
    )
    this.#held.fail(error)
  }

  /** The stream that brought an identity says that none is due: withdrawn. One that brought nothing yet may be a restart. */
  #failed({ error, code, hadDelivered }: StreamFailure): void {
    if (code !== status.PERMISSION_DENIED || !hadDelivered) return this.#held.fail(error)
    this.#snapshot = undefined
    this.#fingerprint = ''
    this.#withdraw(error.message, error)
  }
}

function firstOf(svids: readonly WorkloadSvid[]): WorkloadSvid | undefined {
  return svids[0]
}

/** Of the bytes on the wire; maps are sent in any order. */
function fingerprintOf({ svids, crl, federatedBundles }: X509SVIDResponse): string {
  const hash = createHash('sha256')
  const add = (bytes: Uint8Array | string): void => void hash.update(`${bytes.length}:`).update(bytes)
  for (const { spiffeId, x509Svid, x509SvidKey, bundle, hint } of svids)
    for (const part of [spiffeId, x509Svid, x509SvidKey, bundle, hint]) add(part)
  add('crl')
  for (const list of crl) add(list)
  add('federated')
  for (const [domain, bundle] of Object.entries(federatedBundles).sort(([a], [b]) => (a < b ? -1 : 1))) {
    add(domain)
    add(bundle)
  }
  return hash.digest('base64')
}
