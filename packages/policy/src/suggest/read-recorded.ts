/**
 * Recorded traffic as requests: lines of JSON as `ambient policy explain` takes them, and lines of access logs, as text
 * or as JSON: a ztunnel's, ours or Istio's, and our waypoints' (Istio's do not say who called).
 */
import { PolicyError } from '../errors.ts'
import { parseJson, type TextStart } from '../json/parse-json.ts'
import { readPolicyRequest } from '../evaluator/read-request.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import { fieldsOfWaypointText, fromWaypointLine, isWaypointLine, splitAddress } from './waypoint-line.ts'

export interface Recorded {
  readonly requests: readonly PolicyRequest[]
  /** Lines that are no traffic that arrived: other log lines, the callers' side of a connection, denials, failures. */
  readonly passedOver: number
}

const SCHEME = 'spiffe://'

/**
 * @param where the name of the file, for messages
 * @throws PolicyError `AMBIENT_E_POLICY_REQUEST` for a line of JSON that is neither a request nor a line of a log
 */
export function readRecorded(text: string, where: string): Recorded {
  const requests: PolicyRequest[] = []
  let passedOver = 0
  for (const [index, written] of text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .entries()) {
    const line = written.trim()
    if (line === '') continue
    const column = written.length - written.trimStart().length + 1
    const found = readLine(line, where, { line: index + 1, column })
    if (found === undefined) passedOver++
    else requests.push(found)
  }
  return { requests, passedOver }
}

function readLine(line: string, file: string, start: TextStart): PolicyRequest | undefined {
  if (!line.startsWith('{')) {
    const fields = fieldsOfWaypointText(line)
    return fields === undefined ? fromAccessLog(fieldsOfText(line)) : fromWaypointLine(fields)
  }
  const where = `${file}:${start.line}`
  const value = objectOf(parseJson(line, file, start), where)
  if ('destination' in value) return readPolicyRequest(value, where)
  const { request } = value
  if (request !== undefined) return readPolicyRequest(request, where)
  const fields = new Map(Object.entries(value).map(([key, field]) => [key, String(field ?? '')]))
  return isWaypointLine(fields) ? fromWaypointLine(fields) : fromAccessLog(fields)
}

function objectOf(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null) return { ...value }
  throw new PolicyError('AMBIENT_E_POLICY_REQUEST', `${where}: expected a JSON object`)
}

/** `key=value key="value"` of a line. */
function fieldsOfText(line: string): ReadonlyMap<string, string> {
  const fields = [...line.matchAll(/([a-z][a-z._]*)=(?:"((?:[^"\\]|\\.)*)"|(\S+))/g)]
  return new Map(fields.map(([, key = '', quoted, bare]) => [key, quoted ?? bare ?? '']))
}

/** Only what arrived, and was let in. */
function fromAccessLog(fields: ReadonlyMap<string, string>): PolicyRequest | undefined {
  const namespace = fields.get('dst.namespace')
  const target = splitAddress(fields.get('dst.hbone_addr') ?? fields.get('dst.addr') ?? '')
  if (fields.get('direction') !== 'inbound' || fields.has('error')) return undefined
  if (namespace === undefined || target === undefined) return undefined
  const identity = fields.get('src.identity')
  const source = splitAddress(fields.get('src.addr') ?? '')
  const workload = fields.get('dst.workload')
  return {
    source: {
      ...(identity?.startsWith(SCHEME) === true ? { principal: identity.slice(SCHEME.length) } : {}),
      ...(source === undefined ? {} : { ip: source.ip }),
    },
    destination: {
      namespace,
      ...(workload === undefined ? {} : { workload }),
      ip: target.ip,
      port: target.port,
    },
  }
}
