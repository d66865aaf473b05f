/**
 * `host:port` as it appears in a CONNECT authority: an IP literal or a DNS name, and a port, both always present.
 * Strict, because what passes here may be dialled.
 */
import { canonicalIp } from './address.ts'
import { CoreError } from './errors.ts'

export interface HostPort {
  /** A canonical IP (IPv6 without brackets) or a lower-case DNS name. */
  readonly host: string
  /** 1 to 65535. */
  readonly port: number
  readonly kind: 'ip' | 'name'
}

export type HostPortResult =
  | { readonly ok: true; readonly value: HostPort }
  | { readonly ok: false; readonly reason: string }

/** RFC 1123 labels plus underscore, which Kubernetes and SRV names use. */
const LABEL = /^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?$/
const MAX_NAME = 253

/** Parses without throwing; `reason` names the broken rule. */
export function readHostPort(text: string): HostPortResult {
  const colon = text.lastIndexOf(':')
  if (colon < 0) return { ok: false, reason: 'port is missing' }
  const portText = text.slice(colon + 1)
  if (!/^[1-9][0-9]{0,4}$/.test(portText) || Number(portText) > 65535)
    return { ok: false, reason: 'port must be a decimal number from 1 to 65535' }
  const host = readHost(text.slice(0, colon))
  return typeof host === 'string'
    ? { ok: false, reason: host }
    : { ok: true, value: { ...host, port: Number(portText) } }
}

/** @throws CoreError `AMBIENT_E_HOST_PORT` with the broken rule. */
export function parseHostPort(text: string): HostPort {
  const result = readHostPort(text)
  if (!result.ok)
    throw new CoreError(
      'AMBIENT_E_HOST_PORT',
      `invalid host:port ${JSON.stringify(text.slice(0, 256))}: ${result.reason}`,
    )
  return result.value
}

/** `10.0.0.1:80`, `[::1]:80`, `name:80`. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function readHost(text: string): { host: string; kind: 'ip' | 'name' } | string {
  if (text === '') return 'host is missing'
  if (text.startsWith('[')) {
    const ip = text.endsWith(']') && text.includes(':') ? canonicalIp(text.slice(1, -1)) : undefined
    return ip === undefined ? 'brackets must hold an IPv6 address' : { host: ip, kind: 'ip' }
  }
  if (text.includes(':')) return 'an IPv6 address must be in brackets'
  const ip = canonicalIp(text)
  if (ip !== undefined) return { host: ip, kind: 'ip' }
  return readName(text)
}

function readName(text: string): { host: string; kind: 'name' } | string {
  if (text.length > MAX_NAME) return `host is longer than ${MAX_NAME} characters`
  const labels = text.split('.')
  if (!labels.every(label => LABEL.test(label))) return 'host is neither an IP address nor a DNS name'
  // Only now: folding first would turn letters outside ASCII (the Kelvin sign) into letters that pass.
  const name = text.toLowerCase()
  // A last label of digits would be read as IPv4 by some resolvers (`127.1`, `0x7f.1`).
  if (/^([0-9]+|0x[0-9a-f]*)$/.test(name.slice(name.lastIndexOf('.') + 1)))
    return 'host looks like a malformed IPv4 address'
  return { host: name, kind: 'name' }
}
