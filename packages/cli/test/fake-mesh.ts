/** A mesh's control socket without a mesh: fixed facts, and a way in that leads straight to a local port. */
import { once } from 'node:events'
import { chmod, mkdir } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { MeshStatus } from '@ambient/mesh'

export interface FakeMesh {
  status: MeshStatus
  /** Workloads that are joined now. */
  readonly joined: () => number
  /** Every join request. */
  readonly requests: readonly unknown[]
  close(): Promise<void>
}

export interface FakeMeshOptions {
  readonly folder: string
  readonly status?: Partial<MeshStatus>
  /** Where connections through the mesh lead; without it they are refused by policy. */
  readonly port?: number
  /** Why nobody may join. */
  readonly refusal?: { readonly code: string; readonly message: string }
  /** Called before each answer of status. */
  readonly onStatus?: (mesh: FakeMesh) => void
}

export async function startFakeMesh(options: FakeMeshOptions): Promise<FakeMesh> {
  const sockets = new Set<net.Socket>()
  const requests: unknown[] = []
  let joined = 0
  const entrance = net.createServer(socket => void enter(socket, options.port))
  const track = (socket: net.Socket): void => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
  }
  entrance.on('connection', track).listen(0, '127.0.0.1')
  await once(entrance, 'listening')
  const address = entrance.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const control = http.createServer((request, response) => {
    if (request.url === '/v1/mesh')
      response.end(JSON.stringify({ folder: options.folder, cidr: '127.9.0.0/16', pid: process.pid }))
    else if (request.url === '/v1/status') {
      options.onStatus?.(mesh)
      response.end(JSON.stringify(mesh.status))
    } else if (request.url === '/v1/synced') response.end('{}')
    else if (options.refusal !== undefined) response.writeHead(400).end(JSON.stringify(options.refusal))
    else {
      joined++
      response.once('close', () => void joined--)
      request.on('data', chunk => requests.push(JSON.parse(String(chunk))))
      response.write(`${JSON.stringify(factsOf(port))}\n`)
    }
  })
  const folder = join(tmpdir(), `ambient-${userInfo().uid}`)
  await mkdir(folder, { recursive: true })
  await chmod(folder, 0o700)
  control.on('connection', track).listen(join(folder, `${process.pid}-${port}.sock`))
  await once(control, 'listening')
  const mesh: FakeMesh = {
    status: {
      folder: options.folder,
      cidr: '127.9.0.0/16',
      generation: 1,
      problems: [],
      ...nothing,
      ...options.status,
    },
    joined: () => joined,
    requests,
    async close() {
      for (const socket of sockets) socket.destroy()
      await Promise.all([entrance, control].map(server => new Promise(resolve => server.close(resolve))))
    },
  }
  return mesh
}

const nothing = { proxies: [], waypoints: [], pods: [] }

function factsOf(port: number): unknown {
  return {
    name: 'caller-x',
    namespace: 'shop',
    address: '127.9.10.1',
    node: 'node-a',
    identity: 'spiffe://cluster.local/ns/shop/sa/caller',
    enrolled: true,
    environment: { POD_IP: '127.9.10.1', NODE_OPTIONS: '--no-warnings', PATH: '/nowhere' },
    socks: { address: '127.0.0.1', port, username: 'shop/caller-x', password: 'p' },
  }
}

/** SOCKS5 as a client speaks it that is known to be good. */
async function enter(socket: net.Socket, port: number | undefined): Promise<void> {
  const message = async (): Promise<void> => {
    await once(socket, 'data')
  }
  await message()
  socket.write(Uint8Array.of(5, 2))
  await message()
  socket.write(Uint8Array.of(1, 0))
  await message()
  socket.pause()
  socket.write(Uint8Array.of(5, port === undefined ? 2 : 0, 0, 1, 0, 0, 0, 0, 0, 0))
  if (port === undefined) return
  const upstream = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.allowHalfOpen = true
  upstream.on('error', () => socket.resetAndDestroy()).pipe(socket)
  socket.pipe(upstream)
}
