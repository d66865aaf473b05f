/** A reading room behind a TCP listener, with small real desks, and a ledger that tests read. */
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { type Duplex, Readable } from 'node:stream'
import { type AppProtocol, parseSpiffeId, type Service, systemClock } from '@ambient/core'
import { HeaderFields } from '../src/http/header-fields.ts'
import type { ExchangeOutcome, ExchangeStart, RequestDesk } from '../src/http/desk.ts'
import type { HttpLimits } from '../src/limits.ts'
import type { HttpResponse } from '../src/http/message.ts'
import { createReadingRoom, type ReadingRoom, type Served } from '../src/http/room.ts'
import type { RouteDecision } from '../src/route/decide.ts'
import { noEdits } from '../src/route/ir.ts'
import { noRetry } from '../src/route/retry.ts'
import type { InboundStream } from '../src/stream.ts'
import type { DispatchOrder, DispatchResponse, DispatchResult } from '../src/upstream/order.ts'
import type { HttpRoute } from '../src/route/ir.ts'

export interface LedgerEntry {
  start: ExchangeStart | undefined
  steps: string[]
  outcome: ExchangeOutcome | undefined
}

export interface Fixture {
  readonly port: number
  readonly room: ReadingRoom
  readonly ledger: readonly LedgerEntry[]
  readonly served: readonly Promise<Served>[]
  /** Every order that reached the dispatch desk. */
  readonly orders: readonly DispatchOrder[]
  /** Resolves when so many exchanges are in the ledger. */
  recorded(count: number): Promise<void>
  close(): Promise<void>
}

export interface FixtureOptions {
  readonly protocol?: AppProtocol | undefined
  readonly limits?: Partial<HttpLimits>
  readonly desk?: Partial<RequestDesk>
  readonly respond?: (order: DispatchOrder) => Promise<DispatchResult> | DispatchResult
  readonly onTcp?: (socket: Duplex) => void
}

const cluster = {
  namespace: 'default',
  hostname: 'app.default.svc.cluster.local',
  port: 80,
  subset: undefined,
}

export const route: HttpRoute = {
  name: 'default',
  origin: { kind: 'implicit', resource: '' },
  matches: () => true,
  action: { kind: 'forward', destinations: [], rewrite: undefined },
  requestHeaders: noEdits,
  responseHeaders: noEdits,
  fault: undefined,
  mirrors: [],
  timeoutMs: undefined,
  retry: noRetry,
  matchedPrefix: undefined,
}

export function forwardTo(
  request: Parameters<RequestDesk['route']>[1],
): Extract<RouteDecision, { kind: 'forward' }> {
  return { kind: 'forward', route, fault: undefined, responseHeaders: [], cluster, request, mirrors: [] }
}

/** What a dispatch desk gives back. */
export function answer(response: Partial<HttpResponse> = {}): DispatchResponse {
  return {
    kind: 'response',
    response: {
      status: 200,
      headers: new HeaderFields(),
      body: undefined,
      trailers: () => undefined,
      ...response,
    },
    endpoint: { workload: undefined, address: '127.0.0.1', port: 80, hbone: false } as never,
    attempts: 1,
    upstreamServiceMs: 3,
    flags: [],
    detail: 'via_upstream',
  }
}

export async function startFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const ledger: LedgerEntry[] = []
  const orders: DispatchOrder[] = []
  const served: Promise<Served>[] = []
  const waiting: { count: number; resolve: () => void }[] = []
  const tell = (): void => {
    const done = ledger.filter(entry => entry.outcome !== undefined).length
    for (const entry of waiting) if (entry.count <= done) entry.resolve()
  }
  const desk: RequestDesk = {
    clock: systemClock,
    pathNormalization: () => 'BASE',
    forwardedClientCert: () => undefined,
    authorize: () => ({ allowed: true, reason: 'test', detail: '', considered: [] }),
    admit: () => ({
      allowed: true,
      permit: { onWithdrawn: undefined, release() {} },
      decision: { allowed: true, reason: 'test', detail: '', considered: [] },
    }),
    route: (_stream, head) => forwardTo(head),
    async dispatch(order) {
      orders.push(order)
      return (options.respond ?? (() => answer()))(order)
    },
    observe: () => observer(ledger, tell),
    ...options.desk,
  }
  const room = createReadingRoom({ desk, ...(options.limits && { limits: options.limits }) })
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, socket => {
    const result = room.serve(socket, inbound(socket, options.protocol))
    served.push(result)
    void result.then(outcome => {
      if (outcome.kind === 'tcp') options.onTcp?.(outcome.socket)
    })
  })
  const port = await listening(server)
  return {
    port,
    room,
    ledger,
    served,
    orders,
    recorded: count =>
      new Promise(resolve => {
        waiting.push({ count, resolve })
        tell()
      }),
    async close() {
      const closed = new Promise(resolve => server.close(resolve))
      await room.close({ graceMs: 0 })
      await closed
    },
  }
}

/** Everything that a raw client reads until the end. */
export async function rawExchange(port: number, bytes: string | Buffer, end = false): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  if (end) socket.end(bytes)
  else socket.write(bytes)
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text
}

function observer(ledger: LedgerEntry[], tell: () => void): ReturnType<RequestDesk['observe']> {
  const entry: LedgerEntry = { start: undefined, steps: [], outcome: undefined }
  ledger.push(entry)
  return {
    start(request) {
      entry.start = request
      entry.steps.push('start')
      return '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    },
    authorized: decision => void entry.steps.push(decision.allowed ? 'allowed' : 'denied'),
    routed: decision => void entry.steps.push(decision.kind),
    dispatched: result => void entry.steps.push(`dispatched ${result.kind}`),
    done(outcome) {
      if (entry.outcome !== undefined) throw new Error('done twice')
      entry.outcome = outcome
      entry.steps.push('done')
      tell()
    },
  }
}

export function inbound(
  socket: Pick<Socket, 'remotePort'>,
  protocol: AppProtocol | undefined,
): InboundStream {
  return {
    caller: {
      address: '127.0.0.1',
      port: socket.remotePort ?? 0,
      identity: parseSpiffeId('spiffe://cluster.local/ns/default/sa/client'),
    },
    // Only what the room reads of it.
    target: { kind: 'service', service: { name: 'app' } as Service, port: 80, protocol },
    authority: '10.0.0.1:80',
    destination: { address: '10.0.0.1', port: 80 },
    baggage: undefined,
    traceparent: undefined,
  }
}

function listening(server: Server): Promise<number> {
  return new Promise(resolve =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  )
}

export interface Reply {
  readonly message: IncomingMessage
  readonly body: string
  readonly localPort: number | undefined
}

/** One request by Node’s client. */
export function ask(port: number, options: RequestOptions = {}, body?: string | Readable): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, agent: false, ...options }, message => {
      let text = ''
      const { localPort } = message.socket
      message.setEncoding('utf8')
      message.on('data', chunk => {
        text += chunk
      })
      message.on('end', () => resolve({ message, body: text, localPort }))
      message.on('error', reject)
    })
    request.on('error', reject)
    if (body instanceof Readable) body.pipe(request)
    else request.end(body)
  })
}

export async function textOf(stream: Readable | undefined): Promise<string> {
  let text = ''
  for await (const chunk of stream ?? []) text += String(chunk)
  return text
}

/** Gives some bytes, then breaks. */
export function cutAfter(text: string): Readable {
  let isGiven = false
  return new Readable({
    read() {
      if (!isGiven) this.push(text)
      // When the first bytes have gone.
      else setImmediate(() => this.destroy(new Error('cut')))
      isGiven = true
    },
  })
}
