/** The small HTTP/1.1 servers of a proxy: no bodies read, bounded headers, closed with everything on them. */
import { Server as TcpServer } from 'node:net'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { systemClock } from '../clock.ts'
import { proxyDefaults } from '../defaults.ts'
import { CoreError } from '../errors.ts'
import { formatHostPort } from '../host-port.ts'
import { type Bind, type Binding, bindPlainly } from '../node/bind.ts'

export interface HttpAnswer {
  readonly status: number
  readonly body: string
  /** Default `text/plain; charset=utf-8`. */
  readonly contentType?: string
}

export interface HttpRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  header(name: string): string | undefined
}

export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>

export interface HttpListener {
  readonly address: string
  readonly port: number
  /** Finishes exchanges that have begun. Idempotent. */
  close(): Promise<void>
}

/** @throws CoreError `AMBIENT_E_LISTEN` */
export async function serveHttp(options: {
  readonly host: string
  readonly port: number
  readonly handler: HttpHandler
  /** Default: a socket of our own. */
  readonly bind?: Bind
}): Promise<HttpListener> {
  const server = createServer(
    {
      maxHeaderSize: proxyDefaults.adminMaxHeaderBytes,
      headersTimeout: proxyDefaults.adminHeadersTimeoutMs,
      connectionsCheckingInterval: proxyDefaults.adminHeadersTimeoutMs,
    },
    (request, response) => void answer(options.handler, request, response),
  )
  const binding = await bindServer(server, options)
  const bound = server.address()
  if (bound === null || typeof bound === 'string')
    throw new CoreError('AMBIENT_E_LISTEN', 'not a TCP listener')
  let closing: Promise<void> | undefined
  return {
    address: bound.address,
    port: bound.port,
    close() {
      closing ??= options.bind === undefined ? closeNow(server) : handOn(server)
      binding.release()
      return closing
    },
  }
}

function closeNow(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve())
    server.closeIdleConnections()
    setImmediate(() => server.closeAllConnections())
  })
}

/** A successor accepts from now on, so nobody who was accepted here may notice: first requests are still answered. */
function handOn(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.prependListener('request', (_request, response) => response.setHeader('connection', 'close'))
    const timer = systemClock.after(proxyDefaults.adminHandOverMs, () => server.closeAllConnections())
    // The close of HTTP servers drops connections that have not asked anything yet.
    TcpServer.prototype.close.call(server, () => {
      timer.cancel()
      resolve()
    })
  })
}

export const text = (status: number, body: string): HttpAnswer => ({ status, body })

/** A client that lets a browser or another host's name reach an admin port is refused (DNS rebinding, forged forms). */
export function isLocalRequest(request: HttpRequest): boolean {
  if (request.header('origin') !== undefined) return false
  const host = (request.header('host') ?? '').replace(/:[0-9]+$/, '')
  return host === 'localhost' || host === '[::1]' || /^127(\.[0-9]{1,3}){3}$/.test(host)
}

async function answer(
  handler: HttpHandler,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let result: HttpAnswer
  try {
    const url = new URL(request.url ?? '/', 'http://localhost')
    result = await handler({
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      header: name => {
        const value = request.headers[name]
        return Array.isArray(value) ? value.join(', ') : value
      },
    })
  } catch {
    result = text(500, 'internal error\n')
  }
  request.resume()
  response.writeHead(result.status, {
    'content-type': result.contentType ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(result.body),
    'x-content-type-options': 'nosniff',
  })
  response.end(request.method === 'HEAD' ? undefined : result.body)
}

function bindServer(
  server: Server,
  { host, port, bind = bindPlainly }: { host: string; port: number; bind?: Bind },
): Promise<Binding> {
  return bind(server, { host, port }).catch((cause: NodeJS.ErrnoException) => {
    const reason = cause.code === 'EADDRINUSE' ? `port ${port} is in use` : cause.message
    const message = `cannot listen on ${formatHostPort(host, port)}: ${reason}`
    throw new CoreError('AMBIENT_E_LISTEN', message, { cause, layer: 'tcp' })
  })
}
