/** A request from JSON: checked, so that a misspelt field is not an absent one. */
import { ipToBytes } from '@ambient/core'
import type { PolicyRequest, RequestDestination, RequestHttp, RequestSource } from './request.ts'
import type { Enforcer } from './verdict.ts'
import { PolicyError } from '../errors.ts'
import { nearest } from '../yaml/nearest.ts'
import { quote } from '../yaml/problem.ts'

/**
 * @param where what the value is, for messages: `request.json`, `request.json[3]`
 * @throws PolicyError `AMBIENT_E_POLICY_REQUEST` with the path of the first field that is not right
 */
export function readPolicyRequest(value: unknown, where: string): PolicyRequest {
  const fields = objectAt(value, where)
  checkNames(fields, where)
  const [source, destination, http, jwt, sniGiven] = NAMES.map(name => fields[name] ?? undefined)
  if (destination === undefined) throw wrong(`${where}.destination`, 'an object', undefined)
  const sni = optionalText(sniGiven, `${where}.sni`)
  return {
    source: readSource(source ?? {}, `${where}.source`),
    destination: readDestination(destination, `${where}.destination`),
    ...(http === undefined ? {} : { http: readHttp(http, `${where}.http`) }),
    ...(jwt === undefined ? {} : { jwt: readJwt(jwt, `${where}.jwt`) }),
    ...(sni === undefined ? {} : { sni }),
  }
}

const NAMES = ['source', 'destination', 'http', 'jwt', 'sni'] as const

/** Beside its own fields a request may keep what its writer likes (a name, what is expected), but nothing that looks like one of them. */
function checkNames(fields: Readonly<Record<string, unknown>>, where: string): void {
  const absent = NAMES.filter(name => (fields[name] ?? undefined) === undefined)
  const known = new Set<string>(NAMES)
  for (const name of Object.keys(fields)) {
    const meant = known.has(name) ? undefined : nearest(name, absent)
    if (meant !== undefined)
      throw new PolicyError(
        'AMBIENT_E_POLICY_REQUEST',
        `${where}: unknown field ${quote(name)}, did you mean ${meant}?`,
      )
  }
}

const KINDS = ['workload', 'waypoint', 'gateway'] as const

/** @throws PolicyError `AMBIENT_E_POLICY_REQUEST` */
export function readEnforcer(value: unknown, where: string): Enforcer {
  const fields = objectAt(value, where, ['kind', 'namespace', 'name', 'labels', 'service'])
  const kind = KINDS.find(one => one === fields['kind'])
  if (kind === undefined) throw wrong(`${where}.kind`, `one of ${KINDS.join(', ')}`, fields['kind'])
  const name = optionalText(fields['name'], `${where}.name`)
  const labels = optionalLabels(fields['labels'], `${where}.labels`)
  const service = optionalText(fields['service'], `${where}.service`)
  return {
    kind,
    namespace: text(fields['namespace'], `${where}.namespace`),
    ...(name === undefined ? {} : { name }),
    ...(labels === undefined ? {} : { labels }),
    ...(service === undefined ? {} : { service }),
  }
}

