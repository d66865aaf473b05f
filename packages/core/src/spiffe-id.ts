/**
 * SPIFFE IDs as values. Only `@ambient/identity` proves that a peer holds one.
 *
 * Source: SPIFFE-ID specification, with the character sets that go-spiffe enforces. Stricter than ztunnel's parser,
 * which accepts empty segments, ports, queries and percent-encoding; no certificate of istiod needs those.
 */
import { CoreError } from './errors.ts'
import { quoteText } from './quote.ts'

const SCHEME = 'spiffe://'
/** The specification asks for support of at least this many bytes, and lets us refuse more. */
const MAX_URI_BYTES = 2048
const MAX_TRUST_DOMAIN_BYTES = 255
const TRUST_DOMAIN = /^[a-z0-9._-]+$/
const SEGMENT = /^[a-zA-Z0-9._-]+$/
/** Of a text that is refused, in messages. */
const MAX_SHOWN = 256

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

/** Which rule a text breaks, for programs. */
export type SpiffeIdCode =
  | 'empty'
  | 'scheme'
  | 'too-long'
  | 'trust-domain-missing'
  | 'trust-domain-too-long'
  | 'trust-domain-characters'
  /** Of a path that is given by itself; an ID as text cannot break it. */
  | 'path-leading-slash'
  | 'path-empty-segment'
  | 'path-trailing-slash'
  | 'path-dot-segment'
  | 'path-characters'

/** The broken rule: `code` for programs, `reason` for people. */
export interface SpiffeIdProblem {
  readonly code: SpiffeIdCode
  readonly reason: string
}

export type SpiffeIdResult =
  | { readonly ok: true; readonly id: SpiffeId }
  | ({ readonly ok: false } & SpiffeIdProblem)

export type TrustDomainResult =
  | { readonly ok: true; readonly trustDomain: string }
  | ({ readonly ok: false } & SpiffeIdProblem)

const REASONS: Readonly<Record<SpiffeIdCode, string>> = {
  empty: 'cannot be empty',
  scheme: 'scheme is missing or invalid',
  'too-long': `longer than ${MAX_URI_BYTES} bytes`,
  'trust-domain-missing': 'trust domain is missing',
  'trust-domain-too-long': `trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`,
  'trust-domain-characters':
    'trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores',
  'path-leading-slash': 'path must have a leading slash',
  'path-empty-segment': 'path cannot contain empty segments',
  'path-trailing-slash': 'path cannot have a trailing slash',
  'path-dot-segment': 'path cannot contain dot segments',
  'path-characters': 'path segment characters are limited to letters, numbers, dots, dashes, and underscores',
}

/** Parses without throwing; `code` and `reason` say which rule the text breaks. */
export function readSpiffeId(text: string): SpiffeIdResult {
  const code = brokenRule(text)
  if (code !== undefined) return refusal(code)
  const rest = text.slice(SCHEME.length)
  const slash = rest.indexOf('/')
  const trustDomain = slash < 0 ? rest : rest.slice(0, slash)
  return { ok: true, id: Object.freeze({ trustDomain, path: slash < 0 ? '' : rest.slice(slash), uri: text }) }
}

/** @throws CoreError `AMBIENT_E_SPIFFE_ID` with the broken rule. */
export function parseSpiffeId(text: string): SpiffeId {
  const result = readSpiffeId(text)
  if (!result.ok) throw invalid('SPIFFE ID', text, result)
  return result.id
}

/** The trust domain that a name (`cluster.local`) or a whole SPIFFE ID speaks of, as people configure it. */
export function readTrustDomain(text: string): TrustDomainResult {
  if (text.includes(':/')) {
    const read = readSpiffeId(text)
    return read.ok ? { ok: true, trustDomain: read.id.trustDomain } : read
  }
  const code = trustDomainRule(text)
  return code === undefined ? { ok: true, trustDomain: text } : refusal(code)
}

/** @throws CoreError `AMBIENT_E_SPIFFE_ID` with the broken rule. */
export function parseTrustDomain(text: string): string {
  const result = readTrustDomain(text)
  if (!result.ok) throw invalid('trust domain', text, result)
  return result.trustDomain
}

/**
 * An ID from its parts; none of them can reach beyond itself. No segments: the ID of the trust domain.
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when a part is empty, a dot segment, or holds a character that it may not, a slash among them.
 */
export function spiffeIdOf(trustDomain: string, ...segments: readonly string[]): SpiffeId {
  const domain = trustDomainRule(trustDomain)
  if (domain !== undefined) throw invalid('trust domain', trustDomain, refusal(domain))
  for (const segment of segments) {
    const code = segmentRule(segment)
    if (code !== undefined) throw invalid('SPIFFE ID segment', segment, refusal(code))
  }
  return parseSpiffeId(`${SCHEME}${[trustDomain, ...segments].join('/')}`)
}

/**
 * An ID from a trust domain and a path with its leading slash, or the empty string.
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` with the broken rule.
 */
export function spiffeIdWithPath(trustDomain: string, path: string): SpiffeId {
  const domain = trustDomainRule(trustDomain)
  if (domain !== undefined) throw invalid('trust domain', trustDomain, refusal(domain))
  if (path !== '' && !path.startsWith('/'))
    throw invalid('SPIFFE ID path', path, refusal('path-leading-slash'))
  return parseSpiffeId(`${SCHEME}${trustDomain}${path}`)
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
  const code = trustDomainRule(name)
  return code === undefined ? undefined : REASONS[code]
}

function brokenRule(text: string): SpiffeIdCode | undefined {
  if (text === '') return 'empty'
  if (!text.startsWith(SCHEME)) return 'scheme'
  if (isLonger(text, MAX_URI_BYTES)) return 'too-long'
  const rest = text.slice(SCHEME.length)
  const slash = rest.indexOf('/')
  const domain = trustDomainRule(slash < 0 ? rest : rest.slice(0, slash))
  if (domain !== undefined) return domain
  return slash < 0 ? undefined : pathRule(rest.slice(slash + 1))
}

function trustDomainRule(name: string): SpiffeIdCode | undefined {
  if (name === '') return 'trust-domain-missing'
  if (isLonger(name, MAX_TRUST_DOMAIN_BYTES)) return 'trust-domain-too-long'
  return TRUST_DOMAIN.test(name) ? undefined : 'trust-domain-characters'
}

function pathRule(path: string): SpiffeIdCode | undefined {
  const segments = path.split('/')
  for (const [index, segment] of segments.entries()) {
    const code = segmentRule(segment)
    if (code === 'path-empty-segment' && index === segments.length - 1) return 'path-trailing-slash'
    if (code !== undefined) return code
  }
  return undefined
}

function segmentRule(segment: string): SpiffeIdCode | undefined {
  if (segment === '') return 'path-empty-segment'
  if (segment === '.' || segment === '..') return 'path-dot-segment'
  return SEGMENT.test(segment) ? undefined : 'path-characters'
}

/** Counts bytes of UTF-8. No character has more than three for each of its units. */
function isLonger(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true
  return text.length * 3 > maxBytes && new TextEncoder().encode(text).length > maxBytes
}

function refusal(code: SpiffeIdCode): { readonly ok: false } & SpiffeIdProblem {
  return { ok: false, code, reason: REASONS[code] }
}

function invalid(what: string, text: string, { reason }: SpiffeIdProblem): CoreError {
  return new CoreError(
    'AMBIENT_E_SPIFFE_ID',
    `invalid ${what} ${quoteText(text.slice(0, MAX_SHOWN))}: ${reason}`,
    {
      layer: 'identity',
    },
  )
}
