/** A CA on a port: `CreateCertificate` over TLS 1.3, under a certificate of its own that follows the CA's rotations. */
import { isIP } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { formatHostPort, type Logger, messageOf, silentLogger, systemClock, type Timer } from '@ambient/core'
import { listen } from '@ambient/core/node'
import type { CertificateAuthority } from '../ca/authority.ts'
import { caDefaults, caServerDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { type CaServiceOptions, createCaService } from './service.ts'
import { checkOptions } from '../option-checks.ts'

export interface CaServerOptions extends Omit<CaServiceOptions, 'ca'> {
  readonly ca: CertificateAuthority & {
    /** Of a CA in a folder: another signer or other roots are in place. */
    readonly watch?: (listener: () => void) => () => void
    readonly refresh?: () => Promise<void>
  }
  /** An IP address or a name of this machine. */
  readonly host: string
  /** 0 is any free one. */
  readonly port: number
  /** More names for the server's certificate, beside `localhost` and the host. */
  readonly dnsNames?: readonly string[]
}

export interface CaServer {
  /**
   * Binds. @returns the port
   * @throws CoreError `AMBIENT_E_LISTEN` when the address is taken or not ours
   */
  start(): Promise<number>
  /** Lets calls end, for `graceMs` at most. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function createCaServer(options: CaServerOptions): CaServer {
  checkOptions(options, { ca: 'authority', authorize: 'function', host: 'text', port: 'number' })
  return new GrpcCaServer(options)
}

/** Before gRPC tries: it writes to the console by itself, and does not say what is wrong. */
async function checkFree(host: string, port: number): Promise<void> {
  const probe = await listen({ host, port, onConnection: socket => socket.destroy() })
  await probe.close()
}

/** Clients may show a certificate; whether it is worth anything `authorize` decides. */
class FollowingCredentials extends ServerCredentials {
  constructor(context: SecureContextOptions) {
    super({ requestCert: true, rejectUnauthorized: false }, context)
  }

  follow(context: SecureContextOptions): void {
    this.updateSecureContextOptions(context)
  }

  _equals(other: ServerCredentials): boolean {
    return this === other
  }
}

class GrpcCaServer implements CaServer {
  readonly #options: CaServerOptions
  readonly #logger: Logger
  readonly #server = new Server({ 'grpc.max_receive_message_length': caServerDefaults.maxMessageBytes })
  #credentials: FollowingCredentials | undefined
  #unwatch: (() => void) | undefined
  #timer: Timer | undefined
  #closed = false

  constructor(options: CaServerOptions) {
    this.#options = options
    this.#logger = options.logger ?? silentLogger
    createCaService(options).addTo(this.#server)
  }

  async start(): Promise<number> {
    const { host, port, ca } = this.#options
    await checkFree(host, port)
    const credentials = new FollowingCredentials(await this.#context())
    this.#credentials = credentials
    const bound = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync(formatHostPort(host, port), credentials, (cause, found) => {
        if (cause === null) return resolve(found)
        const message = `a CA cannot listen on ${formatHostPort(host, port)}: ${messageOf(cause)}`
        reject(new IdentityError('AMBIENT_E_CA_UNREACHABLE', message, { cause, layer: 'identity' }))
      }),
    )
    this.#unwatch = ca.watch?.(() => void this.#renew())
    this.#look()
    return bound
  }

  async close({
    graceMs = caServerDefaults.closeGraceMs,
  }: {
    readonly graceMs?: number
  } = {}): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#unwatch?.()
    this.#timer?.cancel()
    const force = systemClock.after(graceMs, () => this.#server.forceShutdown(), { keepAlive: true })
    await new Promise<void>(resolve => this.#server.tryShutdown(() => resolve()))
    force.cancel()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Another process may rotate while nobody asks for a certificate; our own one also grows old. */
  #look(): void {
    let age = 0
    const arm = (): void => {
      this.#timer = systemClock.after(caServerDefaults.lookMs, () => {
        age += caServerDefaults.lookMs
        const isOld = age >= caDefaults.maxTtlMs / 2
        if (isOld) age = 0
        void (isOld ? this.#renew() : this.#options.ca.refresh?.())
        arm()
      })
    }
    arm()
  }

  async #renew(): Promise<void> {
    try {
      const context = await this.#context()
      if (!this.#closed) this.#credentials?.follow(context)
    } catch (error) {
      this.#logger.error({ error: messageOf(error) }, "the CA server's own certificate was not renewed")
    }
  }

  async #context(): Promise<SecureContextOptions> {
    const { ca, host, dnsNames = [] } = this.#options
    // Of every address of this machine only loopback is known beforehand.
    const isEvery = host === '0.0.0.0' || host === '::'
    const isName = isIP(host) === 0
    const names = new Set(['localhost', ...(isName ? [host] : []), ...dnsNames])
    const addresses = isEvery ? ['127.0.0.1', '::1'] : isName ? [] : [host]
    const own = await ca.issueServerCertificate({ dnsNames: [...names], ipAddresses: addresses })
    return { ca: ca.rootPem, cert: own.certificateChain, key: own.privateKey, minVersion: 'TLSv1.3' }
  }
}
