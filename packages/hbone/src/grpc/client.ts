/** grpc-js channels whose connections are tunnels. */
import type { Socket } from 'node:net'
import { formatHostPort, messageOf, readHostPort } from '@ambient/core'
import type * as grpc from '@grpc/grpc-js'
import type { OpenTunnel, TunnelTarget } from '../dialler.ts'
import { HboneError } from '../errors.ts'
import { checkFunction, checkOptions } from '../option-checks.ts'
import type { Tunnel } from '../tunnel.ts'
import { createTunnelSocket, type TunnelSocket } from '../tunnel-socket.ts'
import { holdDoor, type Door } from './door.ts'
import { announceDraining } from './goaway.ts'
import { type Grpc, loadGrpc } from './load.ts'

/** The scheme of a channel's target. */
const SCHEME = 'hbone'

export interface HboneChannelOptions {
  readonly open: OpenTunnel
  /** A connection that could not be made; calls that wait for it fail as UNAVAILABLE with its code and message as details. */
  readonly onFailure?: (failure: { readonly target: TunnelTarget; readonly error: HboneError }) => void
}

/**
 * Credentials for channels whose target is `hbone:HOST:PORT`: names are not resolved, HOST and PORT are the tunnel's. One
 * connection is one tunnel and carries all calls of its channel. When the tunnel drains, calls under way finish on it and new
 * ones get a new tunnel; none fails. Call credentials can be composed: the channel is a secure one.
 *
 * grpc-js makes a TCP connection before it asks for this one: a loopback connection that is closed at once, for each tunnel.
 * `getPeer()` of a call names that; who the peer is was settled by `open`. Where `grpc_proxy` or its kin are set in the
 * environment, the channel needs the option `'grpc.enable_http_proxy': 0`.
 *
 * @throws HboneError `AMBIENT_E_HBONE_DEPENDENCY`: grpc-js is missing, or of another minor than 1.14; `AMBIENT_E_HBONE_OPTION`.
 */
export function createHboneChannelCredentials(options: HboneChannelOptions): grpc.ChannelCredentials {
  checkOptions(options)
  checkFunction('open', options.open)
  const loaded = loadGrpc()
  loaded.experimental.registerResolver(SCHEME, resolverOf(loaded))
  return credentialsOf(loaded, options)
}

function credentialsOf(loaded: Grpc, options: HboneChannelOptions): grpc.ChannelCredentials {
  class HboneCredentials extends loaded.ChannelCredentials {
    override _isSecure(): boolean {
      return true
    }

    override _equals(other: grpc.ChannelCredentials): boolean {
      return other === this
    }

    override _createSecureConnector(
      target: grpc.experimental.GrpcUri,
      channelOptions: grpc.ChannelOptions,
      callCredentials?: grpc.CallCredentials,
    ): grpc.experimental.SecureConnector {
      const calls = callCredentials ?? loaded.CallCredentials.createEmpty()
      return new TunnelConnector(options, target, channelOptions, calls)
    }
  }
  return new HboneCredentials()
}

class TunnelConnector implements grpc.experimental.SecureConnector {
  readonly #options: HboneChannelOptions
  readonly #path: string
  readonly #isProxied: boolean
  readonly #calls: grpc.CallCredentials
  readonly #gone = new AbortController()

  constructor(
    options: HboneChannelOptions,
    target: grpc.experimental.GrpcUri,
    channelOptions: grpc.ChannelOptions,
    calls: grpc.CallCredentials,
  ) {
    this.#options = options
    this.#path = target.path
    this.#isProxied = channelOptions['grpc.http_connect_target'] !== undefined
    this.#calls = calls
  }

