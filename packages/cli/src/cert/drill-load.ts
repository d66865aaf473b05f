/** Requests without a pause, through tunnels of which each has its own answer, and one that is never closed. */
import { type Credentials, messageOf, type SpiffeId, systemClock } from '@ambient/core'
import type { HbonePool, SocketAddress, TunnelSocket } from '@ambient/hbone'

export interface LoadOptions {
  readonly pool: HbonePool
  /** An IP literal. */
  readonly to: SocketAddress
  readonly expect: SpiffeId
  readonly clients: number
  /** As they are at that moment. */
  credentials(): Promise<Credentials>
}

export interface LoadCounts {
  readonly requests: number
  readonly failed: number
  readonly slowestMs: number
  /** Why the first one failed. */
  readonly problem?: string
}

export interface Load {
  /** Since it was called last. */
  take(): LoadCounts
  /** Resolves after so many requests that begin from now on. */
  after(requests: number): Promise<void>
  stop(): Promise<void>
}

/** What a tunnel is asked for; the answer is its own bytes. */
const AUTHORITY = '10.0.0.1:80'
const MESSAGE = Buffer.from('the same bytes come back\n')
/** An answer that takes longer never comes. */
const PATIENCE_MS = 5_000

export function startLoad(options: LoadOptions): Load {
  const ended = new AbortController()
  const tally = createTally()
  const client = async (ask: () => Promise<void>): Promise<void> => {
    while (!ended.signal.aborted) {
      const number = tally.begin()
      const startMs = systemClock.monotonic()
      let problem: unknown
      try {
        await ask()
      } catch (error) {
        problem = error ?? new Error('failed')
      }
      if (!ended.signal.aborted) tally.count(number, systemClock.monotonic() - startMs, problem)
      // A failure that comes at once must not starve the rest.
      await new Promise(resolve => setImmediate(resolve))
    }
  }
  const kept = keptTunnel(options)
  const clients = Array.from({ length: options.clients }, () => client(() => request(options)))
  const running = Promise.all([...clients, client(() => kept.ask())])
  return {
    take: tally.take,
    after: tally.after,
    async stop() {
      ended.abort()
      kept.close()
      tally.release()
      await running
    },
  }
}

interface Tally extends Pick<Load, 'after' | 'take'> {
  /** The number of a request that begins. */
  begin(): number
  count(number: number, tookMs: number, error: unknown): void
  /** Whoever waits goes on. */
  release(): void
}

const NOTHING: LoadCounts = Object.freeze({ requests: 0, failed: 0, slowestMs: 0 })

function createTally(): Tally {
  let counts = NOTHING
  let begun = 0
  const waiting = new Set<Waiter>()
  const settle = (one: Waiter): void => {
    waiting.delete(one)
    one.done()
  }
  return {
    begin: () => ++begun,
    count(number, tookMs, error) {
      const problem = counts.problem ?? (error === undefined ? undefined : messageOf(error))
      counts = {
        requests: counts.requests + 1,
        failed: counts.failed + (error === undefined ? 0 : 1),
        slowestMs: Math.max(counts.slowestMs, tookMs),
        ...(problem === undefined ? {} : { problem }),
      }
      for (const one of [...waiting]) if (number > one.from && --one.left <= 0) settle(one)
    },
    take() {
      const taken = counts
      counts = NOTHING
      return taken
    },
    after: requests =>
      new Promise(done => {
        waiting.add({ from: begun, left: requests, done })
      }),
    release() {
      for (const one of [...waiting]) settle(one)
    },
  }
}

interface Waiter {
  /** Requests up to this one do not count. */
  readonly from: number
  left: number
  readonly done: () => void
}

/** A tunnel, its answer, its end. */
async function request(options: LoadOptions): Promise<void> {
  const socket = await open(options)
  try {
    await echoed(socket)
    socket.resume().end()
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** Rotation is not to end what is open. */
function keptTunnel(options: LoadOptions): { ask(): Promise<void>; close(): void } {
  let socket: TunnelSocket | undefined
  return {
    async ask() {
      socket ??= await open(options)
      try {
        await echoed(socket)
      } catch (error) {
        socket.destroy()
        socket = undefined
        throw error
      }
    },
    close: () => socket?.destroy(),
  }
}

async function open({ pool, to, expect, credentials }: LoadOptions): Promise<TunnelSocket> {
  const tunnel = await pool.connect({
    credentials: await credentials(),
    to,
    expect: [expect],
    authority: AUTHORITY,
  })
  const socket = tunnel.socket()
  socket.on('error', () => {})
  return socket
}

function echoed(socket: TunnelSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const timer = systemClock.after(PATIENCE_MS, () =>
      finish(new Error(`no answer within ${PATIENCE_MS} ms`)),
    )
    const finish = (error?: Error): void => {
      timer.cancel()
      socket.off('data', onData).off('error', finish).off('close', onClose)
      if (error === undefined) resolve()
      else reject(error)
    }
    const onData = (bytes: Buffer): void => {
      parts.push(bytes)
      const answer = Buffer.concat(parts)
      if (answer.length < MESSAGE.length) return
      finish(answer.equals(MESSAGE) ? undefined : new Error('the answer was another one'))
    }
    const onClose = (): void => finish(new Error('the tunnel ended'))
    socket.on('data', onData).on('error', finish).on('close', onClose)
    socket.write(MESSAGE)
  })
}
