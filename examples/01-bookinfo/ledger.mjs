// The access log of the ztunnels, read from their standard output: what each said of each connection.

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

function parseFields(line) {
  const fields = {}
  for (const [, key, value] of line.matchAll(FIELD))
    fields[key] = value.startsWith('"') ? JSON.parse(value) : value
  return fields
}
