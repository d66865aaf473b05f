/** The gRPC channel to a CA: TLS 1.3 against pinned roots, names of our choice, handshakes that end. */
import { isIP, type Socket } from 'node:net'
import { checkServerIdentity, createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls'
import { type ChannelCredentials, Client, credentials } from '@grpc/grpc-js'
import { formatHostPort, messageOf, systemClock } from '@ambient/core'
import { caClientDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'

export interface CaTarget {
  readonly host: string
  readonly port: number
  /** `HOST:PORT`, with brackets where they are due. */
  readonly address: string
}

export interface CaChannel {
  readonly client: Client
  close(): void
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` for anything but `https://HOST:PORT`. */
export function readCaTarget(address: string): CaTarget {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url === undefined || url.protocol !== 'https:' || url.username !== '' || url.pathname !== '/')
    throw new IdentityError(
      'AMBIENT_E_IDENTITY_OPTION',
      `address: expected https://HOST:PORT, found ${JSON.stringify(address)}`,
      { layer: 'config' },
    )
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = url.port === '' ? 443 : Number(url.port)
  return { host, port, address: formatHostPort(host, port) }
}

/**
 * Opens nothing yet: the first call dials.
 * @throws IdentityError `AMBIENT_E_CA_UNREACHABLE` for roots that cannot be used.
 */
export function createCaChannel(
  target: CaTarget,
  rootPem: string,
  alternativeHostname: string | undefined,
): CaChannel {
  const names = [target.host, ...(alternativeHostname === undefined ? [] : [alternativeHostname])]
  const secure = credentials.createFromSecureContext(secureContext(target, rootPem), {
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => checkNames(names, certificate),
  })
  const abortHandshakes = boundHandshakes(secure)
  const client = new Client(target.address, secure, {
    'grpc.default_authority': target.address,
    // An IP address may not be sent as a server name; our own check above knows what was dialled.
    ...(isIP(target.host) === 0
      ? {}
      : { 'grpc.ssl_target_name_override': alternativeHostname ?? 'localhost' }),
    'grpc.keepalive_time_ms': caClientDefaults.keepaliveMs,
    'grpc.keepalive_timeout_ms': caClientDefaults.keepaliveTimeoutMs,
    'grpc.max_receive_message_length': caClientDefaults.maxResponseBytes,
    // A proxy variable of the application is not meant for its control plane.
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
  })
  return {
    client,
    close() {
      client.close()
      abortHandshakes()
    },
  }
}

/**
 * grpc-js waits for a TLS handshake for ever, also when its client was closed: a CA that accepts and says nothing
 * would cost a socket per retry. Returns the function that ends those under way.
 */
function boundHandshakes(secure: ChannelCredentials): () => void {
  const handshaking = new Set<Socket>()
  const createConnector = secure._createSecureConnector.bind(secure)
  secure._createSecureConnector = (...options) => {
    const connector = createConnector(...options)
    const connect = connector.connect.bind(connector)
    connector.connect = async socket => {
      handshaking.add(socket)
      const timer = systemClock.after(caClientDefaults.handshakeTimeoutMs, () => socket.destroy())
      try {
        return await connect(socket)
      } finally {
        timer.cancel()
        handshaking.delete(socket)
      }
    }
    return connector
  }
  return () => {
    for (const socket of handshaking) socket.destroy()
  }
}

function secureContext(target: CaTarget, rootPem: string): SecureContext {
  try {
    return createSecureContext({ ca: rootPem, minVersion: 'TLSv1.3' })
  } catch (cause) {
    throw new IdentityError(
      'AMBIENT_E_CA_UNREACHABLE',
      `the root certificates of the CA ${target.address} cannot be used: ${messageOf(cause)}`,
      { cause, layer: 'tls' },
    )
  }
}

/** The first name's verdict, unless another one fits. */
function checkNames(names: readonly string[], certificate: PeerCertificate): Error | undefined {
  const verdicts = names.map(name => checkServerIdentity(name, certificate))
  return verdicts.includes(undefined) ? undefined : verdicts[0]
}
