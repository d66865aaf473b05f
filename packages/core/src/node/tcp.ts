/** TCP with what Node's own calls lack: a deadline, a signal, errors that name the address, a close that waits. */
import { createServer, Socket } from 'node:net'
import { formatHostPort, canonicalIp } from '../index.ts'
import { CoreError } from '../errors.ts'
import { type Bind, bindPlainly } from './bind.ts'
import { proveStaticReads } from './static-reads.ts'

/** Ten seconds, as ztunnel. */
const CONNECT_TIMEOUT_MS = 10_000
/** Keep-alive probes begin after this idle time (ztunnel's KEEPALIVE_TIME). */
const KEEPALIVE_IDLE_MS = 180_000

export interface DialOptions {
  /** An IP literal: names are resolved before policy is asked, never here. */
  readonly host: string
  readonly port: number
  /** Source address to bind; any address of 127.0.0.0/8 works on Linux. */
  readonly localAddress?: string
  /** Default 10,000. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** How a proxy opens TCP connections; replaceable, to pass a relay or a simulated network. */
export type Dial = (options: DialOptions) => Promise<Socket>

/**
 * Connects. The caller owns the socket: half-open, no delay, keep-alive on, paused, and without an `error` listener.
 * @throws CoreError `AMBIENT_E_CONNECT_TIMEOUT`, `AMBIENT_E_CONNECT_FAILED` (cause: Node's error), or the signal's reason.
 */
export function dial(options: DialOptions): Promise<Socket> {
  const { host, port, localAddress, signal, timeoutMs = CONNECT_TIMEOUT_MS } = options
  const target = formatHostPort(host, port)
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason)
    const socket = new Socket({ allowHalfOpen: true })
    const settle = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', onError)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const onConnect = (): void => {
      settle()
      socket.setNoDelay(true)
      socket.setKeepAlive(true, KEEPALIVE_IDLE_MS)
      resolve(socket)
    }
    const onError = (cause: Error): void => fail(connectFailed(target, cause))
    const onAbort = (): void => fail(signal?.reason)
    const timer = setTimeout(() => fail(connectTimedOut(target, timeoutMs)), timeoutMs)
    socket.once('connect', onConnect)
    socket.once('error', onError)
    signal?.addEventListener('abort', onAbort)
    const bind = localAddress === undefined ? {} : { localAddress }
    socket.connect({ host, port, autoSelectFamily: false, ...bind })
  })
}

function connectFailed(target: string, cause: Error): CoreError {
  const message = `connecting to ${target} failed: ${cause.message}`
  return new CoreError('AMBIENT_E_CONNECT_FAILED', message, { cause, layer: 'tcp' })
}

function connectTimedOut(target: string, timeoutMs: number): CoreError {
  const message = `connecting to ${target} timed out after ${timeoutMs} ms`
  return new CoreError('AMBIENT_E_CONNECT_TIMEOUT', message, { layer: 'tcp' })
}

export interface ListenOptions {
  readonly host: string
  /** 0 for any free port. */
  readonly port: number
  /** Given each accepted socket, paused and half-open; owns it from then on and must attach an `error` listener at once. */
  readonly onConnection: (socket: Socket) => void
  /** Default: a socket of our own. */
  readonly bind?: Bind
}

export interface Listener {
  /** Canonical. */
  readonly address: string
  readonly port: number
  /** Stops accepting and resolves when the port is free. Accepted sockets live on. Idempotent. */
  close(): Promise<void>
}

/** @throws CoreError `AMBIENT_E_LISTEN` that names address, port and cause. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { host, port, bind = bindPlainly } = options
  // It is mostly known before the first connection.
  void proveStaticReads()
  const server = createServer(
    { allowHalfOpen: true, pauseOnConnect: true, noDelay: true },
    options.onConnection,
  )
  // Stays attached: a failing accept later on must not end the process.
  server.on('error', () => {})
  const binding = await bind(server, { host, port }).catch((cause: NodeJS.ErrnoException) => {
    throw new CoreError('AMBIENT_E_LISTEN', listenMessage(options, cause), { cause, layer: 'tcp' })
  })
  const bound = server.address()
  if (bound === null || typeof bound === 'string')
    throw new CoreError('AMBIENT_E_LISTEN', 'not a TCP listener')
  let closing: Promise<void> | undefined
  return {
    address: canonicalIp(bound.address) ?? bound.address,
    port: bound.port,
    close: () => {
      // Node waits for accepted sockets as well; the port is free as soon as the handle is closed.
      closing ??= new Promise(done => {
        server.close()
        binding.release()
        setImmediate(done)
      })
      return closing
    },
  }
}

function listenMessage(options: ListenOptions, cause: NodeJS.ErrnoException): string {
  const at = formatHostPort(options.host, options.port)
  if (cause.code === 'EADDRINUSE') return `cannot listen on ${at}: port ${options.port} is in use`
  if (cause.code === 'EADDRNOTAVAIL')
    return `cannot listen on ${at}: this machine does not have the address ${options.host}`
  if (cause.code === 'EACCES') return `cannot listen on ${at}: permission denied`
  return `cannot listen on ${at}: ${cause.message}`
}
