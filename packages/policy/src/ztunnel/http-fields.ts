/** Which parts of an AuthorizationPolicy an L4 proxy cannot see. */
import type { PolicyOperation, PolicySource } from '../documents/authorization-policy.ts'

const HTTP_OPERATION = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'] as const
const HTTP_SOURCE = [
  'requestPrincipals',
  'notRequestPrincipals',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
] as const
/** istiod has no L4 form of these and says nothing about it. */
const IGNORED_SOURCE = ['trustDomains', 'notTrustDomains'] as const

/** Every other `when` key counts as HTTP, `connection.sni`, `source.serviceAccount` and `source.trustDomain` too. */
const L4_KEYS = new Set([
  'source.ip',
  'source.namespace',
  'source.principal',
  'destination.ip',
  'destination.port',
])

export function isL4Key(key: string): boolean {
  return L4_KEYS.has(key)
}

export function hasHttpOperation(operation: PolicyOperation): boolean {
  return HTTP_OPERATION.some(field => isSet(operation[field]))
}

export function hasHttpSource(source: PolicySource): boolean {
  return HTTP_SOURCE.some(field => isSet(source[field]))
}

export function hasIgnoredSource(source: PolicySource): boolean {
  return IGNORED_SOURCE.some(field => isSet(source[field]))
}

/** Whether anything is left of it at L4. */
export function hasL4Operation(operation: PolicyOperation): boolean {
  return isSet(operation.ports) || isSet(operation.notPorts)
}

export function hasL4Source(source: PolicySource): boolean {
  const unseen: readonly string[] = [...HTTP_SOURCE, ...IGNORED_SOURCE]
  return Object.entries(source).some(([field, values]) => !unseen.includes(field) && isSet(values))
}

function isSet(values: readonly string[] | undefined): boolean {
  return values !== undefined && values.length > 0
}
