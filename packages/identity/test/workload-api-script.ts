/** A Workload API server that says what a test tells it to, right or wrong. */
import { createPrivateKey } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerWritableStream, type status } from '@grpc/grpc-js'
import type { Credentials } from '@ambient/core'
import {
  type X509SVIDRequest,
  type X509SVIDResponse,
  X509SVIDResponseSchema,
  type X509SVIDSchema,
} from '../src/gen/workload-api_pb.ts'
import { workloadApi } from '../src/workload-api/protocol.ts'
import { ders } from './x509-source-contract.ts'

export type SvidCall = ServerWritableStream<X509SVIDRequest, X509SVIDResponse>
export type Answer = MessageInitShape<typeof X509SVIDResponseSchema>
export type SvidParts = MessageInitShape<typeof X509SVIDSchema>

export interface ScriptedServer {
  readonly address: string
  readonly socket: string
  /** Every call for X.509-SVIDs, in order. */
  readonly calls: SvidCall[]
  /** Resolves with the next call. */
  next(): Promise<SvidCall>
  close(): Promise<void>
}

/** Each call is the test's to answer, unless `onCall` does. */
export async function startScript(
  options: {
    tcp?: boolean
    onCall?: (call: SvidCall, count: number) => void
    addTo?: (server: Server) => void
  } = {},
): Promise<ScriptedServer> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-wl-'))
  const socket = join(folder, 'agent.sock')
  const calls: SvidCall[] = []
  const waiting: ((call: SvidCall) => void)[] = []
  const server = new Server({ 'grpc.max_send_message_length': -1 })
  server.addService(
    { FetchX509SVID: workloadApi.fetchX509Svid },
    {
      FetchX509SVID: (call: SvidCall) => {
        calls.push(call)
        options.onCall?.(call, calls.length)
        for (const tell of waiting.splice(0)) tell(call)
      },
    },
  )
  options.addTo?.(server)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(
      options.tcp === true ? '127.0.0.1:0' : `unix://${socket}`,
      ServerCredentials.createInsecure(),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    )
  })
  return {
    address: options.tcp === true ? `tcp://127.0.0.1:${port}` : `unix://${socket}`,
    socket,
    calls,
    next: () => new Promise(resolve => waiting.push(resolve)),
    async close() {
      server.forceShutdown()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export function send(call: SvidCall, answer: Answer): void {
  call.write(create(X509SVIDResponseSchema, answer))
}

export function end(call: SvidCall, code: status, details = 'because'): void {
  call.emit('error', { code, details })
}

/** One SVID as it goes over the wire, with what a test wants to be wrong. */
export function svidOf(credentials: Credentials, more: SvidParts = {}): SvidParts {
  return {
    spiffeId: credentials.id.uri,
    x509Svid: Buffer.concat(ders(credentials.certificateChain)),
    x509SvidKey: keyDer(credentials),
    bundle: Buffer.concat(ders(credentials.trustBundle)),
    ...more,
  }
}

export function keyDer(credentials: Credentials): Uint8Array {
  return createPrivateKey(credentials.privateKey()).export({ type: 'pkcs8', format: 'der' })
}
