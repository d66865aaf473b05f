/** Options for whatever takes those of `node:tls`: of one generation, with the platform's check and ours. */
import type { PeerCertificate, SecureContext, TlsOptions } from 'node:tls'
import type { Credentials } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import type { X509Source } from '../sources/x509-source.ts'
import { redacted } from '../svid/redact.ts'
import { anchorsOf, checkingContextOf, contextOptions } from './contexts.ts'
import { checkExpectation, type Expectation, judge, refusal } from './expectation.ts'
import { chainOfPeer } from './peer-identity.ts'
import { checkOption } from '../option-checks.ts'

export type TlsOptionsRequest =
  | { readonly expect: Expectation; readonly role?: 'client' }
  /** Whom a server expects only `secureServer` can enforce. */
  | { readonly role: 'server'; readonly expect?: never }

/** For `tls.connect`, `https.request`, `http2.connect`, the `connect` of undici, and the like. */
export interface TlsClientOptions {
  readonly secureContext: SecureContext
  readonly rejectUnauthorized: true
  readonly checkServerIdentity: ServerIdentityCheck
  /** None is resumed, of agents' caches neither: Node asks nobody who the server of a resumed one is. */
  readonly session: undefined
  /** The same for undici's cache. */
  readonly maxCachedSessions: 0
  /** Part of the name under which agents keep connections: those of another identity or expectation are not shared. */
  readonly sessionIdContext: string
}

/** What Node asks before it lets a client connection live: `undefined` is a yes. */
export type ServerIdentityCheck = (hostname: string, certificate: PeerCertificate) => Error | undefined

/**
 * Options with the identity as it is now, frozen at this generation: take them anew for each connection, or have what
 * rotates by itself (`connectTls`, `createHttpsAgent`, `createUndiciConnector`, `secureServer`). A client's are checked
 * by the platform and by our own verdict before a byte is sent. A server's are checked by the platform alone, until the
 * server is given to `secureServer`, which they are safe without and not complete.
 * @throws IdentityError `AMBIENT_E_IDENTITY_UNAVAILABLE` while the source has no valid certificate, `AMBIENT_E_IDENTITY_OPTION`
 */
export function createTlsOptions(
  source: X509Source,
  request: Extract<TlsOptionsRequest, { role: 'server' }>,
): TlsOptions
export function createTlsOptions(
  source: X509Source,
  request: Exclude<TlsOptionsRequest, { role: 'server' }>,
): TlsClientOptions
export function createTlsOptions(
  source: X509Source,
  request: TlsOptionsRequest,
): TlsClientOptions | TlsOptions {
  checkOption('source', source, 'source')
  checkOption('request', request, 'object')
  if (request.role === 'server') {
    if (request.expect !== undefined)
      throw optionError("expect: a server's options do not enforce it, give it to secureServer")
    return serverOptions(currentOf(source))
  }
  checkExpectation(request.expect)
  return clientOptions(source, currentOf(source), request.expect)
}

/**
 * SPIFFE's rule in the place of the one for host names, for clients that take a `checkServerIdentity`: the whole chain is
 * judged by our own verdict with the bundle as it is then. Node asks it only after its own check has passed, so that
 * `ca` has to hold the bundle and `rejectUnauthorized` must not be `false`; and of a session that is resumed it does not ask,
 * which `session: undefined` prevents where an agent keeps some. `createTlsOptions` has all of that.
 */
export function createServerIdentityCheck(
  source: X509Source,
  rules: { readonly expect: Expectation },
): ServerIdentityCheck {
  checkOption('source', source, 'source')
  checkOption('rules', rules, 'object')
  const { expect } = rules
  checkExpectation(expect)
  return (hostname, certificate) => {
    const credentials = source.current()
    if (credentials === undefined) return unavailable()
    const verdict = judge(chainOfPeer(certificate), credentials, expect)
    return verdict.ok ? undefined : refusal(hostname, verdict)
  }
}

function clientOptions(source: X509Source, credentials: Credentials, expect: Expectation): TlsClientOptions {
  return Object.freeze({
    secureContext: checkingContextOf(credentials),
    rejectUnauthorized: true,
    checkServerIdentity: createServerIdentityCheck(source, { expect }),
    session: undefined,
    maxCachedSessions: 0,
    sessionIdContext: `${numberOf(credentials)} ${nameOf(expect)}`,
  })
}

const numbers = new WeakMap<object, number>()
let numbered = 0

/** The same for the same object, and for no other. */
function numberOf(object: object): number {
  const number = numbers.get(object) ?? ++numbered
  numbers.set(object, number)
  return number
}

/** Functions are the same when they are one; rules when they say the same. */
function nameOf(expect: Expectation): string {
  if (typeof expect === 'function') return `function ${numberOf(expect)}`
  return JSON.stringify(expect.kind === 'one-of' ? expect.ids.map(({ uri }) => uri) : expect)
}

function serverOptions(credentials: Credentials): TlsOptions {
  const options = contextOptions(credentials, anchorsOf(credentials))
  const { key: _, ...shown } = options
  return redacted(
    { ...options, requestCert: true, rejectUnauthorized: true },
    { ...shown, key: '[redacted]', requestCert: true, rejectUnauthorized: true },
  )
}

function currentOf(source: X509Source): Credentials {
  const credentials = source.current()
  if (credentials === undefined) throw unavailable()
  return credentials
}

function unavailable(): IdentityError {
  return new IdentityError(
    'AMBIENT_E_IDENTITY_UNAVAILABLE',
    'the source has no valid certificate now: wait for its first one with get()',
    { layer: 'identity' },
  )
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
