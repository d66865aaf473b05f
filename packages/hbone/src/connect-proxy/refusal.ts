/** What a client that gets no tunnel is told: a status, and a body that says why and what to do. */
import { STATUS_CODES } from 'node:http'
import { HboneError } from '../errors.ts'

/** A request that is refused before a tunnel is asked for; `status` is the answer's. */
export function connectProxyError(status: number, reason: string): HboneError {
  return new HboneError('AMBIENT_E_CONNECT_PROXY', reason, { status, layer: 'http' })
}

/** The whole answer. `status` of a refusal by the far side is not ours: 401 there is a policy, here it would ask for a password. */
export function formatRefusal(error: HboneError): Buffer {
  const status = statusOf(error)
  const help = helpOf(error, status)
  const body = `${JSON.stringify({ status, code: error.code, message: error.message, help })}\n`
  const extra: Readonly<Record<number, string>> = {
    405: 'allow: CONNECT\r\n',
    407: 'proxy-authenticate: Basic realm="ambient", charset="UTF-8"\r\n',
  }
  const head =
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n` +
    `${extra[status] ?? ''}content-type: application/json\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`
  return Buffer.from(head + body)
}

function statusOf(error: HboneError): number {
  switch (error.code) {
    case 'AMBIENT_E_CONNECT_PROXY':
      return error.status ?? 400
    case 'AMBIENT_E_HBONE_REFUSED':
      return statusOfRefusal(error.status)
    case 'AMBIENT_E_HBONE_TIMEOUT':
      return 504
    case 'AMBIENT_E_HBONE_OPTION':
      return 500
    case 'AMBIENT_E_CLOSED':
    case 'AMBIENT_E_LOGIN_CHECK':
      return 503
    default:
      return 502
  }
}

function statusOfRefusal(status: number | undefined): number {
  switch (status) {
    case 401:
    case 403:
      return 403
    case 503:
    case 504:
      return status
    default:
      return 502
  }
}

function helpOf(error: HboneError, status: number): string {
  switch (error.code) {
    case 'AMBIENT_E_CONNECT_PROXY':
      return helpOfRequest(status)
    case 'AMBIENT_E_HBONE_REFUSED':
      return status === 403
        ? 'A policy of the far side does not allow this caller; its log names the policy.'
        : 'The far side was reached and did not connect: is the target one of its own, and does it listen?'
    case 'AMBIENT_E_HBONE_UNREACHABLE':
      return 'Is the HBONE peer up, and reachable on its port (15008)?'
    case 'AMBIENT_E_HBONE_TIMEOUT':
      return 'Something on the way drops packets, or the target takes too long to accept; the message has the step.'
    case 'AMBIENT_E_TLS':
    case 'AMBIENT_E_PEER_IDENTITY':
      return 'Certificates of the two sides do not go together: compare roots, validity and the expected identity.'
    case 'AMBIENT_E_LOGIN_CHECK':
      return 'Nothing is wrong with the request: try again; whoever runs this proxy was told why.'
    default:
      return 'Try again; if it stays, see docs/errors.md for the code.'
  }
}

function helpOfRequest(status: number): string {
  switch (status) {
    case 405:
      return 'Make the program use CONNECT: give it this proxy as https_proxy or grpc_proxy, or with curl --proxytunnel.'
    case 407:
      return 'Put user name and password into the URL of the proxy: http://USER:PASSWORD@HOST:PORT.'
    default:
      return 'Send CONNECT HOST:PORT HTTP/1.1 with one Host field, as RFC 9112 has it.'
  }
}
