/** How endings and errors read in the ledger: ztunnel's words, ztunnel's response flags. One place for all of them. */
import { type Denial, isAmbientError, messageOf, type PumpResult, type ResponseFlag } from '@ambient/core'
import { STATUS_CODES } from 'node:http'
import { HboneError } from '@ambient/hbone'
import { type SocksReply, socksReplies } from '@ambient/hbone/socks'
import { type ConnectionOutcome, succeeded } from './telemetry/ledger.ts'
import type { Lifeline } from './lifeline.ts'

/** Codes with which a peer ends a stream that owes nobody a byte. */
const QUIET_CODES: readonly string[] = ['CONNECT_ERROR', 'CANCEL', 'NO_ERROR']

/** `a` of the pump is the client's side. */
export function outcomeOfPump(result: PumpResult, lifeline: Lifeline): ConnectionOutcome {
  const { ending } = result
  if (ending.kind === 'ended') return succeeded
  if (ending.kind === 'aborted')
    return lifeline.outcome ?? { flag: 'CONNECT', error: messageOf(ending.reason) }
  const { code, reason, cause } = ending.reset
  const distrust = causes(cause).find(isDistrust)
  if (distrust !== undefined) return outcomeOfDistrust(distrust)
  if (!QUIET_CODES.includes(code)) return { flag: 'H2_HANDSHAKE_FAILURE', error: `h2 failed: ${reason}` }
  // A TCP reset is the application's way to end; ztunnel counts it as success, and so do we, but the line says it.
  return { flag: '-', reset: ending.side === 'a' ? 'source' : 'destination' }
}

export function outcomeOfDenial(denial: Denial): ConnectionOutcome {
  return { flag: 'DENY', error: `connection closed due to policy rejection: ${denial.reason}`, denial }
}

export function outcomeOfWithdrawal(denial: Denial): ConnectionOutcome {
  return { flag: 'DENY', error: 'connection closed due to policy change', denial }
}

/** Of either session, when one was carried by the other. */
function isDistrust(cause: unknown): cause is HboneError {
  return cause instanceof HboneError && cause.code === 'AMBIENT_E_PEER_IDENTITY'
}

/** A live session whose peer was judged again. */
function outcomeOfDistrust(error: HboneError): ConnectionOutcome {
  return error.problem === 'revoked'
    ? { flag: 'CERT_REVOKED', error: 'connection closed: peer certificate revoked by CRL' }
    : { flag: 'TLS_FAILURE', error: error.message }
}

/** An application that could not be reached. */
export function outcomeOfDelivery(error: unknown): ConnectionOutcome {
  return { flag: 'CONNECT', error: `connection failed: ${messageOf(error)}` }
}

/** Why an outbound connection could not be made. */
export function outcomeOfConnect(error: unknown): ConnectionOutcome {
  if (error instanceof HboneError) return { flag: flagOf(error), error: hboneMessage(error) }
  const message = messageOf(error)
  if (isAmbientError(error) && error.layer === 'identity')
    return { flag: 'IDENTITY_ERROR', error: `identity error: ${message}` }
  return { flag: 'CONNECT', error: `connection failed: ${message}` }
}

/** What a SOCKS5 client is told. */
export function replyOfConnect(error: unknown): SocksReply {
  if (error instanceof HboneError && error.code === 'AMBIENT_E_HBONE_REFUSED')
    return error.status === 401
      ? socksReplies.notAllowed
      : error.status === 503
        ? socksReplies.connectionRefused
        : socksReplies.generalFailure
  if (mentions(error, 'ECONNREFUSED')) return socksReplies.connectionRefused
  if (mentions(error, 'ENETUNREACH')) return socksReplies.networkUnreachable
  if (isTimeout(error) || mentions(error, 'EHOSTUNREACH')) return socksReplies.hostUnreachable
  return socksReplies.generalFailure
}

function flagOf(error: HboneError): ResponseFlag {
  switch (error.code) {
    case 'AMBIENT_E_TLS':
    case 'AMBIENT_E_PEER_IDENTITY':
      return 'TLS_FAILURE'
    case 'AMBIENT_E_HBONE_PROTOCOL':
    case 'AMBIENT_E_HBONE_RESET':
    case 'AMBIENT_E_HBONE_SESSION_LOST':
      return 'H2_HANDSHAKE_FAILURE'
    default:
      return isTimeout(error) ? 'NETWORK_POLICY' : 'CONNECT'
  }
}

function hboneMessage(error: HboneError): string {
  const { message } = error
  switch (error.code) {
    case 'AMBIENT_E_TLS':
    case 'AMBIENT_E_PEER_IDENTITY':
      return `tls error: ${message}`
    case 'AMBIENT_E_HBONE_PROTOCOL':
    case 'AMBIENT_E_HBONE_RESET':
    case 'AMBIENT_E_HBONE_SESSION_LOST':
      return `h2 failed: ${message}`
    case 'AMBIENT_E_HBONE_REFUSED': {
      const status = error.status ?? 0
      return `http status: ${status} ${STATUS_CODES[status] ?? ''}`.trimEnd()
    }
    default:
      return isTimeout(error)
        ? `connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: ${message}`
        : `connection failed: ${message}`
  }
}

function isTimeout(error: unknown): boolean {
  return causes(error).some(
    cause =>
      isAmbientError(cause) &&
      (cause.code === 'AMBIENT_E_HBONE_TIMEOUT' || cause.code === 'AMBIENT_E_CONNECT_TIMEOUT'),
  )
}

function mentions(error: unknown, code: string): boolean {
  return causes(error).some(
    cause =>
      cause instanceof Error && (('code' in cause && cause.code === code) || cause.message.includes(code)),
  )
}

function causes(error: unknown): readonly unknown[] {
  const chain: unknown[] = []
  for (let at = error; at !== undefined && chain.length < 8; at = at instanceof Error ? at.cause : undefined)
    chain.push(at)
  return chain
}
