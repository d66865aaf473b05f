/** Requests of HTTP/2 that another reader could take for something else than what was judged. */
import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { Duplex } from 'node:stream'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { policy } from './process-fixtures.ts'
import { cleanup, createWorld, type World } from './world.ts'

async function session(world: World): Promise<ClientHttp2Session> {
  const tunnel = await world.tunnel()
  const createConnection = (): Duplex => tunnel.socket()
  const client = connect('http://web', { createConnection })
  client.on('error', () => {})
  cleanup(() => client.destroy())
  await once(client, 'remoteSettings')
  return client
}

async function statusOf(client: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<unknown> {
  const stream = client.request({ ':path': '/', ...headers })
  stream.resume()
  const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  return head[':status']
}

describe('a method', () => {
  it('in lower case is refused, and slips by no policy', async () => {
    const seen: unknown[] = []
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [policy('no-delete', 'DENY', { methods: ['DELETE'] })],
      app: (request, response) => {
        seen.push(request.method)
        response.end()
      },
    })
    const client = await session(world)
    const statuses: unknown[] = []
    for (const method of ['DELETE', 'delete', 'Delete', 'connect', 'UNHEARD', 'CONNECT ', 'PROPFIND'])
      statuses.push(await statusOf(client, { ':method': method }).catch(() => 'reset'))
    expect(statuses).toEqual([403, 400, 400, 400, 400, 'reset', 200])
    expect(seen).toEqual(['PROPFIND'])
  })
})

describe('an extended CONNECT', () => {
  it('with a length is refused: nothing of it becomes a request', async () => {
    const seen: unknown[] = []
    const world = await createWorld({
      protocol: 'HTTP11',
      app: (request, response) => {
        seen.push(request.url)
        response.end()
      },
    })
    const client = await session(world)
    const connecting = {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':authority': 'web',
    }
    expect(await statusOf(client, { ...connecting, 'content-length': '20' })).toBe(400)
    expect(await statusOf(client, { ':path': '/next' })).toBe(200)
    expect(seen).toEqual(['/next'])
  })
})
