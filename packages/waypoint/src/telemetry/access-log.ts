/**
 * One line per request or connection: Envoy's default text format, or the same values as JSON under Istio's keys. Behind
 * them who called, and for what, under ztunnel's keys: neither format names the caller.
 */

/** Everything that is not known stays away; bytes and durations are always known. */
export interface AccessEntry {
  /** Milliseconds since the epoch. */
  readonly startMs: number
  readonly method?: string | undefined
  /** As it came, before rewrites. */
  readonly path?: string | undefined
  readonly protocol?: string | undefined
  /** 0: no response. */
  readonly status: number
  readonly flags: readonly string[]
  readonly detail?: string | undefined
  readonly terminationDetail?: string | undefined
  readonly transportFailure?: string | undefined
  readonly receivedBytes: number
  readonly sentBytes: number
  readonly durationMs: number
  readonly upstreamServiceMs?: number | undefined
  readonly forwardedFor?: string | undefined
  readonly userAgent?: string | undefined
  readonly requestId?: string | undefined
  readonly authority?: string | undefined
  readonly upstreamHost?: string | undefined
  readonly upstreamCluster?: string | undefined
  readonly downstreamLocal: string
  readonly downstreamRemote: string
  readonly routeName?: string | undefined
}

/** ztunnel's names for who called and what was meant, in ztunnel's order; what is not known is not there. */
export type AccessParties = Readonly<Record<`${'src' | 'dst'}.${string}`, string>>

type Value = string | number | undefined

/** Envoy's default format, then `key="value"`; a value that could break out of its quotes is escaped. No newline at the end. */
export function formatAccessText(entry: AccessEntry, parties: AccessParties): string {
  const line = [
    `[${new Date(entry.startMs).toISOString()}]`,
    `"${plain(entry.method)} ${plain(entry.path)} ${plain(entry.protocol)}"`,
    plain(entry.status),
    flagsOf(entry),
    plain(entry.detail),
    plain(entry.terminationDetail),
    quoted(entry.transportFailure),
    plain(entry.receivedBytes),
    plain(entry.sentBytes),
    plain(Math.round(entry.durationMs)),
    plain(entry.upstreamServiceMs === undefined ? undefined : Math.round(entry.upstreamServiceMs)),
    quoted(entry.forwardedFor),
    quoted(entry.userAgent),
    quoted(entry.requestId),
    quoted(entry.authority),
    quoted(entry.upstreamHost),
    plain(entry.upstreamCluster),
    // The upstream's local address is the pool's matter, and there is no TLS inside the tunnel that could name a server.
    '-',
    addressOf(entry.downstreamLocal),
    entry.downstreamRemote,
    '-',
    plain(entry.routeName),
    ...Object.entries(parties).map(([key, value]) => `${key}=${quoted(value)}`),
  ]
  return line.join(' ')
}

/** One object, keys in Istio's order, `null` for what the text shows as `-`; then `parties` and `extra`. */
export function formatAccessJson(
  entry: AccessEntry,
  parties: AccessParties,
  extra: Readonly<Record<string, string | number>> = {},
): string {
  const known = (value: Value): string | number | null => (value === undefined || value === '' ? null : value)
  return JSON.stringify({
    start_time: new Date(entry.startMs).toISOString(),
    method: known(entry.method),
    path: known(entry.path),
    protocol: known(entry.protocol),
    response_code: entry.status,
    response_flags: flagsOf(entry),
    response_code_details: known(entry.detail),
    connection_termination_details: known(entry.terminationDetail),
    upstream_transport_failure_reason: known(entry.transportFailure),
    bytes_received: entry.receivedBytes,
    bytes_sent: entry.sentBytes,
    duration: Math.round(entry.durationMs),
    upstream_service_time:
      entry.upstreamServiceMs === undefined ? null : String(Math.round(entry.upstreamServiceMs)),
    x_forwarded_for: known(entry.forwardedFor),
    user_agent: known(entry.userAgent),
    request_id: known(entry.requestId),
    authority: known(entry.authority),
    upstream_host: known(entry.upstreamHost),
    upstream_cluster: known(entry.upstreamCluster),
    upstream_local_address: null,
    downstream_local_address: entry.downstreamLocal,
    downstream_remote_address: entry.downstreamRemote,
    requested_server_name: null,
    route_name: known(entry.routeName),
    ...parties,
    ...extra,
  })
}

/** A refused tunnel's authority is the caller's words; what is no address could pass for the fields behind it. */
function addressOf(text: string): string {
  return /^[\w.:%[\]-]+$/.test(text) ? text : '-'
}

function flagsOf({ flags }: AccessEntry): string {
  const set = flags.filter(flag => flag !== '-')
  return set.length === 0 ? '-' : set.join(',')
}

function quoted(value: Value): string {
  return `"${plain(value)}"`
}

function plain(value: Value): string {
  if (value === undefined || value === '') return '-'
  return typeof value === 'number' ? String(value) : escapeText(value)
}

/** Quotes, backslashes and control characters, in JSON's words. */
function escapeText(text: string): string {
  return /["\\\p{Cc}]/u.test(text) ? JSON.stringify(text).slice(1, -1) : text
}
