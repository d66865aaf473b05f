/** Back ends behind real HBONE servers, and a dispatch desk in front of them. */
import { once } from 'node:events'
import type { Server } from 'node:net'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { parseSpiffeId, pump, type Workload } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createDirectory } from '@ambient/discovery'
import { createHbonePool, createHboneServer, type HboneServer } from '@ambient/hbone'
import { createTestIdentities, type TestIdentities } from '@ambient/identity/testing'
import { afterEach } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import type { HttpRequest, HttpResponse } from '../src/http/message.ts'
import type { ClusterEndpoint } from '../src/route/endpoints.ts'
import type { ClusterRef, RetryPolicy } from '../src/route/ir.ts'
import { createDispatcher, type Dispatcher, type DispatcherOptions } from '../src/upstream/dispatch.ts'
import type { DispatchOrder } from '../src/upstream/order.ts'

const HBONE_PORT = 15_008
const block = 20 + (process.pid % 200)
let next = 1
const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

export function cleanup(run: () => unknown): void {
  cleanups.push(run)
}

export const identities: Promise<TestIdentities> = createTestIdentities()
export const cluster: ClusterRef = {
  namespace: 'shop',
  hostname: 'web.shop.svc.cluster.local',
  port: 80,
  subset: undefined,
}

export interface Backend {
  readonly endpoint: ClusterEndpoint
  /** Tunnels that were opened so far. */
  readonly tunnels: () => number
  readonly ztunnel: HboneServer
}

/** An application, whatever `server` speaks, behind a ztunnel of its own. */
export async function backend(
  server: Server,
  options: {
    readonly hbone?: boolean /** What a CONNECT waits for. */
    readonly gate?: () => Promise<void>
  } = {},
): Promise<Backend> {
  const address = `127.${block}.${100 + (next >> 8)}.${next++ & 255 || 1}`
  server.listen(0, address)
  await once(server, 'listening')
  cleanup(() => server.close())
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  let tunnels = 0
  const own = await (await identities).credentials({ namespace: 'shop', serviceAccount: 'web' })
  const ztunnel = createHboneServer({
    credentials: () => own,
    onTunnel: async tunnel => {
      tunnels++
      await options.gate?.()
      const socket = await dial({ host: address, port, timeoutMs: 1_000 })
      socket.on('error', () => {})
      void pump(socketChannel(socket), tunnel.accept(), {})
    },
  })
  const listener = await listen({
    host: address,
    port: HBONE_PORT,
    onConnection: socket => ztunnel.accept(socket),
  })
  cleanup(() => listener.close())
  cleanup(() => ztunnel.close({ graceMs: 0 }))
  const workload = workloadAt(address)
  const hbone = options.hbone ?? true
  return {
    endpoint: { key: `${address}:${port}`, workload, address, port, hbone },
    tunnels: () => tunnels,
    ztunnel,
  }
}

function workloadAt(address: string): Workload {
  return {
    uid: `Kubernetes//Pod/shop/${address}`,
    name: address,
    namespace: 'shop',
    addresses: [address],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'web',
    node: 'node-a',
    canonicalName: 'web',
    canonicalRevision: 'v1',
    workloadType: 'pod',
    workloadName: 'web',
    nativeTunnel: false,
    services: new Map(),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
  }
}

/** A desk whose cluster has these endpoints, in turn. */
export async function desk(
  backends: readonly Backend[],
  more: Partial<DispatcherOptions> & { readonly mirrors?: readonly Backend[] } = {},
): Promise<Dispatcher> {
  const { mirrors = [], ...options } = more
  const source = (await identities).source()
  const self = (await (await identities).credentials({ namespace: 'shop', serviceAccount: 'waypoint' })).id
  const pool = createHbonePool()
  const dispatcher = createDispatcher({
    pool,
    credentials: source,
    self,
    directory: createDirectory(),
    resolve: wanted => ({
      cluster: wanted,
      key: wanted.hostname,
      service: undefined,
      endpoints: (wanted.hostname === 'copy' ? mirrors : backends).map(one => one.endpoint),
      loadBalancer: 'ROUND_ROBIN',
      connectionPool: undefined,
    }),
    baggage: '',
    random: () => 0,
    ...options,
  })
  cleanup(async () => {
    await dispatcher.close({ graceMs: 0 })
    await pool.close({ graceMs: 0 })
  })
  return dispatcher
}

export const noRetry: RetryPolicy = {
  attempts: 0,
  on: new Set(),
  statusCodes: new Set(),
  perTryTimeoutMs: undefined,
  backoffBaseMs: 1,
  backoffMaxMs: 10,
}

export interface Ask extends Partial<Omit<DispatchOrder, 'request'>> {
  readonly method?: string
  readonly path?: string
  /** As pairs, where fields are repeated. */
  readonly fields?: Readonly<Record<string, string>> | readonly (readonly [string, string])[]
  readonly trailers?: readonly (readonly [string, string])[]
  readonly body?: Readable | string
  readonly signal?: AbortSignal
  readonly upgrade?: string
  readonly http2?: boolean
}

export function order(ask: Ask = {}): DispatchOrder {
  const { method = 'GET', path = '/', fields = {}, body, signal, upgrade, http2, trailers, ...rest } = ask
  const request: HttpRequest = {
    method,
    scheme: 'http',
    authority: 'web',
    path,
    headers: new HeaderFields(isPairs(fields) ? fields : Object.entries(fields)),
    protocol: http2 === true ? 'HTTP/2' : 'HTTP/1.1',
    body: typeof body === 'string' ? Readable.from([Buffer.from(body)]) : body,
    trailers: () => (trailers === undefined ? undefined : new HeaderFields(trailers)),
    upgrade,
    signal: signal ?? new AbortController().signal,
  }
  return {
    cluster,
    request,
    retry: noRetry,
    mirrors: [],
    protocol: undefined,
    caller: {
      address: '127.0.0.1',
      port: 1,
      identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
    },
    ...rest,
  }
}

function isPairs(fields: NonNullable<Ask['fields']>): fields is readonly (readonly [string, string])[] {
  return Array.isArray(fields)
}

export async function textOf(response: HttpResponse): Promise<string> {
  return response.body === undefined ? '' : String(await buffer(response.body))
}