function readSource(value: unknown, where: string): RequestSource {
  const fields = objectAt(value, where, ['principal', 'ip', 'remoteIp'])
  const principal = optionalText(fields['principal'], `${where}.principal`)?.replace(/^spiffe:\/\//, '')
  if (principal === '') throw wrong(`${where}.principal`, 'TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT', principal)
  const ip = optionalAddress(fields['ip'], `${where}.ip`)
  const remoteIp = optionalAddress(fields['remoteIp'], `${where}.remoteIp`)
  return {
    ...(principal === undefined ? {} : { principal }),
    ...(ip === undefined ? {} : { ip }),
    ...(remoteIp === undefined ? {} : { remoteIp }),
  }
}

function readDestination(value: unknown, where: string): RequestDestination {
  const fields = objectAt(value, where, ['namespace', 'workload', 'labels', 'service', 'ip', 'port'])
  const workload = optionalText(fields['workload'], `${where}.workload`)
  const labels = optionalLabels(fields['labels'], `${where}.labels`)
  const service = optionalText(fields['service'], `${where}.service`)
  const ip = optionalAddress(fields['ip'], `${where}.ip`)
  return {
    namespace: text(fields['namespace'], `${where}.namespace`),
    port: port(fields['port'], `${where}.port`),
    ...(workload === undefined ? {} : { workload }),
    ...(labels === undefined ? {} : { labels }),
    ...(service === undefined ? {} : { service }),
    ...(ip === undefined ? {} : { ip }),
  }
}

function readHttp(value: unknown, where: string): RequestHttp {
  const fields = objectAt(value, where, ['method', 'authority', 'path', 'headers'])
  const { headers } = fields
  return {
    method: optionalText(fields['method'], `${where}.method`) ?? 'GET',
    authority: optionalText(fields['authority'], `${where}.authority`) ?? '',
    path: optionalText(fields['path'], `${where}.path`) ?? '/',
    ...(headers === undefined ? {} : { headers: readHeaders(headers, `${where}.headers`) }),
  }
}

function readHeaders(value: unknown, where: string): NonNullable<RequestHttp['headers']> {
  const headers = Object.entries(objectAt(value, where)).map(([name, values]) => {
    const at = `${where}[${quote(name)}]`
    return [
      name,
      Array.isArray(values) ? values.map((one, index) => text(one, `${at}[${index}]`)) : text(values, at),
    ] as const
  })
  return recordOf(headers)
}

function readJwt(value: unknown, where: string): { readonly payload: Readonly<Record<string, unknown>> } {
  const { payload } = objectAt(value, where, ['payload'])
  return { payload: objectAt(payload, `${where}.payload`) }
}

/** An object whose every field is known; without `names` any field is. Null is an absent field. */
function objectAt(
  value: unknown,
  where: string,
  names?: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(where, 'an object', value)
  const entries = Object.entries(value)
  const unknown = names && entries.find(([name]) => !names.includes(name))
  if (unknown !== undefined)
    throw new PolicyError(
      'AMBIENT_E_POLICY_REQUEST',
      `${where}: unknown field ${quote(unknown[0])}, expected ${names?.join(', ')}`,
    )
  return recordOf(names === undefined ? entries : entries.filter(([, one]) => one !== null))
}

function recordOf<T>(entries: readonly (readonly [string, T])[]): Readonly<Record<string, T>> {
  const record: Record<string, T> = Object.create(null)
  for (const [name, value] of entries) record[name] = value
  return record
}

function text(value: unknown, where: string): string {
  if (typeof value === 'string') return value
  throw wrong(where, 'a string', value)
}

function optionalText(value: unknown, where: string): string | undefined {
  return value === undefined ? undefined : text(value, where)
}

function optionalAddress(value: unknown, where: string): string | undefined {
  const written = optionalText(value, where)
  if (written === undefined || ipToBytes(written) !== undefined) return written
  throw wrong(where, 'an IP address', written)
}

function optionalLabels(value: unknown, where: string): Readonly<Record<string, string>> | undefined {
  if (value === undefined) return undefined
  return recordOf(
    Object.entries(objectAt(value, where)).map(
      ([name, one]) => [name, text(one, `${where}[${quote(name)}]`)] as const,
    ),
  )
}

function port(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65_535) return value
  throw wrong(where, 'a port from 0 to 65535', value)
}

function wrong(where: string, expected: string, found: unknown): PolicyError {
  const shown = found === undefined ? 'nothing' : typeof found === 'object' ? kindOf(found) : quote(found)
  return new PolicyError('AMBIENT_E_POLICY_REQUEST', `${where}: expected ${expected}, found ${shown}`)
}

function kindOf(value: object | null): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list' : 'an object'
}
