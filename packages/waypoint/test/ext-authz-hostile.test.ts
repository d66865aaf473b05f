/** What providers and callers can do to one another: answers that are none to send, headers that are not to be seen. */
import { once } from 'node:events'
import { connect } from 'node:http2'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { custom, grpcProvider, join, mesh } from './ext-authz-world.ts'
import { cleanup, createWorld } from './world.ts'

async function denying(protocol: 'HTTP11' | 'HTTP2', status: number) {
  const provider = await grpcProvider(() => ({
    status: { code: 7 },
    httpResponse: {
      case: 'deniedResponse',
      value: {
        status: { code: status },
        body: 'why',
        headers: ['content-length', 'connection', 'transfer-encoding', ':status', 'location', 'location'].map(
          key => ({ header: { key, value: '77' } }),
        ),
      },
    },
  }))
  const world = await createWorld({ protocol, policies: [custom()], meshConfig: mesh({ kind: 'Grpc' }) })
  join(world, provider)
  return world
}

describe('a provider that denies with a status', () => {
  it.each([
    [204, 204, ''],
    [205, 205, ''],
    [304, 304, ''],
    [302, 302, 'why'],
    [101, 403, 'why'],
    [700, 403, 'why'],
  ])('of %i is %i over HTTP/2 and HTTP/1.1, and the connection goes on', async (status, expected, body) => {
    const world = await denying('HTTP2', status)
    const tunnel = await world.tunnel()
    const client = connect('http://web', { createConnection: () => tunnel.socket() })
    client.on('error', () => {})
    cleanup(() => client.destroy())
    for (let n = 0; n < 2; n++) {
      const stream = client.request({ ':path': '/' })
      const [head] = await once(stream, 'response')
      expect([head[':status'], head['content-length'], await text(stream)]).toEqual([
        expected,
        body === '' ? undefined : '3',
        body,
      ])
    }
    const other = await denying('HTTP11', status)
    const answer = await other.fetch('/')
    expect([answer.status, answer.headers['content-length'], answer.body]).toEqual([
      expected,
      body === '' ? undefined : '3',
      body,
    ])
  })
})

it('a provider sees headers of every name', async () => {
  const provider = await grpcProvider()
  const world = await createWorld({
    protocol: 'HTTP11',
    policies: [custom()],
    meshConfig: mesh({ kind: 'Grpc' }),
  })
  join(world, provider)
  const fields = { ['__proto__']: 'a', constructor: 'b' }
  expect((await world.fetch('/', { fields })).status).toBe(200)
  const seen = Object.entries(provider.requests[0]?.attributes?.request?.http?.headers ?? {})
  expect(seen).toEqual(expect.arrayContaining(Object.entries(fields)))
})
