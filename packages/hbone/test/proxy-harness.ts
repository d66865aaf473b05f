/** A local listener in front of an HBONE server that does with each tunnel what its authority says. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { pump } from '@ambient/core'
import { dial, socketChannel } from '@ambient/core/node'
import { type OpenTunnel, type TunnelRequest, tunnelsVia } from '@ambient/hbone'
import type { ProxyFailure, ProxyListener, ProxyListenerOptions } from '@ambient/hbone/socks'
import { db, harness, later, web } from './harness.ts'

export interface Front {
  readonly proxy: ProxyListener
  /** Authorities that reached the HBONE server. */
  readonly asked: string[]
  readonly failures: ProxyFailure[]
  /** A client that has not said anything yet; half-open. */
  client(): Promise<Socket>
}

/**
 * `echo.test` answers with what it gets, `status-NNN.test` is refused with it, `reset.test` is cut after its first bytes,
 * anything else is dialled on loopback by its port.
 */
export async function front(
  create: (options: ProxyListenerOptions) => ProxyListener,
  over: Partial<ProxyListenerOptions> = {},
): Promise<Front> {
  const asked: string[] = []
  const failures: ProxyFailure[] = []
  const { pool, port } = await harness({
    onTunnel: request => {
      asked.push(request.authority)
      return serveTunnel(request)
    },
  })
  const to = { address: port.address, port: port.port }
  const open: OpenTunnel = tunnelsVia({ pool, credentials: () => web, to, expect: [db.id] })
  const proxy = create({
    open,
    listen: { host: '127.0.0.1', port: 0 },
    onFailure: failure => failures.push(failure),
    ...over,
  })
  await proxy.start()
  later(() => proxy.close({ graceMs: 0 }))
  return { proxy, asked, failures, client: () => clientOf(proxy) }
}

async function serveTunnel(request: TunnelRequest): Promise<void> {
  const [host = '', port] = request.authority.split(':')
  const [, status] = /^status-(\d+)\.test$/.exec(host) ?? []
  if (status !== undefined) return request.refuse(Number(status))
  if (host === 'never.test')
    return new Promise(resolve => request.signal.addEventListener('abort', () => resolve()))
  if (host === 'echo.test' || host === 'reset.test') {
    const channel = request.accept()
    channel.start({
      data: bytes => {
        if (host === 'reset.test') channel.reset('CONNECT_ERROR', 'as asked')
        else if (!channel.write(bytes)) channel.pause()
        return false
      },
      end: () => channel.end(),
      drained: () => channel.resume(),
      finished() {},
      reset() {},
    })
    return
  }
  const socket = await dial({ host: '127.0.0.1', port: Number(port) })
  socket.on('error', () => {})
  void pump(request.accept(), socketChannel(socket))
}

async function clientOf(proxy: ProxyListener): Promise<Socket> {
  const socket = connect({ host: proxy.address, port: proxy.port, allowHalfOpen: true })
  socket.on('error', () => {})
  later(async () => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** A web server that answers with the method, the path and the host that it was asked with. */
export async function webServer(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((request, response) => {
    response.end(`${request.method} ${request.url} of ${request.headers.host}\n`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => {
    server.closeAllConnections()
    server.close()
  })
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  return { server, port: bound.port }
}

/** Exactly so many bytes. */
export async function take(socket: Socket, count: number): Promise<Buffer> {
  for (;;) {
    const bytes: unknown = socket.read(count)
    if (bytes instanceof Buffer) return bytes
    if (socket.destroyed || socket.readableEnded) throw new Error(`ended before ${count} bytes`)
    await new Promise<void>(resolve => {
      const done = (): void => {
        for (const event of ['readable', 'end', 'close']) socket.off(event, done)
        resolve()
      }
      for (const event of ['readable', 'end', 'close']) socket.on(event, done)
    })
  }
}

/** All that comes, and how it ended. */
export async function drain(
  socket: Socket,
): Promise<{ readonly bytes: Buffer; readonly end: 'fin' | 'reset' }> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of socket) chunks.push(chunk as Buffer)
    return { bytes: Buffer.concat(chunks), end: 'fin' }
  } catch {
    return { bytes: Buffer.concat(chunks), end: 'reset' }
  }
}
