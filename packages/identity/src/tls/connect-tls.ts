/** TLS connections of our own making: nobody holds the socket before the peer is proven. */
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { type Clock, messageOf, systemClock } from '@ambient/core'
import { tlsDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { X509Source } from '../sources/x509-source.ts'
import { contextOf } from './contexts.ts'
import { checkExpectation, type Expectation } from './expectation.ts'
import { prove } from './peer-identity.ts'
import { checkOption, checkOptions } from '../option-checks.ts'

/** Where to, as `tls.connect` takes it: `host` and `port`, `path`, or a `socket` that is connected. */
export type TlsTarget = Pick<
  ConnectionOptions,
  'host' | 'port' | 'path' | 'socket' | 'servername' | 'ALPNProtocols' | 'lookup'
> & { readonly localAddress?: string | undefined; readonly family?: number; readonly allowHalfOpen?: boolean }

export interface ConnectTlsOptions extends TlsTarget {
  readonly expect: Expectation
  readonly signal?: AbortSignal
  /** For the TCP connection and the handshake. Default 10 s. */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

/**
 * Connects with the identity as it is now, and resolves when the server is proven: not a byte of the application was sent
 * or read before. The caller owns the socket. Names are not compared: who the server is, its SPIFFE ID says.
 * @throws IdentityError `AMBIENT_E_PEER_IDENTITY` (the cause has `problem` and `reason`), `AMBIENT_E_TLS`,
 *   `AMBIENT_E_IDENTITY_OPTION`; what `source.get` rejects with; the signal's reason.
 */
export async function connectTls(source: X509Source, options: ConnectTlsOptions): Promise<TLSSocket> {
  checkOption('source', source, 'source')
  checkOptions(options)
  const {
    expect,
    signal,
    timeoutMs = tlsDefaults.handshakeTimeoutMs,
    clock = systemClock,
    ...target
  } = options
  checkExpectation(expect)
  const credentials = await source.get(signal === undefined ? {} : { signal })
  signal?.throwIfAborted()
  const subject = nameOf(target)
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...target,
      secureContext: contextOf(credentials),
      // Ours decides, which the platform's check of names and chains would only come before.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
    const settle = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError).off('close', onClose)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.on('error', () => {}).destroy()
      reject(error)
    }
    const onError = (error: Error): void => fail(tlsFailure(subject, messageOf(error), error))
    const onClose = (): void => fail(tlsFailure(subject, 'the connection was closed'))
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(timeoutMs, () =>
      fail(tlsFailure(subject, `not finished within ${timeoutMs} ms`)),
    )
    socket.on('error', onError).on('close', onClose)
    signal?.addEventListener('abort', onAbort)
    socket.once('secureConnect', () => {
      const refused = prove(socket, credentials, expect, subject)
      if (refused !== undefined) return fail(refused)
      settle()
      resolve(socket)
    })
  })
}

function nameOf({ host = 'localhost', port, path }: TlsTarget): string {
  return path ?? (port === undefined ? host : `${host.includes(':') ? `[${host}]` : host}:${port}`)
}

function tlsFailure(subject: string, what: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_TLS', `TLS with ${subject} failed: ${what}`, { cause, layer: 'tls' })
}
