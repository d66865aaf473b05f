/** An undici `Agent` whose connections are tunnels. */
import { isIP, type Socket } from 'node:net'
import { formatHostPort, systemClock } from '@ambient/core'
import type { OpenTunnel } from '../dialler.ts'
import { HboneError } from '../errors.ts'
import { checkFunction } from '../option-checks.ts'
import type { Tunnel } from '../tunnel.ts'
import type { TunnelSocket } from '../tunnel-socket.ts'
import { loadUndici, readModule, strangeHandler, type Undici } from './load.ts'
import { createRest, type Rest } from './rest.ts'
import type { Agent, buildConnector } from 'undici'

export interface HboneDispatcherOptions extends Omit<Agent.Options, 'connect' | 'factory'> {
  /** Asked for each new connection, with host and port of the origin. */
  readonly open: OpenTunnel
  /**
   * Of TLS inside the tunnel, for `https:` origins: `ca`, `servername`, … `timeout` (milliseconds; default: HBONE's own
   * limits) holds for the tunnel too. As undici's own `connect` option.
   */
  readonly connect?: buildConnector.BuildOptions
  /** The module `undici` to use: for bundlers, and where several are installed. Default: the one this package resolves. */
  readonly undici?: object
}

/**
 * An undici `Agent` that reaches every origin through tunnels: for `undici.request`, `fetch(url, { dispatcher })`,
 * `setGlobalDispatcher` and clients that take a dispatcher. `http:` origins are HTTP/1.1 in the tunnel; `https:` ones have TLS
 * inside it, and HTTP/2 when `allowH2` is set. Idle connections end when their tunnel's session takes no new tunnels. A tunnel
 * that cannot be opened fails its request with the `HboneError` (as `cause` of what `fetch` throws).
 *
 * `close()` and `destroy()` are undici's; the pool beneath `open` stays its owner's.
 * @throws HboneError `AMBIENT_E_HBONE_DEPENDENCY` when undici is missing or its version does not fit; so does a request of
 *   another undici's `fetch` that this one cannot serve.
 */
export function createHboneDispatcher(options: HboneDispatcherOptions): Agent {
  const { undici: given, ...rest } = options
  return createAgent(given === undefined ? loadUndici() : readModule(given), rest)
}

export function createAgent(undici: Undici, options: Omit<HboneDispatcherOptions, 'undici'>): Agent {
  const { open, connect = {}, ...agentOptions } = options
  checkFunction('open', open)
  const stop = new AbortController()
  const rest = createRest()
  const timeoutMs = connect.timeout ?? agentOptions.connectTimeout ?? 0
  const secure = undici.buildConnector({ allowH2: agentOptions.allowH2 ?? false, ...connect })
  const connector = createConnector({
    open,
    secure,
    timeoutMs,
    rest,
    signal: stop.signal,
  })
  const agent = agentOf(undici, { ...agentOptions, connect: connector })
  stopWith(agent, () => {
    stop.abort(new HboneError('AMBIENT_E_CLOSED', 'the dispatcher was destroyed'))
    rest.close()
  })
  return agent
}

interface Reach {
  readonly open: OpenTunnel
  readonly secure: buildConnector.connector
  /** 0: none of our own. */
  readonly timeoutMs: number
  readonly rest: Rest
  readonly signal: AbortSignal
}

function createConnector(reach: Reach): buildConnector.connector {
  return (options, callback) => {
    openTunnel(reach, options).then(
      tunnel => {
        const socket = tunnel.socket({ allowHalfOpen: false })
        if (options.protocol === 'https:') return secureSocket(reach, options, tunnel, socket, callback)
        reach.rest.watch(socket, tunnel.draining)
        callback(null, netSocket(socket))
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    )
  }
}

async function openTunnel(reach: Reach, options: buildConnector.Options): Promise<Tunnel> {
  const { timeoutMs, signal } = reach
  const host = options.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(options.port) || (options.protocol === 'https:' ? 443 : 80)
  const opening = new AbortController()
  const onStop = (): void => opening.abort(signal.reason)
  const onLate = (): void => {
    const message = `no tunnel to ${formatHostPort(host, port)} within ${timeoutMs} ms`
    opening.abort(new HboneError('AMBIENT_E_HBONE_TIMEOUT', message))
  }
  signal.addEventListener('abort', onStop)
  const timer = timeoutMs > 0 ? systemClock.after(timeoutMs, onLate) : undefined
  if (signal.aborted) onStop()
  try {
    return await reach.open({ host, port }, { signal: opening.signal })
  } finally {
    timer?.cancel()
    signal.removeEventListener('abort', onStop)
  }
}

/** undici's own connector, given the tunnel: it checks the certificate, resumes sessions and keeps time. */
function secureSocket(
  reach: Reach,
  options: buildConnector.Options,
  tunnel: Tunnel,
  socket: TunnelSocket,
  callback: buildConnector.Callback,
): void {
  const servername = options.servername ?? (isIP(options.hostname) === 0 ? options.hostname : undefined)
  const named = servername === undefined ? options : { ...options, servername }
  socket.on('error', () => {})
  reach.secure({ ...named, httpSocket: netSocket(socket) }, (...[error, secured]) => {
    if (error !== null) return callback(error, null)
    reach.rest.watch(secured, tunnel.draining)
    callback(null, secured)
  })
}

/** undici's types ask for a `net.Socket` where it takes any Duplex. */
function netSocket(socket: TunnelSocket): Socket {
  return socket
}

function agentOf(undici: Undici, options: Agent.Options): Agent {
  class HboneDispatcher extends undici.Agent {
    override dispatch(...given: Parameters<Agent['dispatch']>): boolean {
      try {
        return super.dispatch(...given)
      } catch (error) {
        if (error instanceof Error && /^invalid on[A-Z]\w+ method$/.test(error.message))
          throw strangeHandler(error)
        throw error
      }
    }
  }
  return new HboneDispatcher(options)
}

/** `close()` ends in `destroy()`, in every major. */
function stopWith(agent: Agent, stop: () => void): void {
  const destroy: unknown = agent.destroy
  if (typeof destroy !== 'function') return
  Object.defineProperty(agent, 'destroy', {
    value(...given: unknown[]): unknown {
      stop()
      return Reflect.apply(destroy, agent, given)
    },
  })
}
