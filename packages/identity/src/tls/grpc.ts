/** Credentials for grpc-js that rotate: each connection has the identity of its moment. */
import type { ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import {
  CallCredentials,
  ChannelCredentials,
  type ChannelOptions,
  type experimental,
  Metadata,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  status,
} from '@grpc/grpc-js'
import type { Credentials, SpiffeId } from '@ambient/core'
import type { X509Source } from '../sources/x509-source.ts'
import { redacted } from '../svid/redact.ts'
import { connectTls } from './connect-tls.ts'
import { anchorsOf, contextOptions } from './contexts.ts'
import { checkExpectation, type Expectation } from './expectation.ts'
import { chainOfPeer, peerIdentity, prove } from './peer-identity.ts'
import { checkOption } from '../option-checks.ts'

/** As grpc-js names it. */
type SecureContextOptions = ReturnType<ServerCredentials['_getSecureContextOptions']>
type ContextWatcher = Parameters<ServerCredentials['_addWatcher']>[0]

/**
 * For channels to servers that `expect` fits. A connection is made with the identity of its moment and lives on when that
 * rotates; the server is proven before a byte of a call is sent. Call credentials can be composed.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createGrpcChannelCredentials(
  source: X509Source,
  rules: { readonly expect: Expectation },
): ChannelCredentials {
  checkOption('source', source, 'source')
  checkOption('rules', rules, 'object')
  checkExpectation(rules.expect)
  return new IdentityChannelCredentials(source, rules.expect)
}

/**
 * For `server.bindAsync`. grpc-js makes its server itself and shows it to nobody: the platform checks clients against our
 * bundles at the handshake, and our own verdict stands before the first call of a connection, which it ends when it is
 * a no. `peerOfCall(call)` says who calls.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createGrpcServerCredentials(
  source: X509Source,
  rules: { readonly expect?: Expectation } = {},
): ServerCredentials {
  checkOption('source', source, 'source')
  const { expect = { kind: 'own-trust-domain' } } = rules
  checkExpectation(expect)
  return new IdentityServerCredentials(source, expect)
}

/** Who calls, in a handler of a server with {@link createGrpcServerCredentials}. */
export function peerOfCall(call: object): SpiffeId | undefined {
  return peerIdentity(sessionOf(call))
}

const chains = new WeakMap<Session, readonly Uint8Array[]>()

/**
 * DER, leaf first, of what the caller showed, when the platform led it to a root; nothing else of it is proven. Node 24 was
 * seen to give the leaf alone. Read once for each connection.
 */
export function chainOfCall(call: object): readonly Uint8Array[] {
  const session = sessionOf(call)
  if (session === undefined) return []
  const { socket } = session
  // HTTP/2 shows a proxy of it, which `instanceof` sees through.
  const isProven = socket instanceof TLSSocket && socket.authorized
  const chain = chains.get(session) ?? (isProven ? chainOfPeer(socket.getPeerCertificate(true)) : [])
  chains.set(session, chain)
  return chain
}

class IdentityChannelCredentials extends ChannelCredentials {
  readonly #source: X509Source
  readonly #expect: Expectation

  constructor(source: X509Source, expect: Expectation) {
    super()
    this.#source = source
    this.#expect = expect
  }

  override _isSecure(): boolean {
    return true
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this
  }

  override _createSecureConnector(
    _target: experimental.GrpcUri,
    _options: ChannelOptions,
    callCredentials?: CallCredentials,
  ): experimental.SecureConnector {
    const gone = new AbortController()
    const calls = callCredentials ?? CallCredentials.createEmpty()
    return {
      connect: async (socket: Socket) => ({
        socket: await connectTls(this.#source, {
          socket,
          expect: this.#expect,
          ALPNProtocols: ['h2'],
          signal: gone.signal,
        }),
        secure: true,
      }),
      waitForReady: async () => void (await this.#source.get({ signal: gone.signal })),
      getCallCredentials: () => calls,
      destroy: () => gone.abort(new Error('the channel was closed')),
    }
  }
}

class IdentityServerCredentials extends ServerCredentials {
  readonly #source: X509Source
  readonly #expect: Expectation
  readonly #watchers = new Set<ContextWatcher>()
  #unwatch: (() => void) | undefined

  constructor(source: X509Source, expect: Expectation) {
    super({})
    this.#source = source
    this.#expect = expect
    redacted(this, { expect: typeof expect === 'function' ? 'a function' : expect, privateKey: '[redacted]' })
  }

  override _isSecure(): boolean {
    return true
  }

  override _equals(other: ServerCredentials): boolean {
    return other === this
  }

  override _getConstructorOptions(): ReturnType<ServerCredentials['_getConstructorOptions']> {
    return { requestCert: true, rejectUnauthorized: true }
  }

  /** `null`: there is no certificate, grpc-js drops connections. Not kept here. */
  override _getSecureContextOptions(): SecureContextOptions {
    return serverContext(this.#source.current())
  }

  override _addWatcher(watcher: ContextWatcher): void {
    this.#watchers.add(watcher)
    this.#unwatch ??= this.#source.watch(credentials => {
      for (const tell of [...this.#watchers]) tell(serverContext(credentials))
    })
  }

  override _removeWatcher(watcher: ContextWatcher): void {
    this.#watchers.delete(watcher)
    if (this.#watchers.size > 0) return
    this.#unwatch?.()
    this.#unwatch = undefined
  }

  override _getInterceptors(): ServerInterceptor[] {
    return [provingInterceptor(this.#source, this.#expect)]
  }
}

function serverContext(credentials: Credentials | undefined): SecureContextOptions {
  return credentials === undefined ? null : contextOptions(credentials, anchorsOf(credentials))
}

/** The first call of a connection has it judged; the others find the answer. */
function provingInterceptor(source: X509Source, expect: Expectation): ServerInterceptor {
  const refused = new WeakMap<object, string>()
  return (_method, call) => {
    const session = sessionOf(call)
    const reason = reasonAgainst(session)
    return new ServerInterceptingCall(call, {
      start(next) {
        if (reason === undefined) return next()
        call.sendStatus({ code: status.UNAUTHENTICATED, details: reason, metadata: new Metadata() })
        session?.close()
      },
    })
  }

  function reasonAgainst(session: Session | undefined): string | undefined {
    if (session === undefined) return 'the connection cannot be seen'
    if (peerIdentity(session) !== undefined) return undefined
    const known = refused.get(session)
    if (known !== undefined) return known
    const { socket } = session
    // HTTP/2 shows a proxy of it, which `instanceof` sees through.
    const reason =
      socket instanceof TLSSocket
        ? prove(socket, source.current(), expect, 'client')?.message
        : 'the connection is not TLS'
    if (reason !== undefined) refused.set(session, reason)
    return reason
  }
}

type Session = Pick<ServerHttp2Session, 'socket' | 'close'>

/** Of handlers and interceptors: what grpc-js puts around a call, from the outside in. Not promised by it. */
const AROUND_CALLS = ['call', 'nextCall'] as const
const MAX_AROUND = 16

/** Beneath a call; a call for which there is none is refused. */
function sessionOf(call: object): Session | undefined {
  let at: unknown = call
  for (let depth = 0; depth < MAX_AROUND && at !== undefined; depth += 1) {
    const session = inside(inside(at, 'stream'), 'session')
    if (isSession(session)) return session
    const around: unknown = at
    at = AROUND_CALLS.map(key => inside(around, key)).find(within => within !== undefined)
  }
  return undefined
}

function isSession(value: unknown): value is Session {
  return typeof inside(value, 'close') === 'function' && inside(value, 'socket') !== undefined
}

function inside(holder: unknown, key: string): unknown {
  return typeof holder === 'object' && holder !== null ? Reflect.get(holder, key) : undefined
}
