/** Admin, statistics and readiness of one proxy: where they listen, and how they end. */
import { isLoopback } from '../address.ts'
import { messageOf } from '../errors.ts'
import { formatHostPort } from '../host-port.ts'
import type { Bind } from '../node/bind.ts'
import { type HttpHandler, type HttpListener, serveHttp } from './http.ts'

export type EndpointKind = 'admin' | 'stats' | 'readiness'

export interface ProxyEndpoints {
  /** @throws CoreError `AMBIENT_E_LISTEN` */
  listen(kind: EndpointKind, port: number, handler: HttpHandler): Promise<void>
  /** `host:port` of each listener. */
  addresses(): Readonly<Record<EndpointKind, string[]>>
  /** Idempotent. */
  close(): Promise<void>
}

/** On the instance's own address where that is a loopback one, so that many share a machine; else as ztunnel. */
export function createEndpoints(at: {
  readonly instanceIp: string
  readonly ipv6Enabled: boolean
  /** Default: sockets of our own. */
  readonly bind?: Bind | undefined
}): ProxyEndpoints {
  const open: { readonly kind: EndpointKind; readonly listener: HttpListener }[] = []
  const bind = at.bind === undefined ? {} : { bind: at.bind }
  const hostsOf = (kind: EndpointKind): readonly string[] => {
    if (isLoopback(at.instanceIp)) return [at.instanceIp]
    if (kind === 'admin') return ['127.0.0.1', ...(at.ipv6Enabled ? ['::1'] : [])]
    return [at.ipv6Enabled ? '::' : '0.0.0.0']
  }
  return {
    async listen(kind, port, handler) {
      for (const host of hostsOf(kind)) {
        const listener = await tryListen({ host, port, handler, ...bind })
        if (listener !== undefined) open.push({ kind, listener })
      }
    },
    addresses() {
      const of = (kind: EndpointKind): string[] =>
        open
          .filter(endpoint => endpoint.kind === kind)
          .map(({ listener: { address, port } }) => formatHostPort(address, port))
      return { admin: of('admin'), stats: of('stats'), readiness: of('readiness') }
    },
    async close() {
      await Promise.all(open.map(({ listener }) => listener.close()))
    },
  }
}

/** A machine without IPv6 has neither `::1` nor `::`. */
async function tryListen(at: Parameters<typeof serveHttp>[0]): Promise<HttpListener | undefined> {
  try {
    return await serveHttp(at)
  } catch (error) {
    if (!at.host.includes(':') || !isMissingFamily(error)) throw error
    return at.host === '::' ? serveHttp({ ...at, host: '0.0.0.0' }) : undefined
  }
}

function isMissingFamily(error: unknown): boolean {
  return /EAFNOSUPPORT|EADDRNOTAVAIL/.test(
    `${messageOf(error)} ${error instanceof Error ? messageOf(error.cause) : ''}`,
  )
}
