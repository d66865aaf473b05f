/** One connection of the client: its own channel, root and token, as ztunnel makes them anew for each attempt. */
import { isIP } from 'node:net'
import { checkServerIdentity, createSecureContext } from 'node:tls'
import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Metadata,
  type StatusObject,
  status as grpcStatus,
} from '@grpc/grpc-js'
import { type Clock, messageOf, type Timer } from '@ambient/core'
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../gen/discovery_pb.js'
import { DiscoveryError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { StreamEnding } from './backoff.ts'
import { deltaMethod } from './protocol.ts'

/** What a connection is made with; functions are asked again for each. */
export interface AdsTarget {
  readonly url: URL
  readonly rootPem: () => string | Promise<string>
  readonly token: () => string | undefined | Promise<string | undefined>
  readonly clusterId: string
  readonly headers: Readonly<Record<string, string>>
  readonly alternativeHostname: string | undefined
}

export interface AdsConnectionEvents {
  /** The stream exists and takes requests; nothing is known of the server yet. */
  open(): void
  response(response: DeltaDiscoveryResponse): void
  /** Exactly once, also when opening failed. */
  end(ending: StreamEnding): void
}

export interface AdsConnection {
  send(request: DeltaDiscoveryRequest): void
  close(): void
}

/** Certificates are checked for the address; this is only what the handshake announces when that is an IP. */
const FALLBACK_SERVER_NAME = 'istiod.istio-system.svc'

/** @throws DiscoveryError `AMBIENT_E_XDS_ADDRESS` unless it is `https://HOST[:PORT]`. */
export function readAdsAddress(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url === undefined || url.protocol !== 'https:' || url.hostname === '' || url.pathname !== '/')
    throw new DiscoveryError(
      'AMBIENT_E_XDS_ADDRESS',
      `invalid address of the control plane ${JSON.stringify(address)}: expected https://HOST:PORT`,
      { layer: 'config' },
    )
  return url
}

export function openAdsConnection(
  target: AdsTarget,
  clock: Clock,
  events: AdsConnectionEvents,
): AdsConnection {
  const connection = new ClientConnection(clock, events)
  void connection.open(target)
  return connection
}

type Stream = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

class ClientConnection implements AdsConnection {
  readonly #clock: Clock
  readonly #events: AdsConnectionEvents
  #client: Client | undefined
  #stream: Stream | undefined
  #deadline: Timer | undefined
  #answered = false
  #ended = false

  constructor(clock: Clock, events: AdsConnectionEvents) {
    this.#clock = clock
    this.#events = events
  }

  async open(target: AdsTarget): Promise<void> {
    try {
      const [rootPem, metadata] = await Promise.all([target.rootPem(), buildMetadata(target)])
      if (this.#ended) return
      this.#client = createClient(target, rootPem)
      this.#start(this.#client, metadata)
    } catch (error) {
      this.#end(grpcStatus.UNAVAILABLE, messageOf(error))
    }
  }

  send(request: DeltaDiscoveryRequest): void {
    if (!this.#ended) this.#stream?.write(request)
  }

  close(): void {
    this.#end(grpcStatus.CANCELLED, 'closed by this side')
  }

  #start(client: Client, metadata: Metadata): void {
    const { path, requestSerialize, responseDeserialize } = deltaMethod
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata)
    this.#stream = stream
    this.#deadline = this.#clock.after(limits.connectTimeoutMs, () => {
      if (client.getChannel().getConnectivityState(false) !== connectivityState.READY)
        this.#end(grpcStatus.UNAVAILABLE, `no connection within ${limits.connectTimeoutMs} ms`)
    })
    stream.on('data', (response: DeltaDiscoveryResponse) => {
      this.#answered = true
      if (!this.#ended) this.#events.response(response)
    })
    // `status` follows with the same facts; without a listener the error would be thrown.
    stream.on('error', () => {})
    stream.on('status', ({ code, details }: StatusObject) => this.#end(code, details))
    this.#events.open()
  }

  #end(code: grpcStatus, details: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#deadline?.cancel()
    this.#stream?.cancel()
    this.#client?.close()
    this.#events.end({ code, details, answered: this.#answered })
  }
}

async function buildMetadata(target: AdsTarget): Promise<Metadata> {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(target.headers)) metadata.set(name, value)
  metadata.set('clusterid', target.clusterId)
  const token = await target.token()
  if (token === undefined) return metadata
  if (token.trim() === '') throw new DiscoveryError('AMBIENT_E_XDS_STREAM', 'the token is empty')
  metadata.set('authorization', `Bearer ${token.trim()}`)
  return metadata
}

function createClient(target: AdsTarget, rootPem: string): Client {
  const host = target.url.hostname.replace(/^\[|\]$/g, '')
  if (!rootPem.includes('-----BEGIN CERTIFICATE-----'))
    throw new DiscoveryError('AMBIENT_E_XDS_STREAM', 'the root certificate of the control plane is missing')
  const channelCredentials = credentials.createFromSecureContext(
    createSecureContext({ ca: rootPem, minVersion: 'TLSv1.3' }),
    {
      checkServerIdentity: (_, certificate) => {
        const problem = checkServerIdentity(host, certificate)
        if (problem === undefined || target.alternativeHostname === undefined) return problem
        return checkServerIdentity(target.alternativeHostname, certificate)
      },
    },
  )
  return new Client(
    `${target.url.hostname}:${target.url.port || '443'}`,
    channelCredentials,
    channelOptions(host, target),
  )
}

function channelOptions(host: string, target: AdsTarget): ChannelOptions {
  return {
    'grpc.max_receive_message_length': limits.maxResponseBytes,
    'grpc.max_send_message_length': limits.maxRequestBytes,
    'grpc.keepalive_time_ms': limits.keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    // Ours is the only retry, and a new attempt has to read root and token again.
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.service_config_disable_resolution': 1,
    // The control plane is dialled directly: a proxy of the environment is for other traffic.
    'grpc.enable_http_proxy': 0,
    // RFC 6066: an IP address is no server name.
    ...(isIP(host) !== 0 && {
      'grpc.ssl_target_name_override': target.alternativeHostname ?? FALLBACK_SERVER_NAME,
    }),
  }
}