  async waitForReady(): Promise<void> {
    if (this.#isProxied)
      throw forGrpc(
        new HboneError(
          'AMBIENT_E_HBONE_OPTION',
          "the environment names a proxy for gRPC (grpc_proxy, https_proxy or http_proxy), which would be asked first: give the channel the option 'grpc.enable_http_proxy': 0",
          { layer: 'config' },
        ),
      )
  }

  async connect(tcp: Socket): Promise<grpc.experimental.SecureConnectResult> {
    tcp.on('error', () => {})
    tcp.destroy()
    const target = readTarget(this.#path)
    try {
      const tunnel = await this.#options.open(target, { signal: this.#gone.signal })
      // A Duplex with the surface of a socket, of which Node's http2 needs no more than the Duplex.
      return { socket: socketOf(tunnel) as unknown as Socket, secure: false }
    } catch (cause) {
      const error = asHboneError(cause, target)
      this.#options.onFailure?.({ target, error })
      throw forGrpc(error)
    }
  }

  getCallCredentials(): grpc.CallCredentials {
    return this.#calls
  }

  destroy(): void {
    this.#gone.abort(new HboneError('AMBIENT_E_CLOSED', 'the channel was closed'))
  }
}

function socketOf(tunnel: Tunnel): TunnelSocket {
  const { peer, local } = tunnel
  const socket = createTunnelSocket(announceDraining(tunnel.channel, tunnel.draining), {
    remoteAddress: peer.address,
    remotePort: peer.port,
    localAddress: local.address,
    localPort: local.port,
    peer: peer.id,
  })
  // A reset after a GOAWAY is a clean end to Node's http2, and its calls are INTERNAL to grpc-js. They are UNAVAILABLE, which
  // both make of this code.
  socket.prependListener('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNRESET') error.code = 'ETIMEDOUT'
  })
  return socket
}

function resolverOf(loaded: Grpc): Parameters<Grpc['experimental']['registerResolver']>[1] {
  return class HboneResolver implements grpc.experimental.Resolver {
    readonly #target: grpc.experimental.GrpcUri
    readonly #listener: grpc.experimental.ResolverListener
    #door: Promise<Door> | undefined

    constructor(target: grpc.experimental.GrpcUri, listener: grpc.experimental.ResolverListener) {
      this.#target = target
      this.#listener = listener
    }

    static getDefaultAuthority(target: grpc.experimental.GrpcUri): string {
      return target.path
    }

    updateResolution(): void {
      if (this.#door !== undefined) return
      const door = openDoor(this.#target.path)
      this.#door = door
      door.then(
        ({ host, port }) => {
          if (this.#door !== door) return
          this.#listener({ ok: true, value: [{ addresses: [{ host, port }] }] }, {}, null, '')
        },
        (error: unknown) => {
          if (this.#door !== door) return
          this.#door = undefined
          const { UNAVAILABLE } = loaded.status
          const metadata = new loaded.Metadata()
          this.#listener(
            { ok: false, error: { code: UNAVAILABLE, details: String(error), metadata } },
            {},
            null,
            '',
          )
        },
      )
    }

    destroy(): void {
      this.#door?.then(
        door => door.release(),
        () => {},
      )
      this.#door = undefined
    }
  }
}

async function openDoor(path: string): Promise<Door> {
  readTarget(path)
  try {
    return await holdDoor()
  } catch (error) {
    throw error instanceof HboneError ? forGrpc(error) : error
  }
}

/** @throws Error that begins with the code `AMBIENT_E_HBONE_OPTION`. */
function readTarget(path: string): TunnelTarget {
  const read = readHostPort(path)
  if (read.ok) return { host: read.value.host, port: read.value.port }
  const message = `the target ${SCHEME}:${path} is not ${SCHEME}:HOST:PORT: ${read.reason}`
  throw forGrpc(new HboneError('AMBIENT_E_HBONE_OPTION', message, { layer: 'config' }))
}

function asHboneError(cause: unknown, { host, port }: TunnelTarget): HboneError {
  if (cause instanceof HboneError) return cause
  const message = `no tunnel to ${formatHostPort(host, port)}: ${messageOf(cause)}`
  return new HboneError('AMBIENT_E_HBONE_UNREACHABLE', message, { cause })
}

/** grpc-js shows an error as text only: the code has to be in it. */
function forGrpc(error: HboneError): Error {
  return Object.assign(new Error(error.message, { cause: error }), { name: error.code })
}
