/** The control socket of a running mesh: other processes of the same user ask it for its state, and for a place in it. */
import { chmod, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isAmbientError, messageOf } from '@ambient/core'
import { MeshError } from '../errors.ts'
import type { JoinedWorkload } from '../join/joined-workload.ts'
import { readJoinRequest } from '../join/join-request.ts'
import { controlSocket, ensureControlFolder, removeControlSocket } from './location.ts'
import { type ControlFailure, MAX_REQUEST_BYTES, type MeshGreeting, paths } from './protocol.ts'
import type { JoinFacts, JoinRequest, MeshStatus } from './types.ts'

const LISTEN_ATTEMPTS = 3

/** What the socket shows and does. */
export interface ControlledMesh {
  greeting(): MeshGreeting
  status(): Promise<MeshStatus>
  synced(signal: AbortSignal): Promise<void>
  join(request: JoinRequest, signal: AbortSignal): Promise<JoinedWorkload>
}

export interface ControlServer {
  readonly socketPath: string
  /** Ends every request and gives back every place. Idempotent. */
  close(): Promise<void>
}

/** Listens for the user's own processes. */
export async function startControlServer(mesh: ControlledMesh, block: number): Promise<ControlServer> {
  const working = new Set<Promise<void>>()
  const server = createServer((request, response) => {
    const work = serve(mesh, request, response).finally(() => working.delete(work))
    working.add(work)
  })
  const socketPath = await listenSomewhere(server, block)
  let closing: Promise<void> | undefined
  return {
    socketPath,
    close() {
      closing ??= (async () => {
        const closed = new Promise<void>(resolve => server.close(() => resolve()))
        server.closeAllConnections()
        await Promise.all(working)
        await closed
        await removeControlSocket(socketPath)
      })()
      return closing
    },
  }
}

/** The mesh that was the last one may take the folder away between our look and our bind: then once more. */
async function listenSomewhere(server: Server, block: number): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const socketPath = controlSocket(await ensureControlFolder(), process.pid, block)
    // Of a process that had our number and died.
    await rm(socketPath, { force: true })
    try {
      await listenOn(server, socketPath)
      return socketPath
    } catch (error) {
      if (attempt === LISTEN_ATTEMPTS) throw error
    }
  }
}

async function listenOn(server: Server, socketPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', cause =>
      reject(
        new MeshError('AMBIENT_E_MESH_CONTROL', `cannot listen on ${socketPath}: ${cause.message}`, {
          cause,
        }),
      ),
    )
    server.listen(socketPath, resolve)
  })
  await chmod(socketPath, 0o600)
}

/** Never rejects. */
async function serve(
  mesh: ControlledMesh,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort(new Error('the client is gone')))
  try {
    const route = `${request.method} ${request.url}`
    if (route === `GET ${paths.mesh}`) return answer(response, 200, mesh.greeting())
    if (route === `GET ${paths.status}`) return answer(response, 200, await mesh.status())
    if (route === `POST ${paths.synced}`) {
      await mesh.synced(gone.signal)
      return answer(response, 200, {})
    }
    if (route === `POST ${paths.join}`) {
      const workload = await mesh.join(readJoinRequest(await readBody(request)), gone.signal)
      return await lend(workload, response, gone.signal)
    }
    answer(response, 404, { code: 'AMBIENT_E_MESH_CONTROL', message: `nothing at ${route}` })
  } catch (error) {
    answer(response, 400, failureOf(error))
  }
}

/** The place is the client's for as long as it stays connected. */
async function lend(workload: JoinedWorkload, response: ServerResponse, gone: AbortSignal): Promise<void> {
  const { name, namespace, address, node, identity, enrolled, environment, socks } = workload
  const facts: JoinFacts = { name, namespace, address, node, identity, enrolled, environment, socks }
  response.writeHead(200, { 'content-type': 'application/json' })
  response.write(`${JSON.stringify(facts)}\n`)
  if (!gone.aborted) await new Promise<void>(resolve => gone.addEventListener('abort', () => resolve()))
  await workload.leave()
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > MAX_REQUEST_BYTES) throw new MeshError('AMBIENT_E_MESH_CONTROL', 'the request is too long')
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

function failureOf(error: unknown): ControlFailure {
  return { code: isAmbientError(error) ? error.code : 'AMBIENT_E_MESH_CONTROL', message: messageOf(error) }
}
