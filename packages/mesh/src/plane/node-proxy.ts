/** The ztunnel of one node, as a process of its own that knows the control plane's address and nothing else. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Clock, formatHostPort } from '@ambient/core'
import { configFromEnvironment, createZtunnel } from '@ambient/ztunnel'
import { meshDefaults, proxyPorts } from '../defaults.ts'
import { MeshError } from '../errors.ts'
import type { MeshListener } from '../events.ts'
import { embedProgram } from '../process/embedded.ts'
import { createHeldSockets } from '../process/held-sockets.ts'
import type { Reaper } from '../process/reaper.ts'
import { type Program, type ProgramEvents, superviseProgram } from '../process/supervise.ts'
import { askProxy, podsServed } from './proxy-state.ts'
import type { NodeFiles } from './secret-files.ts'

export interface NodeProxyOptions {
  readonly node: string
  readonly address: string
  readonly controlPlaneUrl: string
  readonly files: NodeFiles
  readonly clusterId: string
  readonly clusterDomain: string
  readonly network: string
  readonly trustDomain: string
  readonly certificateTtlMs: number
  /** `socks5://IP:PORT` of the relay between nodes. */
  readonly relay: string | undefined
  readonly logLevel: string
  readonly execPath: string
  readonly environment: Readonly<Record<string, string>>
  /** No process of its own. */
  readonly inProcess: boolean
  readonly clock: Clock
  readonly reaper: Reaper
  readonly emit: MeshListener
}

export interface NodeProxy {
  readonly node: string
  readonly address: string
  readonly program: Program
  readonly adminUrl: string
  readonly statsUrl: string
  readonly readyUrl: string
  start(): void
  /** @throws MeshError `AMBIENT_E_MESH_NOT_READY`; the present process goes on then. */
  restart(): Promise<void>
  /** @throws MeshError `AMBIENT_E_MESH_NOT_READY` */
  ready(signal?: AbortSignal): Promise<void>
  /** Resolves when it listens for a pod; rejects only with the signal's reason. */
  awaitPod(pod: string, signal: AbortSignal): Promise<void>
}

export function createNodeProxy(options: NodeProxyOptions): NodeProxy {
  const { node, address, clock } = options
  const url = (port: number): string => `http://${formatHostPort(address, port)}`
  const program = createProgram(options)
  const proxy: NodeProxy = {
    node,
    address,
    program,
    adminUrl: url(proxyPorts.admin),
    statsUrl: url(proxyPorts.stats),
    readyUrl: `${url(proxyPorts.readiness)}/healthz/ready`,
    start: () => program.start(),
    restart: () => program.replace({ graceMs: meshDefaults.restartDrainMs }),
    ready: signal => awaitReady(proxy, clock, signal),
    awaitPod: podWaiter(url(proxyPorts.admin), clock),
  }
  return proxy
}

function createProgram(options: NodeProxyOptions): Program {
  const { emit, clock, node } = options
  const source = { kind: 'ztunnel', name: node } as const
  const env = proxyEnvironment(options)
  const events: ProgramEvents = {
    started: pid => emit({ kind: 'started', source, pid }),
    line: (stream, line) => emit({ kind: 'output', source, stream, line }),
    exited: exit => emit({ kind: 'exited', source, ...exit }),
  }
  if (options.inProcess) {
    const config = configFromEnvironment(env, { read: readIfPresent })
    return embedProgram({ clock, events, create: write => createZtunnel({ config, write, clock }) })
  }
  return superviseProgram({
    argv: [options.execPath, ztunnelFiles().bin],
    cwd: options.files.folder,
    env,
    restart: 'Always',
    clock,
    reaper: options.reaper,
    sockets: createHeldSockets(),
    events,
  })
}

export function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** The built entry files of the ztunnel package, wherever it is installed. */
export function ztunnelFiles(): { readonly bin: string; readonly capture: string } {
  const manifest = createRequire(import.meta.url).resolve('@ambient/ztunnel/package.json')
  const dist = join(dirname(manifest), 'dist')
  return { bin: join(dist, 'bin.js'), capture: pathToFileURL(join(dist, 'capture.js')).href }
}

/** The variables of Istio's ztunnel, and those of the rootless mode. */
function proxyEnvironment(options: NodeProxyOptions): Record<string, string> {
  return {
    ...options.environment,
    PROXY_MODE: 'shared',
    NODE_NAME: options.node,
    INSTANCE_IP: options.address,
    POD_NAME: `ztunnel-${options.node}`,
    POD_NAMESPACE: meshDefaults.rootNamespace,
    SERVICE_ACCOUNT: 'ztunnel',
    XDS_ADDRESS: options.controlPlaneUrl,
    CA_ADDRESS: options.controlPlaneUrl,
    XDS_ROOT_CA: options.files.rootFile,
    CA_ROOT_CA: options.files.rootFile,
    AUTH_TOKEN: options.files.tokenFile,
    SECRET_TTL: `${Math.max(1, Math.round(options.certificateTtlMs / 1_000))}s`,
    ISTIO_META_CLUSTER_ID: options.clusterId,
    CLUSTER_DOMAIN: options.clusterDomain,
    NETWORK: options.network,
    TRUST_DOMAIN: options.trustDomain,
    SOCKS5_SECRETS_DIR: options.files.secretsDir,
    CONNECTION_TERMINATION_DEADLINE: '1s',
    LISTEN_HANDLES: 'ipc',
    RUST_LOG: options.logLevel,
    ...(options.relay === undefined ? {} : { NODE_RELAY: options.relay }),
  }
}

/** Pods that wait at the same time share each question. */
function podWaiter(adminUrl: string, clock: Clock): NodeProxy['awaitPod'] {
  let asking: Promise<ReadonlySet<string>> | undefined
  const served = (): Promise<ReadonlySet<string>> => {
    asking ??= askProxy(`${adminUrl}/config_dump`)
      .then(({ text }) => podsServed(text))
      .finally(() => {
        asking = undefined
      })
    return asking
  }
  return async (pod, signal) => {
    for (;;) {
      signal.throwIfAborted()
      if ((await served()).has(pod)) return
      await pause(clock, signal)
    }
  }
}

/** Until the next look, or until the signal. */
function pause(clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = clock.after(meshDefaults.pollMs, done, { keepAlive: true })
    signal?.addEventListener('abort', done)
  })
}

async function awaitReady(proxy: NodeProxy, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  const deadline = clock.monotonic() + meshDefaults.proxyReadyTimeoutMs
  let last = 'it does not answer'
  while (clock.monotonic() < deadline) {
    signal?.throwIfAborted()
    const answer = await askProxy(proxy.readyUrl)
    if (answer.status === 200) return
    last = answer.text
    await pause(clock, signal)
  }
  throw new MeshError(
    'AMBIENT_E_MESH_NOT_READY',
    `the ztunnel of ${proxy.node} is not ready after ${meshDefaults.proxyReadyTimeoutMs} ms: ${last}`,
  )
}
