/** Certificates from Istio's CA: `CreateCertificate` over gRPC and TLS with a pinned root, as ztunnel calls it. */
import { create } from '@bufbuild/protobuf'
import { type Client, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { type Clock, type Logger, messageOf, silentLogger, systemClock } from '@ambient/core'
import { type CaChannel, type CaTarget, createCaChannel, readCaTarget } from './channel.ts'
import { createCertificateMethod, IMPERSONATED_IDENTITY } from './protocol.ts'
import { readRequestedKey } from '../x509/csr.ts'
import { caClientDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { type IstioCertificateRequest, IstioCertificateRequestSchema } from '../gen/istio-ca_pb.ts'
import { checkIssuedChain } from './issued-chain.ts'
import { readPemCertificates } from '../x509/pem.ts'
import type { CertificateSigner, SigningRequest } from '../manager/signer.ts'
import { checkOptions } from '../option-checks.ts'

export interface IstioCaClientOptions {
  /** `https://HOST:PORT`; the host may be an IP address. */
  readonly address: string
  /** PEM of the roots that the CA's own server certificate must lead to. Asked before each call, so files may change. */
  readonly rootPem: () => string | Promise<string>
  /** The bearer token. Asked before each call, because projected tokens are replaced. */
  readonly token?: () => string | undefined | Promise<string | undefined>
  /** The `clusterid` header. */
  readonly clusterId: string
  /** A node proxy that asks on behalf of its workloads, or a workload that asks for itself. */
  readonly impersonate: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** A second name under which the CA's certificate is accepted. */
  readonly alternativeHostname?: string
  /** Default 20,000. */
  readonly callTimeoutMs?: number
  readonly clock?: Clock
  readonly logger?: Logger
}

/** One channel per set of roots; a replaced one is closed when its last call ends. */
interface Connection {
  readonly channel: CaChannel
  readonly rootPem: string
  calls: number
  retired: boolean
}

const REACHABILITY: readonly status[] = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED]

/**
 * A signer over Istio's protocol. Its answers are checked strictly: the leaf must have the requested ID, our key and
 * a proof by the roots that came with it.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` for an address that is not `https://HOST:PORT`; `sign` rejects with
 * `AMBIENT_E_CA_UNREACHABLE`, `AMBIENT_E_CA_REFUSED`, `AMBIENT_E_CA_RESPONSE`, `AMBIENT_E_IDENTITY_CLOSED`, or the
 * signal's reason.
 */
export function createIstioCaClient(options: IstioCaClientOptions): CertificateSigner {
  checkOptions(options, { address: 'text', rootPem: 'function', clusterId: 'text' })
  return new IstioCaClient(options)
}

class IstioCaClient implements CertificateSigner {
  readonly #options: IstioCaClientOptions
  readonly #target: CaTarget
  readonly #logger: Logger
  readonly #clock: Clock
  #connection: Connection | undefined
  #closed = false

  constructor(options: IstioCaClientOptions) {
    this.#options = options
    this.#target = readCaTarget(options.address)
    this.#logger = options.logger ?? silentLogger
    this.#clock = options.clock ?? systemClock
  }

  async sign(request: SigningRequest): Promise<readonly string[]> {
    const { signal } = request
    signal?.throwIfAborted()
    if (this.#closed) throw closedError(this.#target)
    const connection = await this.#connect()
    try {
      const metadata = await this.#metadata()
      signal?.throwIfAborted()
      if (this.#closed) throw closedError(this.#target)
      const chain = await this.#call(connection.channel.client, metadata, request)
      checkIssuedChain({
        chain,
        id: request.id,
        publicKey: readRequestedKey(request.csrPem),
        now: this.#clock.now(),
      })
      return chain
    } catch (error) {
      // grpc-js waits longer and longer before it dials again; the manager has its own patience.
      if (error instanceof IdentityError && error.code === 'AMBIENT_E_CA_UNREACHABLE')
        this.#retire(connection)
      throw error
    } finally {
      connection.calls -= 1
      if (connection.retired && connection.calls === 0) connection.channel.close()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const connection = this.#connection
    if (connection === undefined) return
    this.#connection = undefined
    connection.retired = true
    connection.channel.close()
  }

  /** Counts its caller at once: nobody is to close the channel between this and the call. */
  async #connect(): Promise<Connection> {
    const rootPem = await this.#roots()
    if (this.#closed) throw closedError(this.#target)
    const present = this.#connection
    if (present !== undefined && present.rootPem === rootPem) return counted(present)
    let channel: CaChannel
    try {
      channel = createCaChannel(this.#target, rootPem, this.#options.alternativeHostname)
    } catch (error) {
      if (present === undefined) throw error
      this.#logger.warn({ address: this.#target.address }, `${messageOf(error)}; going on with the last ones`)
      return counted(present)
    }
    if (present !== undefined) this.#retire(present)
    this.#connection = { channel, rootPem, calls: 0, retired: false }
    return counted(this.#connection)
  }

  /** The roots as they are now; while they cannot be read, those of the living connection. */
  async #roots(): Promise<string> {
    try {
      const rootPem = await this.#options.rootPem()
      if (readPemCertificates(rootPem).length > 0) return rootPem
      throw new IdentityError('AMBIENT_E_TRUST_BUNDLE', 'no certificate in it', { layer: 'identity' })
    } catch (cause) {
      const message = `the root certificates of the CA ${this.#target.address} cannot be read: ${messageOf(cause)}`
      const present = this.#connection
      if (present === undefined)
        throw new IdentityError('AMBIENT_E_CA_UNREACHABLE', message, { cause, layer: 'identity' })
      this.#logger.warn({ address: this.#target.address }, `${message}; going on with the last ones`)
      return present.rootPem
    }
  }

  #retire(connection: Connection): void {
    connection.retired = true
    if (this.#connection === connection) this.#connection = undefined
    if (connection.calls === 0) connection.channel.close()
  }

  async #metadata(): Promise<Metadata> {
    const metadata = new Metadata()
    for (const [name, value] of Object.entries(this.#options.headers ?? {})) metadata.set(name, value)
    metadata.set('clusterid', this.#options.clusterId)
    const token = (await this.#options.token?.())?.trim()
    if (token !== undefined && token !== '') metadata.set('authorization', `Bearer ${token}`)
    return metadata
  }

  #call(client: Client, metadata: Metadata, request: SigningRequest): Promise<readonly string[]> {
    const timeoutMs = this.#options.callTimeoutMs ?? caClientDefaults.callTimeoutMs
    const { signal } = request
    return new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        createCertificateMethod.path,
        createCertificateMethod.requestSerialize,
        createCertificateMethod.responseDeserialize,
        this.#message(request),
        metadata,
        // The deadline is the wall clock's: grpc-js compares it with its own.
        { deadline: systemClock.now() + timeoutMs },
        (error, response) => {
          signal?.removeEventListener('abort', onAbort)
          if (signal?.aborted === true) reject(signal.reason)
          else if (error !== null) reject(callError(this.#target, request, error))
          else resolve(response?.certChain ?? [])
        },
      )
      const onAbort = (): void => call.cancel()
      signal?.addEventListener('abort', onAbort)
    })
  }

  #message({ id, csrPem, ttlMs }: SigningRequest): IstioCertificateRequest {
    return create(IstioCertificateRequestSchema, {
      csr: csrPem,
      validityDuration: BigInt(Math.round(ttlMs / 1_000)),
      ...(this.#options.impersonate ? { metadata: { [IMPERSONATED_IDENTITY]: id.uri } } : {}),
    })
  }
}

function counted(connection: Connection): Connection {
  connection.calls += 1
  return connection
}

function callError(target: CaTarget, { id }: SigningRequest, cause: ServiceError): IdentityError {
  const name = status[cause.code] ?? String(cause.code)
  const text = `the CA ${target.address} gave no certificate for ${id.uri}: ${name}: ${cause.details}`
  return REACHABILITY.includes(cause.code)
    ? new IdentityError('AMBIENT_E_CA_UNREACHABLE', text, { cause, layer: 'identity' })
    : new IdentityError('AMBIENT_E_CA_REFUSED', text, { cause, layer: 'identity' })
}

function closedError(target: CaTarget): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_CLOSED', `the client of the CA ${target.address} is closed`, {
    layer: 'identity',
  })
}
