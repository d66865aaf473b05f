/** Ztunnels in this process, with real sockets and certificates, for tests of the whole path. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Clock,
  type ConnectionRecord,
  type Credentials,
  type Service,
  systemClock,
  topics,
  type Workload,
} from '@ambient/core'
import { createDirectory, type WritableDirectory } from '@ambient/discovery'
import { type CertificateAuthority, createLocalSigner } from '@ambient/identity'
import { createTestIdentities, type TestIdentities } from '@ambient/identity/testing'
import { type Authorization, createPolicyStore, emptyMatch, type PolicyStore } from '@ambient/policy'
import { configFromEnvironment } from '../src/config/environment.ts'
import { createZtunnel, type Ztunnel } from '../src/ztunnel.ts'
import { endpointOf, service, workload } from './fixtures.ts'
import {
  cleanup,
  connectTo,
  deferred,
  loopbackAddress,
  readBytes,
  serve,
  socksRequest,
  type TestServer,
} from './sockets.ts'

export interface TestNode {
  readonly name: string
  readonly ip: string
  readonly ztunnel: Ztunnel
  /** Log lines so far. */
  lines(): string[]
  access(): string[]
  /** Resolves with the n-th line (from 1) that fits, past or to come. */
  line(fits: RegExp, count?: number): Promise<string>
}

export interface TestMesh {
  readonly ca: CertificateAuthority
  readonly directory: WritableDirectory
  readonly policies: PolicyStore
  readonly records: ConnectionRecord[]
  /** Resolves with the n-th record (from 1) that fits, past or to come. */
  record(fits: (record: ConnectionRecord) => boolean, count?: number): Promise<ConnectionRecord>
  node(name: string, env?: Record<string, string>, clock?: Clock): Promise<TestNode>
  /** A SOCKS5 connection of a workload, through the negotiation; `reply` is the server's code. */
  connect(from: Workload, host: string, port: number): Promise<{ socket: Socket; reply: number }>
  credentials(account: string): Promise<Credentials>
  readonly revocationList: TestIdentities['revocationList']
}

export const SECRET = 'correct horse'

export async function createTestMesh(
  workloads: readonly Workload[],
  services: readonly Service[] = [],
): Promise<TestMesh> {
  const { ca, credentials, revocationList } = await createTestIdentities()
  const directory = createDirectory()
  const policies = createPolicyStore()
  directory.replace({ workloads, services })
  const secrets = await mkdtemp(join(tmpdir(), 'ztunnel-'))
  cleanup(() => rm(secrets, { recursive: true }))
  for (const { namespace, name } of workloads) {
    await writeFile(join(secrets, `${namespace}.${name}`), SECRET)
    await chmod(join(secrets, `${namespace}.${name}`), 0o600)
  }
  const records: ConnectionRecord[] = []
  const waiting = new Set<() => void>()
  cleanup(
    topics.connection.subscribe(record => {
      records.push(record)
      for (const check of [...waiting]) check()
    }),
  )
  return {
    ca,
    directory,
    policies,
    records,
    record(fits, count = 1) {
      const { promise, resolve } = deferred<ConnectionRecord>()
      const check = (): void => {
        const found = records.filter(fits)[count - 1]
        if (found === undefined) return
        waiting.delete(check)
        resolve(found)
      }
      waiting.add(check)
      check()
      return promise
    },
    node: (name, env = {}, clock = systemClock) =>
      startNode({ name, env, ca, directory, policies, secrets, clock }),
    connect: (from, host, port) => socksConnect(from, host, port),
    revocationList,
    credentials: account => credentials({ namespace: 'default', serviceAccount: account }),
  }
}

