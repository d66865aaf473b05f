/** What a policy refused, as a sentence, from the access lines of ztunnels and waypoints. */

const FIELD = /(?<=\s)([\w.]+)=("(?:[^"\\]|\\.)*"|\S+)/g
/** Of a ztunnel, the side that decides; the caller's own only knows that it was refused. */
const REJECTED = /^connection closed due to policy (?:rejection: )?/
const HTTP_METHOD = /^[A-Z]+$/

/** `undefined` for every other line: who asked for what, and which policy, or lack of one, was against it. */
export function denialOf(line: string): string | undefined {
  if (!line.includes('\taccess\t')) return undefined
  const fields = new Map(
    // Escapes stay: what a client sends must not reach a terminal as it is.
    [...line.matchAll(FIELD)].map(([, name = '', value = '']) => [name, value.replace(/^"|"$/g, '')]),
  )
  const reason = line.includes('\tdenied by policy\t') ? fields.get('reason') : rejection(fields)
  if (reason === undefined) return undefined
  const policy = fields.get('policy')
  const rule = fields.get('rule')
  const by = policy === undefined ? '' : ` by ${policy}${rule === undefined ? '' : ` rule[${rule}]`}`
  return `denied: ${who(fields)} to ${what(fields)}${by}: ${reason}`
}

function rejection(fields: ReadonlyMap<string, string>): string | undefined {
  const error = fields.get('error')
  return error !== undefined && REJECTED.test(error) ? error.replace(REJECTED, '') : undefined
}

/** As a policy's principals have it. */
function who(fields: ReadonlyMap<string, string>): string {
  const identity = fields.get('src.identity')
  if (identity !== undefined) return identity.replace(/^spiffe:\/\//, '')
  return `${fields.get('src.addr') ?? 'a stranger'} (plaintext)`
}

function what(fields: ReadonlyMap<string, string>): string {
  const [method, service] = [fields.get('method'), fields.get('dst.service')]
  if (method !== undefined && HTTP_METHOD.test(method))
    return `${method} ${fields.get('authority') ?? service ?? ''}${fields.get('path') ?? ''}`
  const address = fields.get('dst.hbone_addr') ?? fields.get('dst.addr')
  const port = address === undefined ? '' : `:${address.split(':').at(-1)}`
  return service === undefined ? (address ?? 'an unknown destination') : `${service}${port}`
}
