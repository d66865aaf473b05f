/**
 * The headers of a CONNECT, byte for byte as ztunnel writes them, and as leniently read. None of them is evidence: they
 * feed telemetry, never authorization.
 */
import { randomBytes } from 'node:crypto'
import { formatHostPort } from '@ambient/core'
import type { HeaderList } from './http2/hpack.ts'

export interface BaggageSource {
  readonly clusterId: string
  readonly namespace: string
  /** `deployment`, `cronjob`, `pod` or `job`. */
  readonly workloadType: string
  readonly workloadName: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly region: string
  readonly zone: string
}

export interface Baggage {
  readonly clusterId?: string
  readonly namespace?: string
  readonly workloadName?: string
  readonly canonicalName?: string
  readonly canonicalRevision?: string
  readonly region?: string
  readonly zone?: string
}

const BAGGAGE_KEYS: Readonly<Record<string, keyof Baggage>> = Object.freeze({
  'k8s.cluster.name': 'clusterId',
  'k8s.namespace.name': 'namespace',
  'k8s.deployment.name': 'workloadName',
  'k8s.cronjob.name': 'workloadName',
  'k8s.pod.name': 'workloadName',
  'k8s.job.name': 'workloadName',
  'service.name': 'canonicalName',
  'service.version': 'canonicalRevision',
  'cloud.region': 'region',
  'cloud.availability_zone': 'zone',
})

/** What upstream cannot read as text. */
const INVISIBLE = /[^\t\x20-\x7e]/

/** `k8s.cluster.name=…,k8s.namespace.name=…`; absent values are left out, nothing is encoded. May be empty. */
export function formatBaggage(source: BaggageSource): string {
  const pairs: readonly (readonly [string, string])[] = [
    ['k8s.cluster.name', source.clusterId],
    ['k8s.namespace.name', source.namespace],
    [`k8s.${source.workloadType}.name`, source.workloadName],
    ['service.name', source.canonicalName],
    ['service.version', source.canonicalRevision],
    ['cloud.region', source.region],
    ['cloud.availability_zone', source.zone],
  ]
  return pairs
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}

/**
 * Reads every `baggage` line. A line with anything but visible ASCII voids all of it; unknown keys do not count, the last
 * of equal ones does, and an empty value takes it back.
 */
export function parseBaggage(lines: readonly string[]): Baggage {
  const found: Partial<Record<keyof Baggage, string>> = {}
  for (const line of lines) {
    if (INVISIBLE.test(line)) return {}
    for (const pair of line.split(',')) {
      const [key = '', value] = pair.split('=')
      const field = Object.hasOwn(BAGGAGE_KEYS, key) ? BAGGAGE_KEYS[key] : undefined
      if (field === undefined || value === undefined) continue
      if (value === '') delete found[field]
      else found[field] = value
    }
  }
  return found
}

/** `for="10.0.0.1:43126"`, with `;host=FQDN` when the service is known. */
export function formatForwarded(of: {
  readonly address: string
  readonly port: number
  readonly host?: string
}): string {
  const source = `for="${formatHostPort(of.address, of.port)}"`
  return of.host === undefined ? source : `${source};host=${of.host}`
}

/** The `host` of a `forwarded` header, `undefined` when there is none. */
export function parseForwardedHost(value: string | undefined): string | undefined {
  if (value === undefined || INVISIBLE.test(value)) return undefined
  for (const part of value.split(';')) {
    const trimmed = part.trim()
    if (!trimmed.startsWith('host=')) continue
    const host = trimmed.slice('host='.length).replace(/^"/, '').replace(/"$/, '')
    return host === '' ? undefined : host
  }
  return undefined
}

/** `00-<32 hex>-<16 hex>-00`, random: a tunnel never continues an application's trace. */
export function createTraceparent(): string {
  const random = randomBytes(24).toString('hex')
  return `00-${random.slice(0, 32)}-${random.slice(32)}-00`
}

/** The trace id of a well-formed `traceparent`. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i.exec(traceparent ?? '')?.[1]?.toLowerCase()
}

/**
 * Whether a tunnel came through a gateway: its inner CONNECT names the network that it comes from, and that is not our
 * own. Case does not count, an empty name is a name, and of repeated ones the first is read.
 */
export function isFromOtherNetwork(headers: HeaderList, ownNetwork: string): boolean {
  const [from] = headerValues(headers, 'x-forwarded-network')
  if (from === undefined || INVISIBLE.test(from)) return false
  return lowerAscii(from) !== lowerAscii(ownNetwork)
}

function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, letter => letter.toLowerCase())
}

/** Values of a header in order of appearance. */
export function headerValues(headers: HeaderList, name: string): readonly string[] {
  return headers.filter(header => header[0] === name).map(header => header[1])
}

/** Repeated values joined with `,`, as RFC 9110 lets one read them. */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  const values = headerValues(headers, name)
  return values.length === 0 ? undefined : values.join(',')
}
