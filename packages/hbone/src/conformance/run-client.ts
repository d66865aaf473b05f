/** Listens for an HBONE client and looks at what it does, one connection for each thing that is tried on it. */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, type SecureContext } from 'node:tls'
import { type Clock, type Credentials, messageOf, systemClock } from '@ambient/core'
import { HboneError } from '../errors.ts'
import type { SocketAddress } from '../tunnel.ts'
import { type ClientScenario, scenarios } from './client-scenarios.ts'
import { Visit } from './client-visit.ts'
import { runCase } from './run-server.ts'
import { type ConformanceCase, type ConformanceResult, selectCases, Verdict } from './verdict.ts'

const DEFAULT_TIMEOUT_MS = 3_000
/** Somebody has to start the client, perhaps by hand. */
const DEFAULT_WAIT_MS = 60_000

/** What `runClientConformance` looks at, in its order. */
export const clientCases: readonly ConformanceCase[] = scenarios.flatMap(({ cases }) =>
  cases.map(({ id, title, requirement, level }) => Object.freeze({ id, title, requirement, level })),
)

export interface ClientConformanceOptions {
  /** Port 0 is any free one. */
  readonly listen: { readonly host: string; readonly port: number }
  /** Who we are: what the client should expect. */
  readonly credentials: Credentials
  /** Credentials of a CA that the client does not know, to see that it goes away. */
  readonly foreign?: Credentials
  /** Ids of the cases to look at. Default: all. */
  readonly cases?: readonly string[]
  /** For each thing that the client has to do. Default 3,000. */
  readonly timeoutMs?: number
  /** For each of its connections. Default 60,000. */
  readonly waitMs?: number
  readonly onListening?: (address: SocketAddress) => void
  /** A connection is waited for; `what` will be done to it. */
  readonly onWaiting?: (what: string, connection: { readonly number: number; readonly of: number }) => void
  readonly onResult?: (result: ConformanceResult) => void
  readonly signal?: AbortSignal
  readonly clock?: Clock
}

/**
 * One connection for each scenario, in their order: whoever drives the client opens tunnel after tunnel, with a program
 * behind it that sends some bytes and reads what comes back. A connection that does not come skips its cases.
 * @throws HboneError OPTION or UNREACHABLE when the port cannot be listened on; the signal's reason.
 */
export async function runClientConformance(
  options: ClientConformanceOptions,
): Promise<readonly ConformanceResult[]> {
  const clock = options.clock ?? systemClock
  const wanted = new Set(selectCases(clientCases, options.cases).map(({ id }) => id))
  const played = scenarios
    .map(one => ({ ...one, cases: one.cases.filter(({ id }) => wanted.has(id)) }))
    .filter(({ cases, asStranger }) => cases.length > 0 && (!asStranger || options.foreign !== undefined))
  const door = new Door(clock)
  options.onListening?.(await door.open(options.listen))
  const own = contextOf(options.credentials)
  const foreign = options.foreign === undefined ? own : contextOf(options.foreign)
  const results: ConformanceResult[] = []
  try {
    for (const [index, one] of played.entries()) {
      options.onWaiting?.(one.name, { number: index + 1, of: played.length })
      const socket = await door.next(options.waitMs ?? DEFAULT_WAIT_MS, options.signal)
      const context = one.asStranger ? foreign : own
      const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
      const visit =
        socket === undefined
          ? undefined
          : new Visit(socket, { context, clock, timeoutMs, settings: one.settings })
      for (const result of await play(one, visit, clock)) {
        results.push(result)
        options.onResult?.(result)
      }
    }
    return results
  } finally {
    await door.close()
  }
}

async function play(
  scenario: ClientScenario,
  visit: Visit | undefined,
  clock: Clock,
): Promise<readonly ConformanceResult[]> {
  const results: ConformanceResult[] = []
  for (const one of scenario.cases)
    results.push(
      await runCase(
        one,
        () => {
          if (visit === undefined) throw new Verdict('skip', 'no client came')
          return one.run(visit)
        },
        clock,
      ),
    )
  await visit?.leave()
  return results
}

/** Accepts connections, and hands them out one by one. */
class Door {
  readonly #server: Server
  readonly #clock: Clock
  readonly #sockets = new Set<Socket>()
  readonly #queue: Socket[] = []
  #onArrival: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, socket => {
      this.#sockets.add(socket)
      this.#queue.push(socket)
      socket.on('error', () => {})
      socket.on('close', () => this.#sockets.delete(socket))
      this.#onArrival?.()
    })
  }

  async open({ host, port }: { readonly host: string; readonly port: number }): Promise<SocketAddress> {
    try {
      this.#server.listen(port, host)
      await once(this.#server, 'listening')
    } catch (cause) {
      const message = `cannot listen on ${host}:${port}: ${messageOf(cause)}`
      throw new HboneError('AMBIENT_E_HBONE_UNREACHABLE', message, { cause, layer: 'tcp' })
    }
    const address = this.#server.address()
    return { address: host, port: typeof address === 'object' && address !== null ? address.port : port }
  }

  /** The next connection that is still there; `undefined` when none comes. */
  async next(waitMs: number, signal: AbortSignal | undefined): Promise<Socket | undefined> {
    signal?.throwIfAborted()
    let late = false
    let wake = (): void => {}
    this.#onArrival = () => wake()
    const onAbort = (): void => wake()
    signal?.addEventListener('abort', onAbort)
    const timer = this.#clock.after(
      waitMs,
      () => {
        late = true
        wake()
      },
      { keepAlive: true },
    )
    try {
      for (;;) {
        signal?.throwIfAborted()
        const socket = this.#queue.shift()
        if (socket?.destroyed === false) return socket
        if (socket !== undefined) continue
        if (late) return undefined
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
    } finally {
      this.#onArrival = undefined
      signal?.removeEventListener('abort', onAbort)
      timer.cancel()
    }
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}

function contextOf(credentials: Credentials): SecureContext {
  return createSecureContext({
    cert: credentials.certificateChain,
    key: credentials.privateKey(),
    ca: [],
    minVersion: 'TLSv1.2',
  })
}
