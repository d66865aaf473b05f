/** What a verified token tells the service behind us: its payload and claims as headers. */
import type { JwtRule } from '../documents/request-authentication.ts'
import { isJsonObject, type JsonObject } from './strict-json.ts'
import { claimAt, type UnprovenToken } from './token.ts'

export type TokenPayload = Pick<UnprovenToken, 'payload' | 'payloadText'>

const encoder = new TextEncoder()
/** From here on a number is no unsigned integer of 64 bits. */
const UNSIGNED_END = 2 ** 64
/** `toFixed` gives up here. */
const FIXED_END = 1e21
const FORBIDDEN = /[\u0000-\u0008\u000a-\u001f\u007f]/

/** Headers that only we may set: what a client sends under their names is removed. */
export function outputHeaders(rule: JwtRule): readonly string[] {
  const { outputPayloadToHeader = '', outputClaimToHeaders = [] } = rule
  const names = [outputPayloadToHeader, ...outputClaimToHeaders.map(({ header }) => header)]
  return names.filter(name => name !== '').map(name => name.toLowerCase())
}

export function outputsOf(
  rule: JwtRule,
  token: TokenPayload,
): readonly (readonly [name: string, value: string])[] {
  const { outputPayloadToHeader = '', outputClaimToHeaders = [] } = rule
  const headers = new Map<string, string>()
  if (outputPayloadToHeader !== '') headers.set(outputPayloadToHeader.toLowerCase(), token.payloadText)
  for (const { header, claim } of outputClaimToHeaders) {
    const value = claimText(token.payload, claim)
    if (value !== '' && !FORBIDDEN.test(value)) headers.set(header.toLowerCase(), value)
  }
  return [...headers]
}

/**
 * Claims of a token that is not at hand, as plain JSON and as one would have sent them; `undefined` for what no token can
 * hold. Never throws: who calls us may have made the claims himself.
 */
export function payloadOf(claims: Readonly<Record<string, unknown>>): TokenPayload | undefined {
  try {
    const json = JSON.stringify(claims)
    const payload: unknown = JSON.parse(json)
    if (!isJsonObject(payload)) return undefined
    const payloadText = btoa(bytesOf(json)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
    return { payload, payloadText }
  } catch {
    return undefined
  }
}

/** As Envoy writes it; empty for what it leaves out. */
function claimText(payload: JsonObject, path: string): string {
  const value = claimAt(payload, path)
  if (typeof value === 'string') return bytesOf(value)
  if (typeof value === 'number') return numberText(value)
  if (typeof value === 'boolean') return String(value)
  return Array.isArray(value) || isJsonObject(value) ? btoa(bytesOf(JSON.stringify(value))) : ''
}

function numberText(value: number): string {
  if (Number.isInteger(value) && value >= 0 && value < UNSIGNED_END) return BigInt(value).toString()
  return Math.abs(value) < FIXED_END ? value.toFixed(6) : `${BigInt(value)}.000000`
}

/** UTF-8, one character per byte: what a header can carry. */
function bytesOf(text: string): string {
  return Array.from(encoder.encode(text), byte => String.fromCharCode(byte)).join('')
}
