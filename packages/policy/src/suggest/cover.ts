/** Recorded calls as few operations as say exactly them: values are joined where everything else is equal. */

/** Of one caller to one destination. */
export interface Call {
  readonly port: string
  readonly method?: string
  readonly host?: string
  readonly path?: string
}

export interface CoveredOperation {
  readonly ports: readonly string[]
  readonly methods: readonly string[]
  readonly hosts: readonly string[]
  readonly paths: readonly string[]
}

const FIELDS = ['paths', 'methods', 'hosts', 'ports'] as const

/** Every call is in one of them, and nothing else is. */
export function coverCalls(calls: readonly Call[]): readonly CoveredOperation[] {
  let operations: readonly CoveredOperation[] = calls.map(({ port, method, host, path }) => ({
    ports: [port],
    methods: listOf(method),
    hosts: listOf(host),
    paths: listOf(path),
  }))
  for (const field of FIELDS) operations = joinBy(operations, field)
  return operations
}

/** Those that differ in one field only become one. */
function joinBy(
  operations: readonly CoveredOperation[],
  field: (typeof FIELDS)[number],
): readonly CoveredOperation[] {
  const groups = new Map<string, { readonly like: CoveredOperation; readonly values: Set<string> }>()
  for (const operation of operations) {
    const key = JSON.stringify({ ...operation, [field]: [] })
    const group = groups.get(key) ?? { like: operation, values: new Set<string>() }
    for (const value of operation[field]) group.values.add(value)
    groups.set(key, group)
  }
  return [...groups.values()].map(({ like, values }) => ({ ...like, [field]: [...values].sort() }))
}

function listOf(value: string | undefined): readonly string[] {
  return value === undefined ? [] : [value]
}

/** `/orders/1234` as `/orders/{*}`: segments that look like names of single things. */
export function templateOf(path: string): string {
  const segments = path.split('/')
  const isLiteral = (segment: string): boolean =>
    /^([A-Za-z0-9\-._~!$&'()+,;:@=]|%[0-9A-Fa-f]{2})*$/.test(segment)
  if (!segments.some(isIdentifier) || !segments.every(isLiteral)) return path
  return segments.map(segment => (isIdentifier(segment) ? '{*}' : segment)).join('/')
}

/** Numbers, UUIDs, long hexadecimal, and long words with digits in them. */
function isIdentifier(segment: string): boolean {
  return (
    /^\d+$/.test(segment) ||
    /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(segment) ||
    /^(?=.*\d)[0-9a-f]{12,}$/i.test(segment) ||
    /^(?=.*\d)[A-Za-z0-9_-]{16,}$/.test(segment)
  )
}
