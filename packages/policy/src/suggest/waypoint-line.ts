/**
 * A line of a waypoint's access log, Envoy's format with ztunnel's names of who called behind it, as the request that it
 * is about. Envoy's own lines do not say who called, so they are not enough.
 */
import type { PolicyRequest } from '../evaluator/request.ts'

const FORMAT =
  /(?:^|\s)\[\d[\dT:.-]+Z\] "(?<method>[A-Z-]+) (?<path>(?:[^\s"\\]|\\.)+) HTTP\/[\d.]+" \d+ \S+ (?<details>\S+) (?<rest>.*)$/
/** Behind a name of a route, which may be anything. */
const PARTIES = /(?: (?:src|dst)\.[a-z]+="(?:[^"\\]|\\.)*")+$/
const PARTY = / ((?:src|dst)\.[a-z]+)="((?:[^"\\]|\\.)*)"/g
const TOKEN = /"((?:[^"\\]|\\.)*)"|(\S+)/g
/** Behind the details: authority, and the addresses of either end. */
const [AUTHORITY, LOCAL, REMOTE] = [9, 13, 14]

/** Answered by the service, or by a redirect or the like in its place: policies had let it in. */
const answered: ReadonlySet<string> = new Set(['via_upstream', 'direct_response'])

/** As its JSON form has them. `undefined`: no line of this format. */
export function fieldsOfWaypointText(line: string): ReadonlyMap<string, string> | undefined {
  const { method = '', path = '', details = '', rest } = FORMAT.exec(line)?.groups ?? {}
  if (rest === undefined) return undefined
  const tokens = [...rest.matchAll(TOKEN)].map(([, quoted, bare]) => quoted ?? bare ?? '')
  const parties = PARTIES.exec(rest)?.[0] ?? ''
  const fields: readonly (readonly [string, string])[] = [
    ['method', method],
    ['path', path],
    ['response_code_details', details],
    ['authority', tokens[AUTHORITY] ?? ''],
    ['downstream_local_address', tokens[LOCAL] ?? ''],
    ['downstream_remote_address', tokens[REMOTE] ?? ''],
    ...[...parties.matchAll(PARTY)].map(([, key = '', value = '']) => [key, value] as const),
  ]
  return new Map(fields.map(([key, value]) => [key, unescaped(value)]))
}

export function isWaypointLine(fields: ReadonlyMap<string, string>): boolean {
  return fields.has('response_code_details') && fields.has('downstream_local_address')
}

/** Only HTTP to a Service: of TCP the workload's ztunnel has the line, with the waypoint as its caller. */
export function fromWaypointLine(fields: ReadonlyMap<string, string>): PolicyRequest | undefined {
  const [method, path, authority] = ['method', 'path', 'authority'].map(key => fields.get(key) ?? '')
  const principal = /^spiffe:\/\/(.+)$/.exec(fields.get('src.identity') ?? '')?.[1]
  const [, name, namespace] = /^([^.]+)\.([^.]+)\.svc\./.exec(fields.get('dst.service') ?? '') ?? []
  const target = splitAddress(fields.get('downstream_local_address') ?? '')
  const source = splitAddress(fields.get('downstream_remote_address') ?? '')
  if (!answered.has(fields.get('response_code_details') ?? '') || !method || !path || !authority)
    return undefined
  if (principal === undefined || name === undefined || namespace === undefined || target === undefined)
    return undefined
  return {
    source: { principal, ...(source === undefined ? {} : { ip: source.ip }) },
    destination: { namespace, service: `${namespace}/${name}`, ip: target.ip, port: target.port },
    http: { method, authority, path },
  }
}

export function splitAddress(text: string): { readonly ip: string; readonly port: number } | undefined {
  const colon = text.lastIndexOf(':')
  const port = Number(text.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port)) return undefined
  return { ip: text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port }
}

/** JSON's escapes; what is none stays. */
function unescaped(text: string): string {
  if (!text.includes('\\')) return text
  try {
    return String(JSON.parse(`"${text}"`))
  } catch {
    return text
  }
}
