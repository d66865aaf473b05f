/**
 * Delta ADS as ztunnel speaks it: fills a directory, a policy store, and for a waypoint the configuration; survives every
 * disconnect with its state.
 */
import { create } from '@bufbuild/protobuf'
import { status as grpcStatus } from '@grpc/grpc-js'
import {
  type Clock,
  type Logger,
  type Meter,
  noMeter,
  silentLogger,
  systemClock,
  type Timer,
} from '@ambient/core'
import { type DeltaDiscoveryResponse, DeltaDiscoveryRequestSchema } from '../gen/discovery_pb.js'
import { StatusSchema } from '../gen/status_pb.js'
import type { WritableDirectory } from '../directory/directory.ts'
import { DiscoveryError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type AdsConnection, type AdsTarget, openAdsConnection, readAdsAddress } from './ads-connection.ts'
import { applyResponse, type PolicySink } from './apply.ts'
import { isChurn, jittered, nextBackoff, type StreamEnding, terminationReason } from './backoff.ts'
import { isConfigType } from '../configuration/document.ts'
import type { ConfigSink } from '../configuration/store.ts'
import {
  ambientTypes,
  AUTHORIZATION_TYPE,
  isResourceType,
  type NodeInfo,
  type ResourceType,
  resourceTypes,
  writeNode,
} from './protocol.ts'

export interface AdsClientOptions {
  /** `https://HOST:PORT`; HOST is what the server's certificate has to name, an IP address included. */
  readonly address: string
  /** PEM of the roots that the server's certificate is checked against; asked for each connection. */
  readonly rootPem: () => string | Promise<string>
  /** Bearer token; asked for each connection. Without it none is sent. */
  readonly token?: () => string | undefined | Promise<string | undefined>
  readonly node: NodeInfo
  readonly clusterId: string
  /** Further metadata of the call. */
  readonly headers?: Readonly<Record<string, string>>
  /** Another name that the server's certificate may have. */
  readonly alternativeHostname?: string
  readonly directory: WritableDirectory
  readonly policies: PolicySink
  /** With it the configuration of waypoints is asked for as well. */
  readonly configuration?: ConfigSink
  readonly clock?: Clock
  readonly logger?: Logger
  readonly meter?: Meter
  readonly random?: () => number
}

export interface AdsTypeStatus {
  /** Resources that are held. */
  readonly resources: number
  /** A response of this type was accepted as a whole, ever. */
  readonly acknowledged: boolean
  /** What the last response was refused for; absent when it was accepted. */
  readonly nack?: string
}

export interface AdsClientStatus {
  /** The server has answered on the present connection. */
  readonly connected: boolean
  /** Connections that were tried. */
  readonly attempts: number
  /** How the last connection ended. */
  readonly lastError?: string
  readonly types: ReadonlyMap<ResourceType, AdsTypeStatus>
}

export interface AdsClient {
  /** Connects, and reconnects until `close`. */
  start(): void
  /**
   * Resolves when a response of each type was accepted: addresses and L4 policies as a whole, of configuration what could be
   * read. Rejects when closed before.
   */
  readonly ready: Promise<void>
  status(): AdsClientStatus
  /** Ends the connection; what was delivered stays in the directory and the store. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** @throws DiscoveryError `AMBIENT_E_XDS_ADDRESS`. */
export function createAdsClient(options: AdsClientOptions): AdsClient {
  return new DeltaAdsClient(options)
}

interface TypeState {
  /**
   * What a reconnect says it has: versions that were accepted. A refused update leaves the version before it, which
   * is what we still hold: so the update is sent again, and a removal is not missed.
   */
  readonly versions: Map<string, string>
  acknowledged: boolean
  /** What could be read of a first response is held. */
  settled: boolean
  nack: string | undefined
}

class DeltaAdsClient implements AdsClient {
  readonly ready: Promise<void>
  readonly #options: AdsClientOptions
  readonly #target: AdsTarget
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #random: () => number
  readonly #metrics: Metrics
  readonly #types = new Map<ResourceType, TypeState>()
  #settleReady: { resolve(): void; reject(error: Error): void } = { resolve() {}, reject() {} }
  #connection: AdsConnection | undefined
  #retry: Timer | undefined
  #backoffMs: number = limits.reconnectMinMs
  #attempts = 0
  #connected = false
  #lastError: string | undefined
  #state: 'new' | 'running' | 'closed' = 'new'

