/** The chain that a TLS server presents, whoever it is: nothing is believed here. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { formatHostPort, messageOf } from '@ambient/core'
import { peerChain } from '@ambient/core/node'
import { CliError } from '../errors.ts'

export interface LiveTarget {
  readonly host: string
  readonly port: number
  /** PEM files of our own certificate, for servers that ask for one before they show theirs. */
  readonly cert?: string
  readonly key?: string
  readonly timeoutMs: number
}

export interface LiveChain {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[]
  readonly protocol: string
  readonly cipher: string
  readonly alpn: string
}

/** @throws CliError `AMBIENT_E_CLI_CONNECT` when there is no handshake, `AMBIENT_E_CLI_CREDENTIALS` for our own files. */
export async function readLiveChain(target: LiveTarget, signal: AbortSignal): Promise<LiveChain> {
  const { host, port, timeoutMs } = target
  const ours = { ...readOwn('cert', target.cert), ...readOwn('key', target.key) }
  const name = formatHostPort(host, port)
  let socket: TLSSocket
  try {
    socket = connect({
      host,
      port,
      ...ours,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: ['h2', 'http/1.1'],
      minVersion: 'TLSv1.2',
      // Whom to believe is the question, not the answer.
      rejectUnauthorized: false,
    })
  } catch (cause) {
    const message = `our certificate cannot be used: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_CREDENTIALS', message, { cause, layer: 'identity' })
  }
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) })
    return {
      chain: peerChain(socket),
      protocol: socket.getProtocol() ?? '',
      cipher: socket.getCipher().name,
      alpn: socket.alpnProtocol === false || socket.alpnProtocol === null ? '' : socket.alpnProtocol,
    }
  } catch (cause) {
    if (signal.aborted) throw cause
    const why = isTimeout(cause) ? `no handshake within ${timeoutMs} ms` : messageOf(cause)
    throw new CliError('AMBIENT_E_CLI_CONNECT', `TLS with ${name} failed: ${why}`, { cause, layer: 'tls' })
  } finally {
    // A server that wants a certificate may still say so.
    socket.on('error', () => {})
    socket.destroy()
  }
}

function isTimeout(cause: unknown): boolean {
  return cause instanceof Error && cause.name === 'AbortError'
}

function readOwn(option: 'cert' | 'key', path: string | undefined): { cert?: Buffer; key?: Buffer } {
  if (path === undefined) return {}
  try {
    return { [option]: readFileSync(path) }
  } catch (cause) {
    const message = `--${option} ${path} cannot be read: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_CREDENTIALS', message, { cause, layer: 'config' })
  }
}
