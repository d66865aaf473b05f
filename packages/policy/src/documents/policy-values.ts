/** What a single value of an AuthorizationPolicy may be, and which `when` keys exist: Istio's own validation. */
import { CoreError, parseCidr } from '@ambient/core'
import type { OperationField, SourceField } from './authorization-policy.ts'
import { limits } from '../limits.ts'
import { nearest } from '../yaml/nearest.ts'
import { quote } from '../yaml/problem.ts'

type Check = (value: string) => string | undefined

const anything: Check = () => undefined

const SOURCE_CHECKS: Readonly<Partial<Record<SourceField, Check>>> = {
  ipBlocks: cidrProblem,
  notIpBlocks: cidrProblem,
  remoteIpBlocks: cidrProblem,
  notRemoteIpBlocks: cidrProblem,
  serviceAccounts: serviceAccountProblem,
  notServiceAccounts: serviceAccountProblem,
  trustDomains: trustDomainProblem,
  notTrustDomains: trustDomainProblem,
}

const OPERATION_CHECKS: Readonly<Partial<Record<OperationField, Check>>> = {
  ports: portProblem,
  notPorts: portProblem,
  paths: pathProblem,
  notPaths: pathProblem,
}

const CONDITION_CHECKS: ReadonlyMap<string, Check> = new Map([
  ['source.ip', cidrProblem],
  ['remote.ip', cidrProblem],
  ['source.namespace', anything],
  ['source.serviceAccount', serviceAccountProblem],
  ['source.trustDomain', trustDomainProblem],
  ['source.principal', anything],
  ['request.auth.principal', anything],
  ['request.auth.audiences', anything],
  ['request.auth.presenter', anything],
  ['destination.ip', cidrProblem],
  ['destination.port', portProblem],
  ['connection.sni', anything],
])

const KEY_FORMS = [
  /^request\.headers\[[^[\]]+\]$/,
  /^request\.auth\.claims(\[[^[\]]+\])+$/,
  /^experimental\.envoy\.filters\.[^[\]]+\[[^[\]]+\]$/,
] as const

/** `when` keys, those with a free part by their form. */
export const conditionKeys: readonly string[] = Object.freeze([
  ...CONDITION_CHECKS.keys(),
  'request.headers[NAME]',
  'request.auth.claims[NAME]',
  'experimental.envoy.filters.NAME[KEY]',
])

/** Keys that Istio once had and now refuses, with what to use. */
const REMOVED_KEY = /^destination\.(labels(\[.*\])?|name|namespace|user)$/

export function sourceProblem(field: SourceField, value: string): string | undefined {
  return SOURCE_CHECKS[field]?.(value)
}

export function operationProblem(field: OperationField, value: string): string | undefined {
  return OPERATION_CHECKS[field]?.(value)
}

/** The problem of a `when` key (`value` undefined) or of one of its values. */
export function conditionProblem(key: string, value: string | undefined): string | undefined {
  const check = CONDITION_CHECKS.get(key)
  if (check !== undefined) return value === undefined ? undefined : check(value)
  if (KEY_FORMS.some(form => form.test(key))) return undefined
  if (REMOVED_KEY.test(key))
    return `the key ${quote(key)} is no longer supported: select the destination with the policy's namespace and selector`
  const known = [...CONDITION_CHECKS.keys()]
  const similar = nearest(key, [...known, 'request.headers[…]', 'request.auth.claims[…]'])
  const hint = similar === undefined ? '' : `; did you mean ${quote(similar)}?`
  return `unknown key ${quote(key)}, expected one of ${known.join(', ')}, request.headers[NAME], request.auth.claims[NAME], experimental.envoy.filters.NAME[KEY]${hint}`
}

function cidrProblem(value: string): string | undefined {
  try {
    parseCidr(value)
    return undefined
  } catch (error) {
    if (!(error instanceof CoreError)) throw error
    return `expected an address such as 10.0.0.1 or a CIDR such as 10.0.0.0/8, found ${quote(value)}`
  }
}

function portProblem(value: string): string | undefined {
  if (/^(0|[1-9][0-9]{0,4})$/.test(value) && Number(value) <= 65535) return undefined
  return `expected a port from 0 to 65535, found ${quote(value)}`
}

function serviceAccountProblem(value: string): string | undefined {
  if (value.length > limits.maxServiceAccountLength)
    return `expected at most ${limits.maxServiceAccountLength} characters, found ${value.length}`
  const parts = value.split('/')
  if (value.includes('*') || parts.length > 2 || parts.some(part => part === ''))
    return `expected NAME or NAMESPACE/NAME without wildcards, found ${quote(value)}`
  return undefined
}

function trustDomainProblem(value: string): string | undefined {
  const inner = value.slice(1, -1)
  const stars = value.split('*').length - 1
  if (!value.includes('/') && stars <= 1 && !inner.includes('*')) return undefined
  return `expected a trust domain without "/" and at most one "*", at its beginning or end, found ${quote(value)}`
}

/** Templates: `{*}` is one segment, `{**}` any number of them and the last operator; literals are RFC 3986 pchar. */
function pathProblem(value: string): string | undefined {
  if (!/[{}]/.test(value)) return undefined
  const segments = value.split('/')
  const rest = segments.indexOf('{**}')
  if (rest >= 0 && segments.slice(rest + 1).some(segment => /[{}*]/.test(segment)))
    return `expected {**} to be the last operator of the template, found ${quote(value)}`
  const bad = segments.find(
    segment => !/^(\{\*{1,2}\}|([A-Za-z0-9\-._~!$&'()+,;:@=]|%[0-9A-Fa-f]{2})*)$/.test(segment),
  )
  if (bad === undefined) return undefined
  return `expected each segment of a path template to be {*}, {**} or a literal, found ${quote(bad)} in ${quote(value)}`
}
