/** Servers that users create themselves (`node:tls`, `https`, `http2`), secured by an identity that rotates. */
import { type Server, TLSSocket } from 'node:tls'
import type { Credentials } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import type { X509Source } from '../sources/x509-source.ts'
import { contextOptions } from './contexts.ts'
import { checkExpectation, type Expectation } from './expectation.ts'
import { prove } from './peer-identity.ts'
import { checkOption } from '../option-checks.ts'

export interface SecureServerOptions {
  /** Which clients may connect. Default: the workloads of our own trust domain. */
  readonly expect?: Expectation
  /**
   * A client that was not believed. The server emits `tlsClientError` for it as well. As with any listener of a server,
   * what it throws is uncaught, and any stranger makes it run.
   */
  readonly onRefused?: (refused: { readonly error: IdentityError; readonly socket: TLSSocket }) => void
}

const secured = new WeakSet<Server>()

/**
 * Gives a server the identity of `source`, now and at each rotation, and lets it see nobody whom our own verdict has not
 * proven: of others neither a connection nor a byte reaches it. Certificate, key, `ca`, `requestCert` and
 * `rejectUnauthorized` of the server's own options count for nothing then. While the source has no valid certificate,
 * connections are refused. To be called before `listen`, once. The server follows the source until it is closed.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function secureServer<S extends Server>(
  server: S,
  source: X509Source,
  options: SecureServerOptions = {},
): S {
  checkOption('server', server, 'object')
  checkOption('source', source, 'source')
  const { expect = { kind: 'own-trust-domain' }, onRefused } = options
  checkExpectation(expect)
  if (secured.has(server)) throw optionError('server: it was secured before')
  if (server.listening) throw optionError('server: it listens already, who connected was not judged')
  secured.add(server)
  // Properties of every server of Node, though its types do not say so. Without a certificate nobody is proven, and
  // what the platform thinks of one decides nothing.
  Object.assign(server, { requestCert: true, rejectUnauthorized: false })
  let unwatch: (() => void) | undefined
  const follow = (): void => {
    unwatch ??= source.watch(credentials => present(server, credentials))
    present(server, source.current())
  }
  server.on('listening', follow)
  server.on('close', () => {
    unwatch?.()
    unwatch = undefined
  })
  present(server, source.current())
  guard(server, (socket: TLSSocket) => {
    const { remoteAddress = 'unknown', remotePort = 0 } = socket
    const error = prove(socket, source.current(), expect, `client ${remoteAddress}:${remotePort}`)
    if (error === undefined) return true
    socket.on('error', () => {}).destroy()
    server.emit('tlsClientError', error, socket)
    onRefused?.({ error, socket })
    return false
  })
  return server
}

/**
 * The event is what hands a connection to HTTP and to everybody else; whoever listens, and whenever they began to, hears
 * of it only after the verdict.
 */
function guard(server: Server, isProven: (socket: TLSSocket) => boolean): void {
  const { emit } = server
  const guarded = (event: string | symbol, ...values: unknown[]): boolean => {
    if (event === 'secureConnection') {
      const [socket] = values
      if (!(socket instanceof TLSSocket) || !isProven(socket)) return true
    }
    return Reflect.apply(emit, server, [event, ...values])
  }
  Object.defineProperty(server, 'emit', { value: guarded, configurable: true, writable: true })
}

function present(server: Server, credentials: Credentials | undefined): void {
  if (credentials === undefined) return
  server.setSecureContext(contextOptions(credentials, []))
  // The server would keep them, for contexts that are made of them with other options.
  Object.assign(server, { key: undefined, cert: undefined })
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
