// The access logs of the proxies, read from their standard output: what ztunnels said of each connection, and what
// waypoints said of each request.

const FIELD = /([a-z_.]+)=("(?:[^"\\]|\\.)*"|[^ \t]+)/g
/** Time, level, target, message, fields: tabs between them, as ztunnel prints. */
export const ACCESS_LINE =
  /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\t(info|error)\taccess\tconnection complete\tsrc\.addr=\S+.* direction="(inbound|outbound)" bytes_sent=\d+ bytes_recv=\d+ duration="\d+ms"/

export function createLedger() {
  const entries = []
  return {
    entries,
    /** Listens to a mesh's events. */
    listen(event) {
      if (event.kind !== 'output' || event.source.kind !== 'ztunnel') return
      if (!event.line.includes('\taccess\t') || !event.line.includes('connection complete')) return
      entries.push({ node: event.source.name, line: event.line, ...parseFields(event.line) })
    },
    /** Entries after `mark` that have all these fields. */
    find: (wanted, mark = 0) =>
      entries
        .slice(mark)
        .filter(entry => Object.entries(wanted).every(([key, value]) => entry[key] === value)),
    mark: () => entries.length,
  }
}

/** `[time] "GET /path HTTP/1.1" 200 - via_upstream …`, Envoy's default. */
const REQUEST = /^\[(\S+)\] "(\S+) (\S+) ([^"]+)" (\d+) (\S+) (\S+) /

export function createRequestLog() {
  const entries = []
  return {
    listen(event) {
      if (event.kind !== 'output' || event.source.kind !== 'waypoint') return
      const [, at, method, path, protocol, status, flags, details] = REQUEST.exec(event.line) ?? []
      if (at === undefined) return
      entries.push({ at, method, path, protocol, status: Number(status), flags, details, line: event.line })
    },
    find: (wanted, mark = 0) =>
      entries
        .slice(mark)
        .filter(entry => Object.entries(wanted).every(([key, value]) => entry[key] === value)),
    mark: () => entries.length,
  }
}

function parseFields(line) {
  const fields = {}
  for (const [, key, value] of line.matchAll(FIELD))
    fields[key] = value.startsWith('"') ? JSON.parse(value) : value
  return fields
}
