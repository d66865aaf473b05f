/** Other processes' meshes: found by their control sockets, asked over them. */
import { rm, realpath } from 'node:fs/promises'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { meshDefaults } from '../defaults.ts'
import { MeshError, type MeshErrorCode } from '../errors.ts'
import { createJoinedWorkload, type JoinedWorkload } from '../join/joined-workload.ts'
import { controlSockets } from './location.ts'
import { type ControlFailure, type MeshGreeting, paths } from './protocol.ts'
import type { JoinFacts, JoinRequest, MeshStatus } from './types.ts'

/** A mesh that runs in some process of this user. */
export interface RunningMesh {
  /** Of its manifests. */
  readonly folder: string
  readonly pid: number
  readonly socketPath: string
}

export interface MeshClient {
  readonly folder: string
  readonly cidr: string
  /** @throws MeshError `AMBIENT_E_MESH_CONTROL` */
  status(): Promise<MeshStatus>
  /** Resolves when every proxy has acknowledged what was last published. */
  synced(signal?: AbortSignal): Promise<void>
  /**
   * A workload of the mesh for this process, until it leaves or this process ends.
   * @throws MeshError `AMBIENT_E_MESH_CONTROL`, `AMBIENT_E_MESH_NOT_FOUND`, `AMBIENT_E_MESH_OPTIONS`
   */
  join(request: JoinRequest): Promise<JoinedWorkload>
  /** Leaves with every workload that joined. Idempotent. */
  close(): Promise<void>
}

/** Every mesh of this user that answers; the sockets of those that died are removed. */
export async function findMeshes(): Promise<readonly RunningMesh[]> {
  const found = await Promise.all((await controlSockets()).map(greet))
  return found
    .flatMap(mesh => (mesh === undefined ? [] : [mesh]))
    .sort((a, b) => (a.folder < b.folder ? -1 : 1))
}

/**
 * The mesh of a folder, or the only one that runs.
 * @throws MeshError `AMBIENT_E_MESH_NOT_RUNNING`
 */
export async function connectMesh(options: { readonly folder?: string } = {}): Promise<MeshClient> {
  const running = await findMeshes()
  const wanted = options.folder === undefined ? undefined : await canonical(options.folder)
  const matching: (RunningMesh & MeshGreeting)[] = []
  for (const mesh of running)
    if (wanted === undefined || (await canonical(mesh.folder)) === wanted)
      matching.push({ ...mesh, cidr: (await ask<MeshGreeting>(mesh.socketPath, 'GET', paths.mesh)).cidr })
  const [only, second] = matching
  if (only === undefined || second !== undefined) throw notRunning(options.folder, running, matching)
  return new SocketClient(only)
}

class SocketClient implements MeshClient {
  readonly folder: string
  readonly cidr: string
  readonly #socketPath: string
  readonly #joined = new Set<JoinedWorkload>()
  readonly #closing = new AbortController()

  constructor(mesh: RunningMesh & MeshGreeting) {
    this.folder = mesh.folder
    this.cidr = mesh.cidr
    this.#socketPath = mesh.socketPath
  }

  status(): Promise<MeshStatus> {
    return ask(this.#socketPath, 'GET', paths.status, this.#closing.signal)
  }

  async synced(signal?: AbortSignal): Promise<void> {
    const both = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal])
    await ask(this.#socketPath, 'POST', paths.synced, both)
  }

  async join(wanted: JoinRequest): Promise<JoinedWorkload> {
    const sent = send(this.#socketPath, 'POST', paths.join, this.#closing.signal)
    sent.end(JSON.stringify(wanted))
    const response = await responseOf(sent)
    if (response.statusCode !== 200) throw failureOf(await text(response))
    // One line, whole: it is far smaller than what one read brings.
    const facts: JoinFacts = JSON.parse(await firstLine(response))
    const workload = createJoinedWorkload(facts, async () => {
      this.#joined.delete(workload)
      const closed = new Promise<void>(resolve => response.once('close', resolve))
      if (!response.closed) sent.destroy()
      if (!response.closed) await closed
    })
    response.on('error', () => {})
    response.resume()
    // The mesh is gone, so the place is.
    response.once('close', () => void workload.leave())
    this.#joined.add(workload)
    return workload
  }

  async close(): Promise<void> {
    await Promise.all([...this.#joined].map(workload => workload.leave()))
    this.#closing.abort(new MeshError('AMBIENT_E_MESH_CLOSED', 'the client was closed'))
  }
}

/** `undefined`: nobody is there. */
async function greet(socketPath: string): Promise<RunningMesh | undefined> {
  try {
    const signal = AbortSignal.timeout(meshDefaults.greetTimeoutMs)
    const { folder, pid } = await ask<MeshGreeting>(socketPath, 'GET', paths.mesh, signal)
    return { folder, pid, socketPath }
  } catch (error) {
    const cause = error instanceof MeshError ? error.cause : undefined
    // Refused: the process died without removing it.
    if (cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED')
      await rm(socketPath, { force: true })
    return undefined
  }
}

async function ask<Answer>(
  socketPath: string,
  method: string,
  path: string,
  signal?: AbortSignal,
): Promise<Answer> {
  const sent = send(socketPath, method, path, signal)
  sent.end()
  const response = await responseOf(sent)
  const body = await text(response).catch(cause => {
    throw new MeshError('AMBIENT_E_MESH_CONTROL', 'the mesh ended meanwhile', { cause })
  })
  if (response.statusCode !== 200) throw failureOf(body)
  return JSON.parse(body)
}

function send(socketPath: string, method: string, path: string, signal?: AbortSignal): ClientRequest {
  return request({ socketPath, method, path, agent: false, ...(signal === undefined ? {} : { signal }) })
}

function responseOf(sent: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    sent.once('response', resolve)
    sent.on('error', cause =>
      reject(new MeshError('AMBIENT_E_MESH_CONTROL', 'the mesh does not answer', { cause })),
    )
  })
}

function firstLine(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let line = ''
    const onData = (chunk: Buffer): void => {
      line += chunk.toString('utf8')
      if (!line.includes('\n')) return
      response.off('data', onData)
      resolve(line)
    }
    response.on('data', onData)
    response.once('close', () => reject(new MeshError('AMBIENT_E_MESH_CONTROL', 'the mesh ended meanwhile')))
  })
}

function failureOf(body: string): MeshError {
  const failure: ControlFailure = JSON.parse(body)
  // The other side has the same list of codes, or a newer one.
  return new MeshError(failure.code as MeshErrorCode, failure.message)
}

function notRunning(
  folder: string | undefined,
  running: readonly RunningMesh[],
  matching: readonly RunningMesh[],
): MeshError {
  const list = (matching.length > 1 ? matching : running)
    .map(mesh => `${mesh.folder} (pid ${mesh.pid})`)
    .join(', ')
  if (matching.length > 1)
    return new MeshError('AMBIENT_E_MESH_NOT_RUNNING', `several meshes run here; name one: ${list}`)
  if (running.length === 0) return new MeshError('AMBIENT_E_MESH_NOT_RUNNING', 'no mesh runs here')
  return new MeshError('AMBIENT_E_MESH_NOT_RUNNING', `no mesh of ${folder} runs; there are: ${list}`)
}

async function canonical(folder: string): Promise<string> {
  return realpath(folder).catch(() => resolve(folder))
}