async function startNode(options: {
  name: string
  env: Record<string, string>
  ca: CertificateAuthority
  directory: WritableDirectory
  policies: PolicyStore
  secrets: string
  clock: Clock
}): Promise<TestNode> {
  const ip = loopbackAddress()
  let text = ''
  const waiting = new Set<() => void>()
  const config = configFromEnvironment(
    {
      XDS_ADDRESS: '',
      FAKE_CA: options.env['SPIFFE_ENDPOINT_SOCKET'] === undefined ? 'true' : 'false',
      NODE_NAME: options.name,
      INSTANCE_IP: ip,
      SOCKS5_SECRETS_DIR: options.secrets,
      RUST_LOG: 'debug',
      CONNECTION_TERMINATION_DEADLINE: '5s',
      ...options.env,
    },
    { read: () => undefined },
  )
  const ztunnel = createZtunnel({
    config,
    discovery: { directory: options.directory, policies: options.policies },
    // Else what the configuration names.
    ...(config.workloadApi === undefined ? { signer: createLocalSigner(options.ca) } : {}),
    clock: options.clock,
    write: lines => {
      text += lines
      for (const check of [...waiting]) check()
    },
  })
  cleanup(() => ztunnel.close({ graceMs: 0 }))
  await ztunnel.start()
  await ztunnel.ready
  const lines = (): string[] => text.split('\n').slice(0, -1)
  return {
    name: options.name,
    ip,
    ztunnel,
    lines,
    access: () => lines().filter(line => /\taccess\tconnection (complete|failed)\t/.test(line)),
    line(fits, count = 1) {
      const { promise, resolve } = deferred<string>()
      const check = (): void => {
        const found = lines().filter(line => fits.test(line))[count - 1]
        if (found === undefined) return
        waiting.delete(check)
        resolve(found)
      }
      waiting.add(check)
      check()
      return promise
    },
  }
}

async function socksConnect(
  from: Workload,
  host: string,
  port: number,
): Promise<{ socket: Socket; reply: number }> {
  const address = from.addresses[0] ?? ''
  const socket = await connectTo(address, 15080, address)
  const user = Buffer.from(`${from.namespace}/${from.name}`)
  const secret = Buffer.from(SECRET)
  socket.write(
    Buffer.concat([
      Buffer.from([5, 1, 2, 1, user.length]),
      user,
      Buffer.from([secret.length]),
      secret,
      socksRequest(host, port),
    ]),
  )
  const answer = await readBytes(socket, 2 + 2 + 10)
  return { socket, reply: answer[5] ?? -1 }
}

/** A workload policy in one line. */
export function policy(
  name: string,
  action: 'Allow' | 'Deny',
  match: Partial<typeof emptyMatch>,
  parts: Partial<Authorization> = {},
): Authorization {
  return {
    name,
    namespace: 'default',
    scope: 'Namespace',
    action,
    dryRun: false,
    rules: [{ clauses: [{ matches: [{ ...emptyMatch, ...match }] }] }],
    ...parts,
  }
}

export const principal = (account: string) => ({
  kind: 'exact' as const,
  value: `cluster.local/ns/default/sa/${account}`,
})

/** `key=value` fields of a log line. */
export function fieldsOf(line: string): Record<string, string> {
  const fields: Record<string, string> = {}
  for (const [, key = '', quoted, bare] of line.matchAll(/([a-z_.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))/g))
    fields[key] = quoted ?? bare ?? ''
  return fields
}

export interface World {
  readonly mesh: TestMesh
  readonly a: TestNode
  readonly b: TestNode
  readonly client: Workload
  readonly stranger: Workload
  readonly server: Workload
  readonly outside: Workload
  readonly web: Service
  readonly app: TestServer
}

/** `client`, `stranger` and `outside` on node a, `server` on node b behind the service `web`, port 80. */
export async function world(
  onConnection: (socket: Socket) => void,
  options: { env?: Record<string, string>; server?: Partial<Workload> } = {},
): Promise<World> {
  const serverIp = loopbackAddress()
  const app = await serve(onConnection, { host: serverIp })
  const web = service('web', loopbackAddress(), { ports: new Map([[80, app.port]]) })
  const on = (name: string, parts: Partial<Workload> = {}): Workload =>
    workload(name, { addresses: [loopbackAddress()], node: 'a', ...parts })
  const client = on('client')
  const stranger = on('stranger')
  const outside = on('outside', { protocol: 'TCP' })
  const server = workload('server', {
    addresses: [serverIp],
    node: 'b',
    services: endpointOf(web),
    ...options.server,
  })
  const mesh = await createTestMesh([client, stranger, outside, server], [web])
  const [a, b] = await Promise.all([mesh.node('a', options.env), mesh.node('b', options.env)])
  return { mesh, a, b, client, stranger, outside, server, web, app }
}

export const echo = (socket: Socket): void => void socket.pipe(socket)
export const inbound = (record: { connection: { direction: string } }): boolean =>
  record.connection.direction === 'inbound'
export const outbound = (record: { connection: { direction: string } }): boolean => !inbound(record)
