/** What a port speaks, as Istio reads it: `appProtocol`, else the beginning of the port's name. */
import type { AppProtocol } from '@ambient/core'
import type { ServicePort, ServiceResource } from '../resources/types.ts'

const TOKENS: ReadonlyMap<string, AppProtocol> = new Map([
  ['http', 'HTTP11'],
  ['http_proxy', 'HTTP11'],
  ['kubernetes.io/ws', 'HTTP11'],
  ['http2', 'HTTP2'],
  ['kubernetes.io/h2c', 'HTTP2'],
  ['grpc', 'GRPC'],
  ['grpc-web', 'GRPC'],
  ['https', 'TLS'],
  ['kubernetes.io/wss', 'TLS'],
  ['tls', 'TLS'],
  ['tcp', 'TCP'],
  ['mongo', 'TCP'],
  ['redis', 'TCP'],
  ['mysql', 'TCP'],
])
/** SMTP, DNS, MySQL, MongoDB: the server speaks first, so that nobody can find out by looking. */
const NEVER_SNIFFED: ReadonlySet<number> = new Set([25, 53, 3306, 27017])

/** A port without an entry did not say. */
export function appProtocolsOf({ spec }: ServiceResource): ReadonlyMap<number, AppProtocol> {
  const entries = spec.ports.flatMap(port => {
    const protocol = port.protocol === 'TCP' ? appProtocolOf(port) : undefined
    return protocol === undefined ? [] : [[port.port, protocol] as const]
  })
  return new Map(entries)
}

/** What is written beats the name even when nobody knows it. */
export function appProtocolOf({ name, port, appProtocol }: ServicePort): AppProtocol | undefined {
  return (
    TOKENS.get((appProtocol ?? prefixOf(name)).toLowerCase()) ?? (NEVER_SNIFFED.has(port) ? 'TCP' : undefined)
  )
}

function prefixOf(name: string): string {
  if (name.toLowerCase().startsWith('grpc-web')) return 'grpc-web'
  const dash = name.indexOf('-')
  return dash < 0 ? name : name.slice(0, dash)
}
