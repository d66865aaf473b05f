/** One connection of a client under test: what its TLS said, and HTTP/2 with it by hand. */
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls'
import { type Clock, messageOf } from '@ambient/core'
import { FRAME, SETTING } from '../http2/codes.ts'
import type { HeaderList } from '../http2/hpack.ts'
import { fail } from './verdict.ts'
import { frame, goaway, headersFrame, settingsPayload, Wire, type WireStream } from './wire.ts'

const MAX_STREAMS = 100

/** What a client said while its connection was made. */
export interface ClientTls {
  readonly protocol: string
  /** As offered by ALPN; `undefined` without. */
  readonly offered: readonly string[] | undefined
  readonly serverName: string | undefined
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[]
  readonly isResumed: boolean
}

export interface VisitOptions {
  readonly context: SecureContext
  readonly clock: Clock
  readonly timeoutMs: number
  /** Ours, beside MAX_CONCURRENT_STREAMS. */
  readonly settings: readonly (readonly [number, number])[]
}

export class Visit {
  readonly options: VisitOptions
  readonly #secure: TLSSocket
  readonly #tls: Promise<ClientTls>
  #offered: readonly string[] | undefined
  #wire: Wire | undefined
  #tunnel: Promise<WireStream> | undefined

  constructor(socket: Socket, options: VisitOptions) {
    this.options = options
    const settings: TLSSocketOptions & { readonly allowHalfOpen: boolean } = {
      isServer: true,
      secureContext: options.context,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNCallback: ({ protocols }) => {
        this.#offered = protocols
        return protocols.includes('h2') ? 'h2' : undefined
      },
      allowHalfOpen: true,
    }
    this.#secure = new TLSSocket(socket, settings)
    this.#secure.setNoDelay(true)
    this.#tls = this.#handshake()
    this.#tls.catch(() => {})
  }

  /** What the handshake showed; the case fails when there was none. */
  async tls(): Promise<ClientTls> {
    try {
      return await this.#tls
    } catch (error) {
      return fail(`TLS failed: ${messageOf(error)}`)
    }
  }

  /** HTTP/2, our SETTINGS said. */
  async wire(): Promise<Wire> {
    await this.tls()
    if (this.#wire !== undefined) return this.#wire
    const { clock, timeoutMs, settings } = this.options
    this.#wire = new Wire(this.#secure, { role: 'server', clock, timeoutMs })
    const own = settingsPayload([[SETTING.maxConcurrentStreams, MAX_STREAMS], ...settings])
    this.#wire.send(frame(FRAME.settings, 0, 0, own))
    return this.#wire
  }

  /** The client's first request, and everything that it said before was acknowledged. */
  async request(): Promise<WireStream & { readonly head: HeaderList }> {
    this.#tunnel ??= this.#firstRequest()
    const stream = await this.#tunnel
    return hasHead(stream) ? stream : fail('a stream without a head')
  }

  /** Answers its first request with 200. */
  async accept(): Promise<{ readonly wire: Wire; readonly stream: WireStream }> {
    const stream = await this.request()
    const wire = await this.wire()
    wire.send(headersFrame(stream.id, [[':status', '200']]))
    return { wire, stream }
  }

  /** Ends the connection as a server does that wants no more of it. */
  async leave(): Promise<void> {
    if (this.#wire !== undefined && !this.#wire.ended) {
      this.#wire.send(goaway(0x7fff_ffff, 'NO_ERROR'))
      this.#wire.transport.end()
      await this.#wire.closes()
    }
    this.#secure.destroy()
  }

  async #firstRequest(): Promise<WireStream> {
    const wire = await this.wire()
    return wire.until('a CONNECT', () => [...wire.streams.values()].find(stream => stream.head !== undefined))
  }

  #handshake(): Promise<ClientTls> {
    const secure = this.#secure
    return new Promise((resolve, reject) => {
      const { clock, timeoutMs } = this.options
      const timer = clock.after(timeoutMs, () => reject(new Error('not finished in time')), {
        keepAlive: true,
      })
      const settle = (run: () => void): void => {
        timer.cancel()
        run()
      }
      secure.once('secure', () =>
        settle(() =>
          resolve({
            protocol: secure.getProtocol() ?? 'nothing',
            offered: this.#offered,
            // `false` when there was none, whatever the types say.
            serverName: nameOf(secure),
            chain: chainOf(secure),
            isResumed: secure.isSessionReused(),
          }),
        ),
      )
      secure.on('error', error => settle(() => reject(error)))
      secure.once('close', () => settle(() => reject(new Error('the client closed the connection'))))
    })
  }
}

function hasHead(stream: WireStream): stream is WireStream & { readonly head: HeaderList } {
  return stream.head !== undefined
}

function nameOf(secure: TLSSocket): string | undefined {
  const name: unknown = 'servername' in secure ? secure.servername : undefined
  return typeof name === 'string' && name !== '' ? name : undefined
}

function chainOf(secure: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  const seen = new Set<string>()
  let next: ReturnType<TLSSocket['getPeerCertificate']> | undefined = secure.getPeerCertificate(true)
  while (next?.raw !== undefined && !seen.has(next.fingerprint256)) {
    seen.add(next.fingerprint256)
    chain.push(next.raw)
    next = 'issuerCertificate' in next ? (next.issuerCertificate as typeof next) : undefined
  }
  return chain
}
