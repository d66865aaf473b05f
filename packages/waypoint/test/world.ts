/** A waypoint in this process between a real HBONE client and a real HBONE server that stands for a ztunnel. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request as httpRequest, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { text as readText } from 'node:stream/consumers'
import {
  type AppProtocol,
  type Clock,
  type ConnectionRecord,
  pump,
  type Service,
  topics,
  type Workload,
} from '@ambient/core'
import { dial, type Listener, listen, socketChannel } from '@ambient/core/node'
import { type ConfigStore, createDirectory, type WritableDirectory } from '@ambient/discovery'
import {
  createHbonePool,
  createHboneServer,
  createTraceparent,
  type HbonePool,
  type Tunnel,
  type TunnelRequest,
} from '@ambient/hbone'
import { createLocalSigner, type IdentityManager } from '@ambient/identity'
import { createTestIdentities, type TestIdentities } from '@ambient/identity/testing'
import type { AuthorizationPolicy } from '@ambient/policy'
import { afterEach } from 'vitest'
import {
  configFromEnvironment,
  createWaypoint,
  type RequestRecord,
  requestTopic,
  type Waypoint,
} from '../src/index.ts'
import { webService, workload } from './process-fixtures.ts'

const cleanups: (() => unknown)[] = []

/** Runs after the test, last first. */
export function cleanup(run: () => unknown): void {
  cleanups.push(run)
}

afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

/** A block of loopback addresses that this test process has for itself. */
const block = 20 + (process.pid % 200)
let next = 1
export function loopbackAddress(): string {
  const serial = next++
  return `127.${block}.${220 + (serial >> 8)}.${serial & 255 || 1}`
}

export interface World {
  readonly waypoint: Waypoint
  readonly waypointIp: string
  readonly identities: TestIdentities
  /** Of an account, as its tunnels and its endpoint show them. */
  credentialsOf(account: string): ReturnType<TestIdentities['credentials']>
  readonly directory: WritableDirectory
  readonly store: TestStore
  readonly web: Service
  readonly server: Workload
  readonly client: Workload
  readonly pool: HbonePool
  /** What the server's ztunnel was asked for. */
  readonly tunnels: TunnelRequest[]
  readonly requests: RequestRecord[]
  readonly connections: ConnectionRecord[]
  /** Log lines so far. */
  lines(): string[]
  /** Resolves with the first line that fits, past or to come. */
  line(fits: RegExp): Promise<string>
  /** A tunnel of the client (or another account) to a port of the service, or to another authority. */
  tunnel(options?: TunnelOptions): Promise<Tunnel>
  fetch(path: string, options?: FetchOptions): Promise<Answer>
  metrics(): Promise<string>
  admin(path: string, method?: string): Promise<{ status: number; body: string }>
}

export interface TunnelOptions {
  readonly authority?: string
  readonly account?: string
  readonly headers?: readonly (readonly [string, string])[]
}

export interface FetchOptions extends TunnelOptions {
  readonly method?: string
  readonly fields?: Record<string, string>
  readonly body?: string
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface WorldOptions {
  readonly app?: (request: IncomingMessage, response: import('node:http').ServerResponse) => void
  /** Instead of `app`: what the server does with a TCP connection. */
  readonly tcp?: (socket: Socket) => void
  readonly protocol?: AppProtocol | undefined
  readonly env?: Record<string, string>
  readonly policies?: readonly AuthorizationPolicy[]
  readonly meshConfig?: ConfigStore['meshConfig']
  readonly clock?: Clock
  readonly random?: () => number
  /** Who the waypoint is, over the world's CA. Default: a certificate that the CA signs. */
  readonly identitiesOf?: (identities: TestIdentities) => Promise<IdentityManager>
}

/** `client` calls the service `web` (port 80) through the waypoint `default/waypoint`. */
export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const identities = await createTestIdentities()
  const [waypointIp, serverIp, clientIp, vip] = [1, 2, 3, 4].map(loopbackAddress) as [
    string,
    string,
    string,
    string,
  ]
  const appPort = await startApp(options, serverIp)
  const web = webService(vip, appPort, options.protocol)
  const server = workload('server', {
    addresses: [serverIp],
    services: new Map([[`${web.namespace}/${web.hostname}`, web.ports]]),
  })
  const client = workload('client', { addresses: [clientIp] })
  const directory = createDirectory()
  directory.replace({ workloads: [client, server], services: [web] })
  const store = createTestStore(options.policies ?? [], options.meshConfig)
  const tunnels = await startDestination(identities, serverIp)
  const log = collectLines()
  const given = await options.identitiesOf?.(identities)
  const waypoint = createWaypoint({
    config: configFromEnvironment(
      {
        POD_NAMESPACE: 'default',
        GATEWAY_NAME: 'waypoint',
        POD_NAME: 'waypoint-1',
        INSTANCE_IP: waypointIp,
        XDS_ADDRESS: '',
        CA_ADDRESS: '',
        ...options.env,
      },
      { read: () => undefined },
    ),
    ...(given === undefined ? { signer: createLocalSigner(identities.ca) } : { identities: given }),
    discovery: { directory, configuration: store },
    write: log.write,
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    ...(options.random === undefined ? {} : { random: options.random }),
  })
  cleanup(() => waypoint.close({ graceMs: 0 }))
  await waypoint.start()
  await waypoint.ready
  const pool = createHbonePool()
  cleanup(() => pool.close({ graceMs: 0 }))
  const tunnel = async (request: TunnelOptions = {}): Promise<Tunnel> => {
    const account = request.account ?? 'client'
    const credentials = await accountOf(identities, account)
    return pool.connect({
      credentials,
      to: { address: waypointIp, port: 15008 },
      expect: [(await accountOf(identities, 'waypoint')).id],
      authority: request.authority ?? `${vip}:80`,
      localAddress: clientIp,
      headers: request.headers ?? [['traceparent', createTraceparent()]],
    })
  }
  return {
    waypoint,
    waypointIp,
    identities,
    credentialsOf: account => accountOf(identities, account),
    directory,
    store,
    web,
    server,
    client,
    pool,
    tunnels,
    ...watchTopics(),
    lines: log.lines,
    line: log.line,
    tunnel,
    fetch: async (path, request = {}) => exchange(await tunnel(request), path, request),
    metrics: async () => (await local(waypointIp, 15020, '/stats/prometheus')).body,
    admin: (path, method = 'GET') => local(waypointIp, 15000, path, method),
  }
}

