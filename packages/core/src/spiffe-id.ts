/**
 * SPIFFE IDs as values. Only `@ambient/identity` proves that a peer holds one.
 *
 * Source: SPIFFE-ID specification, with the character sets that go-spiffe enforces. Stricter than ztunnel's parser,
 * which accepts empty segments, ports, queries and percent-encoding; no certificate of istiod needs those.
 */
import { CoreError } from './errors.ts'

const SCHEME = 'spiffe://'
/** The specification asks for support of at least this many bytes, and lets us refuse more. */
const MAX_URI_BYTES = 2048
const MAX_TRUST_DOMAIN_BYTES = 255
const TRUST_DOMAIN = /^[a-z0-9._-]+$/
const SEGMENT = /^[a-zA-Z0-9._-]+$/

/** A parsed SPIFFE ID. Compare with {@link sameSpiffeId} or by `uri`; never by object identity. */
export interface SpiffeId {
  /** `cluster.local` in `spiffe://cluster.local/ns/shop/sa/web`. */
  readonly trustDomain: string
  /** `/ns/shop/sa/web`, or the empty string for the ID of a trust domain itself. */
  readonly path: string
  /** The whole ID as text. */
  readonly uri: string
}

/** Istio's convention for workloads: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`. */
export interface WorkloadIdentity {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}

export type SpiffeIdResult =
  | { readonly ok: true; readonly id: SpiffeId }
  | { readonly ok: false; readonly reason: string }

/** Parses without throwing; `reason` says which rule the text breaks. */
export function readSpiffeId(text: string): SpiffeIdResult {
  const reason = problemOf(text)
  if (reason !== undefined) return { ok: false, reason }
  const rest = text.slice(SCHEME.length)
  const slash = rest.indexOf('/')
  const trustDomain = slash < 0 ? rest : rest.slice(0, slash)
  return { ok: true, id: Object.freeze({ trustDomain, path: slash < 0 ? '' : rest.slice(slash), uri: text }) }
}

/** @throws CoreError `AMBIENT_E_SPIFFE_ID` with the broken rule. */
export function parseSpiffeId(text: string): SpiffeId {
  const result = readSpiffeId(text)
  if (!result.ok)
    throw new CoreError(
      'AMBIENT_E_SPIFFE_ID',
      `invalid SPIFFE ID ${JSON.stringify(text.slice(0, 256))}: ${result.reason}`,
      { layer: 'identity' },
    )
  return result.id
}

/**
 * The ID of a Kubernetes workload in Istio's form.
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when a part is empty or holds a character that an ID may not.
 */
export function workloadSpiffeId(of: WorkloadIdentity): SpiffeId {
  return parseSpiffeId(`${SCHEME}${of.trustDomain}/ns/${of.namespace}/sa/${of.serviceAccount}`)
}

/** Namespace and service account of an ID in Istio's form, `undefined` for any other path. */
export function workloadIdentityOf(id: SpiffeId): WorkloadIdentity | undefined {
  const parts = id.path.split('/')
  const [, ns, namespace, sa, serviceAccount] = parts
  if (parts.length !== 5 || ns !== 'ns' || sa !== 'sa' || !namespace || !serviceAccount) return undefined
  return { trustDomain: id.trustDomain, namespace, serviceAccount }
}

export function sameSpiffeId(a: SpiffeId, b: SpiffeId): boolean {
  return a.uri === b.uri
}

/** The broken rule of a trust domain name, `undefined` when it is good. */
export function trustDomainProblem(name: string): string | undefined {
  if (name === '') return 'trust domain is missing'
  if (name.length > MAX_TRUST_DOMAIN_BYTES)
    return `trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`
  if (!TRUST_DOMAIN.test(name))
    return 'trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores'
  return undefined
}

function problemOf(text: string): string | undefined {
  if (text === '') return 'cannot be empty'
  if (!text.startsWith(SCHEME)) return 'scheme is missing or invalid'
  if (text.length > MAX_URI_BYTES) return `longer than ${MAX_URI_BYTES} bytes`
  const rest = text.slice(SCHEME.length)
  const slash = rest.indexOf('/')
  const domain = trustDomainProblem(slash < 0 ? rest : rest.slice(0, slash))
  if (domain !== undefined) return domain
  return slash < 0 ? undefined : pathProblem(rest.slice(slash + 1))
}

function pathProblem(path: string): string | undefined {
  const segments = path.split('/')
  for (const [index, segment] of segments.entries()) {
    if (segment === '')
      return index === segments.length - 1
        ? 'path cannot have a trailing slash'
        : 'path cannot contain empty segments'
    if (segment === '.' || segment === '..') return 'path cannot contain dot segments'
    if (!SEGMENT.test(segment))
      return 'path segment characters are limited to letters, numbers, dots, dashes, and underscores'
  }
  return undefined
}
