/** A gRPC service without generated code, behind HBONE, and channels towards it. */
import { once } from 'node:events'
import type { Credentials } from '@ambient/core'
import { createHbonePool, type HbonePool, type OpenTunnel, tunnelsVia } from '@ambient/hbone'
import {
  createHboneChannelCredentials,
  type HboneChannelOptions,
  type MeshedGrpcServer,
  peerOf,
  serveGrpc,
  type ServeGrpcOptions,
} from '@ambient/hbone/grpc'
import * as grpc from '@grpc/grpc-js'
import { db, later, web } from './harness.ts'

const text = {
  serialize: (value: string): Buffer => Buffer.from(value),
  deserialize: (bytes: Buffer): string => bytes.toString(),
}

export interface GrpcWorld {
  readonly server: grpc.Server
  readonly meshed: MeshedGrpcServer
  readonly pool: HbonePool
  /** Tunnels that were opened. */
  readonly opened: () => number
  /** A client of its own, with a channel of its own. */
  client(over?: ClientOptions): grpc.Client
}

export interface ClientOptions extends Partial<HboneChannelOptions> {
  readonly target?: string
  readonly credentials?: Credentials
  readonly channel?: grpc.ChannelOptions
  readonly compose?: grpc.CallCredentials
}

const uri = (call: { getAuthContext(): object }): string => peerOf(call)?.id.uri ?? 'nobody'

/** `Echo` says who asks; `Count` answers as often as asked, when asked; `Join` and `Chat` take streams. */
function addTo(server: grpc.Server): void {
  const { serialize, deserialize } = text
  const echo: grpc.handleUnaryCall<string, string> = (call, reply) =>
    reply(null, `${uri(call)} ${call.request}`)
  const count: grpc.handleServerStreamingCall<string, string> = call => {
    for (let i = 1; i <= Number(call.request); i++) call.write(`${uri(call)} ${i}`)
    call.end()
  }
  const join: grpc.handleClientStreamingCall<string, string> = (call, reply) => {
    const words: string[] = []
    call.on('data', (word: string) => words.push(word))
    call.on('end', () => reply(null, `${uri(call)} ${words.join(' ')}`))
    call.on('error', () => {})
  }
  const chat: grpc.handleBidiStreamingCall<string, string> = call => {
    call.on('data', (word: string) => call.write(`${uri(call)} ${word}`))
    call.on('end', () => call.end())
    call.on('error', () => {})
  }
  server.register('/test.Words/Echo', echo, serialize, deserialize, 'unary')
  server.register('/test.Words/Count', count, serialize, deserialize, 'serverStream')
  server.register('/test.Words/Join', join, serialize, deserialize, 'clientStream')
  server.register('/test.Words/Chat', chat, serialize, deserialize, 'bidi')
}

export async function grpcWorld(over: Partial<ServeGrpcOptions> = {}): Promise<GrpcWorld> {
  const server = new grpc.Server()
  addTo(server)
  const meshed = await serveGrpc(server, { host: '127.0.0.1', port: 0, credentials: () => db, ...over })
  const pool = createHbonePool()
  later(async () => {
    await Promise.all([pool.close({ graceMs: 0 }), meshed.close({ graceMs: 0 })])
    server.forceShutdown()
  })
  let opened = 0
  const openAs = (credentials: Credentials): OpenTunnel => {
    const to = { address: meshed.address, port: meshed.port }
    const open = tunnelsVia({ pool, credentials: () => credentials, to, expect: [db.id] })
    return (target, options) => {
      opened++
      return open(target, options)
    }
  }
  const client = (options: ClientOptions = {}): grpc.Client => {
    const { target = 'hbone:words.shop:50051', credentials = web, compose, ...rest } = options
    const made = createHboneChannelCredentials({ open: openAs(credentials), ...rest })
    const channel = compose === undefined ? made : made.compose(compose)
    const result = new grpc.Client(target, channel, { ...options.channel })
    later(async () => result.close())
    return result
  }
  return { server, meshed, pool, opened: () => opened, client }
}

/** Rejects with the `ServiceError`. */
export function echo(client: grpc.Client, word: string, metadata = new grpc.Metadata()): Promise<string> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      '/test.Words/Echo',
      text.serialize,
      text.deserialize,
      word,
      metadata,
      (error, answer) => (error === null ? resolve(answer ?? '') : reject(error)),
    )
  })
}

export async function count(client: grpc.Client, times: number): Promise<string[]> {
  const call = client.makeServerStreamRequest(
    '/test.Words/Count',
    text.serialize,
    text.deserialize,
    String(times),
  )
  const words: string[] = []
  for await (const word of call) words.push(String(word))
  return words
}

export function join(client: grpc.Client, words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = client.makeClientStreamRequest(
      '/test.Words/Join',
      text.serialize,
      text.deserialize,
      (error: grpc.ServiceError | null, answer?: string) =>
        error === null ? resolve(answer ?? '') : reject(error),
    )
    for (const word of words) call.write(word)
    call.end()
  })
}

export interface Chat {
  say(word: string): Promise<string>
  end(): Promise<grpc.StatusObject>
}

export function chat(client: grpc.Client): Chat {
  const call = client.makeBidiStreamRequest('/test.Words/Chat', text.serialize, text.deserialize)
  call.on('error', () => {})
  const status = new Promise<grpc.StatusObject>(resolve => call.on('status', resolve))
  return {
    async say(word) {
      call.write(word)
      const [answer] = (await once(call, 'data')) as [string]
      return answer
    },
    async end() {
      call.end()
      return status
    },
  }
}
