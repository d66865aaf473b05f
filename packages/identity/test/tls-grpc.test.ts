/** grpc-js with credentials that rotate. */
import * as grpc from '@grpc/grpc-js'
import { parseSpiffeId } from '@ambient/core'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  createGrpcChannelCredentials,
  createGrpcServerCredentials,
  type Expectation,
  peerOfCall,
} from '../src/index.ts'
import { cleanup, sourceOf, type TestSource } from './tls-fixtures.ts'

const idOf = (account: string) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`)
const only = (account: string): Expectation => ({ kind: 'one-of', ids: [idOf(account)] })

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
}
const unary = { path: '/shop.Orders/Say', requestStream: false, responseStream: false, ...text }
const streamed = { path: '/shop.Orders/Watch', requestStream: false, responseStream: true, ...text }

async function serve(source: TestSource, expected?: Expectation): Promise<{ port: number; calls: string[] }> {
  const calls: string[] = []
  const server = new grpc.Server()
  server.addService(
    { say: unary, watch: streamed },
    {
      say(call: grpc.ServerUnaryCall<string, string>, reply: grpc.sendUnaryData<string>) {
        calls.push(call.request)
        reply(null, `${call.request} of ${peerOfCall(call)?.uri}`)
      },
      watch(call: grpc.ServerWritableStream<string, string>) {
        calls.push(call.request)
        call.write(`${peerOfCall(call)?.uri}`)
        call.on('cancelled', () => call.end())
      },
    },
  )
  const credentials = createGrpcServerCredentials(source, expected === undefined ? {} : { expect: expected })
  expect(inspect(credentials, { depth: 9, showHidden: true }) + JSON.stringify(credentials)).not.toContain(
    'PRIVATE KEY',
  )
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  )
  cleanup(() => server.forceShutdown())
  return { port, calls }
}

const Orders = grpc.makeClientConstructor({ say: unary, watch: streamed }, 'Orders')

function clientOf(port: number, credentials: grpc.ChannelCredentials): InstanceType<typeof Orders> {
  const client = new Orders(`127.0.0.1:${port}`, credentials)
  cleanup(() => client.close())
  return client
}

function say(client: InstanceType<typeof Orders>, what: string): Promise<string> {
  return new Promise(resolve =>
    client['say']?.(
      what,
      { deadline: Date.now() + 10_000 },
      (error: grpc.ServiceError | null, answer?: string) =>
        resolve(error ? `${grpc.status[error.code]}: ${error.details}` : (answer ?? '')),
    ),
  )
}

describe('gRPC credentials', () => {
  it('prove both sides, and handlers know who calls', async () => {
    const db = await sourceOf('db')
    const web = await sourceOf('web', db.identities)
    const { port } = await serve(db)
    const client = clientOf(port, createGrpcChannelCredentials(web, { expect: only('db') }))
    expect(await say(client, 'order 1')).toBe(`order 1 of ${idOf('web').uri}`)
    const stream = client['watch']?.('orders')
    stream?.on('error', () => {})
    const [first] = await new Promise<string[]>(resolve =>
      stream?.once('data', (...said: string[]) => resolve(said)),
    )
    expect(first).toBe(idOf('web').uri)
    stream?.cancel()
  })

  it('rotate: calls under way live on, new connections show the new certificate', async () => {
    const db = await sourceOf('db')
    const web = await sourceOf('web', db.identities)
    const { port } = await serve(db)
    const credentials = createGrpcChannelCredentials(web, { expect: only('db') })
    const old = clientOf(port, credentials)
    expect(await say(old, '1')).toContain('1 of spiffe')
    await Promise.all([db.rotate(), web.rotate()])
    expect(await say(old, '2')).toContain('2 of spiffe')
    // Another root altogether: only who took the new generations understands the other.
    const next = await sourceOf('db')
    await db.rotate(await next.identities.credentials({ namespace: 'shop', serviceAccount: 'db' }))
    await web.rotate(await next.identities.credentials({ namespace: 'shop', serviceAccount: 'web' }))
    const fresh = new Orders(`127.0.0.1:${port}`, credentials, { 'grpc.use_local_subchannel_pool': 1 })
    cleanup(() => fresh.close())
    expect(await say(fresh, '3')).toContain('3 of spiffe')
    expect(await say(old, '4')).toContain('4 of spiffe')
  })

  it('refuse a server that is somebody else, with the reason', async () => {
    const db = await sourceOf('db')
    const web = await sourceOf('web', db.identities)
    const { port, calls } = await serve(db)
    const client = clientOf(port, createGrpcChannelCredentials(web, { expect: only('payments') }))
    expect(await say(client, 'secret')).toMatch(/^UNAVAILABLE: .*sa\/db, expected .*sa\/payments/)
    expect(calls).toEqual([])
  })

  it('refuse a client that is somebody else before its first call', async () => {
    const db = await sourceOf('db')
    const web = await sourceOf('web', db.identities)
    const { port, calls } = await serve(db, only('admin'))
    const client = clientOf(port, createGrpcChannelCredentials(web, { expect: only('db') }))
    expect(await say(client, 'secret')).toMatch(/^UNAUTHENTICATED: client: .*sa\/web, expected .*sa\/admin/)
    expect(calls).toEqual([])
  })

  it('refuse a client of another root at the handshake', async () => {
    const db = await sourceOf('db')
    const stranger = (await sourceOf('web')).current()
    const { port, calls } = await serve(db)
    const credentials = grpc.credentials.createSsl(
      Buffer.from(db.current()?.trustBundle ?? ''),
      Buffer.from(stranger?.privateKey() ?? ''),
      Buffer.from(stranger?.certificateChain ?? ''),
      { checkServerIdentity: () => undefined },
    )
    expect(await say(clientOf(port, credentials), 'secret')).toMatch(/^UNAVAILABLE/)
    expect(calls).toEqual([])
  })
})