/** One request over one tunnel, which is closed afterwards. */
export async function exchange(tunnel: Tunnel, path: string, options: FetchOptions = {}): Promise<Answer> {
  const socket = tunnel.socket()
  const request = httpRequest({
    method: options.method ?? 'GET',
    path,
    headers: { host: 'web', connection: 'close', 'user-agent': 'test', ...options.fields },
    createConnection: () => socket as unknown as Socket,
  })
  request.end(options.body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: await readText(response),
  }
}

const issued = new WeakMap<TestIdentities, Map<string, ReturnType<TestIdentities['credentials']>>>()

function accountOf(
  identities: TestIdentities,
  serviceAccount: string,
): ReturnType<TestIdentities['credentials']> {
  const known = issued.get(identities) ?? new Map<string, ReturnType<TestIdentities['credentials']>>()
  issued.set(identities, known)
  const own =
    known.get(serviceAccount) ??
    (serviceAccount.startsWith('spiffe://')
      ? identities.credentials(serviceAccount)
      : identities.credentials({ namespace: 'default', serviceAccount }))
  known.set(serviceAccount, own)
  return own
}

async function local(
  host: string,
  port: number,
  path: string,
  method = 'GET',
): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://${host}:${port}${path}`, { method, headers: { connection: 'close' } })
  return { status: response.status, body: await response.text() }
}

async function startApp({ app, tcp }: WorldOptions, host: string): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server | ReturnType<typeof createTcpServer> =
    tcp === undefined
      ? createServer(app ?? ((_request, response) => void response.end('hello')))
      : createTcpServer({ allowHalfOpen: true }, tcp)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, host)
  await once(server, 'listening')
  cleanup(async () => {
    server.close()
    for (const socket of sockets) socket.destroy()
    await once(server, 'close')
  })
  return (server.address() as AddressInfo).port
}

/** The ztunnel of the server's node: accepts tunnels for its address, and delivers. */
async function startDestination(identities: TestIdentities, host: string): Promise<TunnelRequest[]> {
  const tunnels: TunnelRequest[] = []
  const credentials = await accountOf(identities, 'server')
  const hbone = createHboneServer({
    credentials: () => credentials,
    onTunnel: async request => {
      tunnels.push(request)
      const [address = '', port = ''] = request.authority.split(':')
      const socket = await dial({ host: address, port: Number(port) })
      await pump(request.accept(), socketChannel(socket))
    },
  })
  const listener: Listener = await listen({ host, port: 15008, onConnection: socket => hbone.accept(socket) })
  cleanup(async () => {
    await listener.close()
    await hbone.close({ graceMs: 0 })
  })
  return tunnels
}

export interface TestStore extends ConfigStore {
  set(
    parts: Partial<
      Pick<
        ConfigStore,
        'authorizationPolicies' | 'requestAuthentications' | 'virtualServices' | 'httpRoutes' | 'meshConfig'
      >
    >,
  ): void
}

function createTestStore(
  policies: readonly AuthorizationPolicy[],
  meshConfig: ConfigStore['meshConfig'],
): TestStore {
  const listeners = new Set<() => void>()
  const held = {
    virtualServices: [] as ConfigStore['virtualServices'],
    httpRoutes: [] as ConfigStore['httpRoutes'],
    authorizationPolicies: policies as ConfigStore['authorizationPolicies'],
    requestAuthentications: [] as ConfigStore['requestAuthentications'],
    meshConfig,
  }
  return {
    get virtualServices() {
      return held.virtualServices
    },
    get httpRoutes() {
      return held.httpRoutes
    },
    get authorizationPolicies() {
      return held.authorizationPolicies
    },
    get requestAuthentications() {
      return held.requestAuthentications
    },
    get meshConfig() {
      return held.meshConfig
    },
    destinationRules: [],
    gateways: [],
    podLabels: () => undefined,
    watch(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    set(parts) {
      Object.assign(held, parts)
      for (const listener of [...listeners]) listener()
    },
  }
}

function collectLines() {
  let written = ''
  const waiting = new Set<() => void>()
  const lines = (): string[] => written.split('\n').slice(0, -1)
  return {
    write: (text: string): void => {
      written += text
      for (const check of [...waiting]) check()
    },
    lines,
    line: (fits: RegExp): Promise<string> =>
      new Promise(resolve => {
        const check = (): void => {
          const found = lines().find(line => fits.test(line))
          if (found === undefined) return
          waiting.delete(check)
          resolve(found)
        }
        waiting.add(check)
        check()
      }),
  }
}

function watchTopics(): { requests: RequestRecord[]; connections: ConnectionRecord[] } {
  const requests: RequestRecord[] = []
  const connections: ConnectionRecord[] = []
  cleanup(requestTopic.subscribe(record => requests.push(record)))
  cleanup(topics.connection.subscribe(record => connections.push(record)))
  return { requests, connections }
}
