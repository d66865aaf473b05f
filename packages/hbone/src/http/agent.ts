/** Node's agents with tunnels for connections. A connection at rest ends when its tunnel's session takes no new tunnels. */
import { Agent, type AgentOptions, type ClientRequest, type ClientRequestArgs } from 'node:http'
import { Agent as HttpsAgent, type AgentOptions as HttpsAgentOptions, type RequestOptions } from 'node:https'
import type { Duplex } from 'node:stream'
import type { OpenTunnel } from '../dialler.ts'
import { HboneError } from '../errors.ts'
import { checkFunction, checkOptions } from '../option-checks.ts'
import { createLazyTunnelSocket, type TunnelSocket } from '../tunnel-socket.ts'

export interface HboneAgentOptions extends AgentOptions {
  /** Asked for each new connection, with host and port of the request. */
  readonly open: OpenTunnel
}

export interface HboneHttpsAgentOptions extends HttpsAgentOptions {
  /** As {@link HboneAgentOptions.open}. */
  readonly open: OpenTunnel
}

type OnConnection = (error: Error | null, stream: Duplex) => void

/**
 * An `http.Agent` whose connections are tunnels; for `http.request`, axios, got and whatever else takes an agent. Node's
 * options mean what they mean there (`timeout` counts from the first attempt on), but `keepAlive` is on unless it is set to
 * `false`. A tunnel that cannot be opened fails its request with the `HboneError`. `destroy()` closes the connections; the pool
 * beneath `open` stays its owner's.
 * @throws HboneError `AMBIENT_E_HBONE_OPTION`.
 */
export function createHboneAgent(options: HboneAgentOptions): Agent {
  checkOptions(options)
  checkFunction('open', options.open)
  return new TunnelAgent(options)
}

/** The same for `https:` URLs: TLS inside the tunnel, with Node's options for it (`ca`, `servername`, …). */
export function createHboneHttpsAgent(options: HboneHttpsAgentOptions): HttpsAgent {
  checkOptions(options)
  checkFunction('open', options.open)
  return new TunnelHttpsAgent(options)
}

class TunnelAgent extends Agent {
  readonly #open: OpenTunnel
  readonly #rest: Rest

  constructor({ open, ...options }: HboneAgentOptions) {
    super({ keepAlive: true, ...options })
    this.#open = open
    this.#rest = new Rest(this)
  }

  override createConnection(options: ClientRequestArgs): Duplex {
    const socket = openSocket(this.#open, options, signal => this.#rest.watch(socket, signal))
    if (options.timeout !== undefined && options.timeout > 0) socket.setTimeout(options.timeout)
    return socket
  }

  /** Node's own answers `false` when the connection is not to be kept; its type does not say so. */
  override keepSocketAlive(socket: Duplex): boolean {
    const kept: unknown = super.keepSocketAlive(socket)
    return kept !== false && this.#rest.begin(socket)
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    this.#rest.finish(socket)
    super.reuseSocket(socket, request)
  }
}

class TunnelHttpsAgent extends HttpsAgent {
  readonly #open: OpenTunnel
  readonly #rest: Rest

  constructor({ open, ...options }: HboneHttpsAgentOptions) {
    super({ keepAlive: true, ...options })
    this.#open = open
    this.#rest = new Rest(this)
  }

  override createConnection(options: RequestOptions, onConnection?: OnConnection): Duplex | null | undefined {
    const socket = openSocket(this.#open, options, signal => this.#rest.watch(secured ?? socket, signal))
    const secured = super.createConnection(Object.assign({}, options, { socket }), onConnection)
    // A tunnel that does not come is the request's failure, not one of TLS.
    socket.once('error', error => secured?.destroy(error))
    secured?.once('close', () => socket.destroy())
    return secured
  }

  override keepSocketAlive(socket: Duplex): boolean {
    const kept: unknown = super.keepSocketAlive(socket)
    return kept !== false && this.#rest.begin(socket)
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    this.#rest.finish(socket)
    super.reuseSocket(socket, request)
  }
}

/** At once, and connecting: aborting a request then takes its CONNECT back, and times run from here, as with TCP. */
function openSocket(
  open: OpenTunnel,
  options: ClientRequestArgs,
  onOpened: (draining: AbortSignal) => void,
): TunnelSocket {
  const { host, port, socketPath } = options
  const connect = async (signal: AbortSignal) => {
    if (typeof socketPath === 'string')
      throw new HboneError('AMBIENT_E_HBONE_OPTION', `no tunnel leads to the socket ${socketPath}`)
    const name = (host ?? 'localhost').replace(/^\[(.*)\]$/, '$1')
    const tunnel = await open({ host: name, port: Number(port ?? options.defaultPort) }, { signal })
    onOpened(tunnel.draining)
    return tunnel
  }
  return createLazyTunnelSocket(connect)
}

/**
 * Connections that wait for their next request. One is done with at the first sign that it will not take another: its
 * tunnel's session drains, or the server ends it or says something unasked, which would be taken for the next answer.
 */
class Rest {
  readonly #resting = new Set<Duplex>()
  readonly #draining = new WeakSet<Duplex>()

  constructor(agent: Agent) {
    // Before the agent's own listener, which would hand the connection to the next request that waits.
    agent.prependListener('free', (socket: Duplex) => {
      if (this.#draining.has(socket)) socket.destroy()
    })
  }

  watch(socket: Duplex, draining: AbortSignal): void {
    // It was given up while its tunnel was opened: no 'close' comes any more that would end the watch.
    if (socket.destroyed) return
    const onDraining = (): void => {
      this.#draining.add(socket)
      if (this.#resting.has(socket)) socket.destroy()
    }
    if (draining.aborted) return onDraining()
    draining.addEventListener('abort', onDraining, { once: true })
    socket.once('close', () => {
      draining.removeEventListener('abort', onDraining)
      this.#resting.delete(socket)
    })
  }

  begin(socket: Duplex): boolean {
    if (this.#draining.has(socket)) return false
    this.#resting.add(socket)
    socket.on('data', destroyIt)
    return true
  }

  finish(socket: Duplex): void {
    this.#resting.delete(socket)
    socket.off('data', destroyIt)
  }
}

function destroyIt(this: Duplex): void {
  this.destroy()
}
