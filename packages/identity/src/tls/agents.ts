/** HTTP clients whose connections rotate: an agent for `https`, a connector for undici. */
import { Agent, type AgentOptions } from 'node:https'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { X509Source } from '../sources/x509-source.ts'
import { connectTls, type ConnectTlsOptions, type TlsTarget } from './connect-tls.ts'
import { checkExpectation } from './expectation.ts'
import { checkOption } from '../option-checks.ts'

export interface TlsClientRules extends Pick<ConnectTlsOptions, 'expect' | 'timeoutMs' | 'clock'> {}

type AgentTarget = TlsTarget & { readonly socketPath?: string | undefined }

type OnSocket = (error: Error | null, socket: Duplex) => void

/**
 * An agent for `https.request` and all that take one (axios, node-fetch, …). Each connection has the identity of its
 * moment; those that are kept alive live on when it rotates. `peerIdentity(response.socket)` says who answered.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createHttpsAgent(source: X509Source, rules: TlsClientRules, options?: AgentOptions): Agent {
  checkOption('source', source, 'source')
  checkOption('rules', rules, 'object')
  checkExpectation(rules.expect)
  return new IdentityAgent(source, rules, options)
}

class IdentityAgent extends Agent {
  readonly #source: X509Source
  readonly #rules: TlsClientRules

  constructor(source: X509Source, rules: TlsClientRules, options: AgentOptions = {}) {
    super(options)
    this.#source = source
    this.#rules = rules
  }

  // Node takes a socket that comes later by the callback, and none from the call itself.
  override createConnection(target: AgentTarget, onSocket: OnSocket): undefined {
    connect(this.#source, this.#rules, target).then(
      socket => onSocket(null, socket),
      // Node's types want a socket with the error; there is none, and nobody looks.
      (error: Error) => (onSocket as (error: Error) => void)(error),
    )
  }
}

/** What undici asks a connector for. */
export interface UndiciTarget {
  readonly hostname: string
  readonly port?: string
  readonly protocol?: string
  readonly servername?: string
  readonly localAddress?: string | null
}

export type UndiciConnector = (
  target: UndiciTarget,
  callback: (...result: [error: null, socket: TLSSocket] | [error: Error, socket: null]) => void,
) => void

/**
 * For undici's `new Agent({ connect })`, `Client` and `Pool`, and so for `fetch` with that dispatcher. It connects to
 * `https:` origins only; HTTP/1.1 is spoken.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createUndiciConnector(source: X509Source, rules: TlsClientRules): UndiciConnector {
  checkOption('source', source, 'source')
  checkOption('rules', rules, 'object')
  checkExpectation(rules.expect)
  return ({ hostname, port, protocol, servername, localAddress }, callback) => {
    if (protocol !== undefined && protocol !== 'https:')
      return callback(new TypeError(`this connector is for https: alone, not for ${protocol}`), null)
    const host = hostname.replace(/^\[(.*)\]$/, '$1')
    const target: TlsTarget = {
      host,
      port: port === undefined || port === '' ? 443 : Number(port),
      ALPNProtocols: ['http/1.1'],
      ...(servername === undefined || servername === '' ? {} : { servername }),
      ...(localAddress == null ? {} : { localAddress }),
    }
    connectTls(source, { ...rules, ...target }).then(
      socket => callback(null, socket),
      (error: Error) => callback(error, null),
    )
  }
}

/** Of an agent's options only those that say where to: none of them weakens the verdict. */
function connect(source: X509Source, rules: TlsClientRules, options: AgentTarget): Promise<TLSSocket> {
  const { host, port, socketPath, socket, servername, ALPNProtocols, lookup, localAddress, family } = options
  // `path` is that of the request.
  const target = {
    host,
    port,
    path: socketPath,
    socket,
    servername,
    ALPNProtocols,
    lookup,
    localAddress,
    family,
  }
  const given = Object.fromEntries(
    Object.entries(target).filter(([, value]) => value != null && value !== ''),
  )
  return connectTls(source, { ...given, ...rules })
}