  constructor(options: AdsClientOptions) {
    this.#options = options
    this.#target = {
      url: readAdsAddress(options.address),
      rootPem: options.rootPem,
      token: options.token ?? (() => undefined),
      clusterId: options.clusterId,
      headers: options.headers ?? {},
      alternativeHostname: options.alternativeHostname,
    }
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
    this.#random = options.random ?? Math.random
    this.#metrics = createMetrics(options.meter ?? noMeter)
    const wanted = options.configuration === undefined ? ambientTypes : resourceTypes
    for (const type of wanted)
      this.#types.set(type, {
        versions: new Map(),
        acknowledged: false,
        settled: false,
        nack: undefined,
      })
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject }
    })
    // Whoever does not wait for readiness is not to be told that it never came.
    this.ready.catch(() => {})
  }

  start(): void {
    if (this.#state !== 'new') return
    this.#state = 'running'
    this.#connect()
  }

  status(): AdsClientStatus {
    const types = [...this.#types].map(([type, { versions, acknowledged, nack }]) => {
      const status = { resources: versions.size, acknowledged, ...(nack !== undefined && { nack }) }
      return [type, status] as const
    })
    return {
      connected: this.#connected,
      attempts: this.#attempts,
      ...(this.#lastError !== undefined && { lastError: this.#lastError }),
      types: new Map(types),
    }
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#retry?.cancel()
    this.#connection?.close()
    this.#settleReady.reject(
      new DiscoveryError('AMBIENT_E_CLOSED', 'the xDS client was closed before it was ready'),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #connect(): void {
    this.#attempts++
    const connection = openAdsConnection(this.#target, this.#clock, {
      open: () => {
        this.#connection = connection
        for (const type of this.#types.keys()) this.#subscribe(connection, type)
      },
      response: response => this.#receive(connection, response),
      end: ending => this.#ended(ending),
    })
    this.#connection = connection
  }

  #subscribe(connection: AdsConnection, type: ResourceType): void {
    connection.send(
      create(DeltaDiscoveryRequestSchema, {
        node: writeNode(this.#options.node),
        typeUrl: type,
        initialResourceVersions: Object.fromEntries(this.#types.get(type)?.versions ?? []),
      }),
    )
  }

  #receive(connection: AdsConnection, response: DeltaDiscoveryResponse): void {
    if (this.#state === 'closed') return
    if (!this.#connected) this.#logger.info({ address: this.#options.address }, 'xds connected')
    this.#connected = true
    this.#metrics.message(response)
    const { typeUrl, nonce } = response
    const nack = isResourceType(typeUrl) ? this.#apply(typeUrl, response) : this.#unknown(typeUrl)
    connection.send(
      create(DeltaDiscoveryRequestSchema, {
        typeUrl,
        responseNonce: nonce,
        ...(nack !== undefined && { errorDetail: create(StatusSchema, { message: nack }) }),
      }),
    )
    if ([...this.#types.values()].every(({ settled }) => settled)) this.#settleReady.resolve()
  }

  /** @returns the text of the NACK, if any. */
  #apply(type: ResourceType, response: DeltaDiscoveryResponse): string | undefined {
    const state = this.#types.get(type)
    if (state === undefined) return undefined
    const { directory, policies, configuration } = this.#options
    const { rejected, failed } = applyResponse(type, response, { directory, policies, configuration })
    const bad = new Set(rejected.map(({ name }) => name))
    for (const { name, version } of response.resources)
      if (failed) state.versions.delete(name)
      else if (!bad.has(name)) state.versions.set(name, version)
    for (const name of response.removedResources) state.versions.delete(name)
    // What is taken away may be what protected somebody.
    if (type === AUTHORIZATION_TYPE && response.removedResources.length > 0)
      this.#logger.info({ names: response.removedResources }, 'policies removed')
    state.nack =
      rejected.length === 0 ? undefined : rejected.map(({ name, reason }) => `${name}: ${reason}`).join('; ')
    // One tenant's unreadable route must not keep everybody's waypoint from starting; addresses and L4 policies have to be whole.
    if (state.nack === undefined || (isConfigType(type) && !failed)) state.settled = true
    if (state.nack === undefined) state.acknowledged = true
    else
      this.#logger.error({ type, reason: state.nack.slice(0, limits.maxNackChars) }, 'xds resources refused')
    return state.nack
  }

  #unknown(type: string): undefined {
    this.#logger.error({ type }, 'xds response of a type that was not asked for')
  }

  #ended(ending: StreamEnding): void {
    this.#connected = false
    this.#connection = undefined
    if (this.#state === 'closed') return
    this.#lastError = `${grpcStatus[ending.code] ?? ending.code}: ${ending.details}`
    this.#metrics.terminated(terminationReason(ending))
    this.#backoffMs = nextBackoff(this.#backoffMs, ending)
    const delayMs = jittered(this.#backoffMs, this.#random)
    const fields = { address: this.#options.address, error: this.#lastError, retryInMs: delayMs }
    if (isChurn(ending)) this.#logger.debug(fields, 'xds stream ended')
    else this.#logger.warn(fields, 'xds stream failed')
    this.#retry = this.#clock.after(delayMs, () => this.#connect(), { keepAlive: true })
  }
}

interface Metrics {
  message(response: DeltaDiscoveryResponse): void
  terminated(reason: string): void
}

/** ztunnel's names. */
function createMetrics(meter: Meter): Metrics {
  const counter = (name: string, help: string, label: string) =>
    meter.counter({ name, help, labels: [label] })
  const messages = counter('istio_xds_message', 'Total number of messages received', 'url')
  const bytes = counter('istio_xds_message_bytes', 'Total number of bytes received', 'url')
  const ended = counter(
    'istio_xds_connection_terminations',
    'Completed connections to the xds server',
    'reason',
  )
  return {
    message({ typeUrl, resources }) {
      messages.add(1, [typeUrl])
      let size = 0
      for (const { resource } of resources) size += resource?.value.length ?? 0
      bytes.add(size, [typeUrl])
    },
    terminated: reason => ended.add(1, [reason]),
  }
}
