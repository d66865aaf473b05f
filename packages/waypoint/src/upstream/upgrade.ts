/** What makes a 101 the answer to what was asked: the protocol that was asked for, and for a key of our own its proof. */
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { HeaderFields } from '../http/header-fields.ts'
import type { ExchangeRequest } from './exchange.ts'

export interface Upgrade {
  /** Lower-case. */
  readonly protocol: string
  /** `sec-websocket-key` that the waypoint made; `undefined` where the caller has its own and checks the answer to it. */
  readonly ownKey: string | undefined
}

/** RFC 6455 §1.3: any server that speaks WebSocket knows it. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const KEY_BYTES = 16

/** Over HTTP/2 a WebSocket has no key (RFC 8441 §5), and a server of RFC 6455 asks for one. */
export function upgradeOf({ upgrade, callerProtocol }: ExchangeRequest): Upgrade | undefined {
  if (upgrade === undefined) return undefined
  const isKeyless = upgrade === 'websocket' && callerProtocol === 'HTTP/2'
  return { protocol: upgrade, ownKey: isKeyless ? randomBytes(KEY_BYTES).toString('base64') : undefined }
}

/** Completes the handshake's fields. */
export function askForUpgrade(fields: HeaderFields, { ownKey }: Upgrade): void {
  if (ownKey === undefined) return
  fields.set('sec-websocket-key', ownKey)
  if (!fields.has('sec-websocket-version')) fields.set('sec-websocket-version', '13')
}

/** Why the connection has not become what was asked for. */
export function switchProblem(message: IncomingMessage, asked: Upgrade | undefined): string | undefined {
  const { statusCode, headers } = message
  if (asked === undefined) return 'it switches protocols unasked'
  if (statusCode !== 101) return `it switches protocols with ${statusCode}`
  if (headers.upgrade?.trim().toLowerCase() !== asked.protocol) return 'it switches to another protocol'
  if (asked.ownKey === undefined) return undefined
  const proof = createHash('sha1').update(`${asked.ownKey}${WEBSOCKET_GUID}`).digest('base64')
  return headers['sec-websocket-accept'] === proof ? undefined : 'it did not read the key of the WebSocket'
}
