/**
 * Continuous requests between an HBONE server and clients over real sockets, while whatever gives them their certificates
 * renews them: what failed, what was dropped, and who showed which certificate to whom.
 */
import { X509Certificate } from 'node:crypto'
import { type Channel, type Credentials, messageOf, type SpiffeId } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { connect, createHbonePool, createHboneServer, type Tunnel } from '@ambient/hbone'

export type Identity = () => Credentials | Promise<Credentials>

export interface LoadOptions {
  readonly server: Identity
  readonly client: Identity
  /** The server's. */
  readonly serverId: SpiffeId
}

export interface LoadReport {
  readonly requests: number
  /** Questions that were answered in the tunnels that stood all the time. */
  readonly rounds: number
  /** Sessions that began and ended meanwhile. */
  readonly sessions: number
  /** Anything that went wrong at either end. */
  readonly failures: readonly string[]
}

/** Serial numbers of the leaves that the two ends of a session proved themselves with. */
export interface Shown {
  readonly server: string
  readonly client: string
}

export interface Load {
  /** Resolves when so many sessions began and ended after this call, with what the last one was shown. */
  sessions(count?: number): Promise<Shown>
  /** Everything that failed until now. */
  readonly failures: readonly string[]
  /** Ends the tunnels that stood, then the rest. */
  stop(): Promise<LoadReport>
}

export const serialOf = ({ certificateChain }: Credentials): string =>
  new X509Certificate(certificateChain).serialNumber

/** Two workers that share sessions, two that have one for each request, two tunnels that stand. Runs until `stop`. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  const failures: string[] = []
  const failed = (what: string, error: unknown): void =>
    void failures.push(`${new Date().toISOString()} ${what}: ${messageOf(error)}`)
  const clients = witness()
  const servers = witness()
  const server = createHboneServer({
    credentials: async () => clients.watching(await options.server()),
    onTunnel: request => echo(request.accept(), reason => failed('a tunnel of the server', reason)),
    onFailure: ({ error }) => failed('a connection', error),
  })
  const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  const pool = createHbonePool()
  const request = async () => ({
    credentials: servers.watching(await options.client()),
    to: { address: '127.0.0.1', port: listener.port },
    expect: [options.serverId],
    authority: '127.0.0.1:9',
  })

  let [isOver, requests, rounds, begun, ended] = [false, 0, 0, 0, 0]
  const waiting: { from: number; readonly done: () => void }[] = []
  const standing = [0, 1].map(async () => lineOf(await pool.connect(await request())))

  const shared = async (stands: Line): Promise<void> => {
    await askOnce(await pool.connect(await request()))
    await stands.ask(`round ${rounds}`)
    rounds += 1
  }
  const alone = async (): Promise<void> => {
    const own = begun
    begun += 1
    await askOnce(await connect(await request()))
    ended += 1
    for (const wait of [...waiting]) if (own >= wait.from) wait.done()
  }
  const work = async (run: () => Promise<void>): Promise<void> => {
    while (!isOver && failures.length < MAX_FAILURES) {
      await run().catch(error => failed('a request', error))
      requests += 1
    }
  }
  const lines = await Promise.all(standing)
  const workers = [...lines.map(line => work(() => shared(line))), work(alone), work(alone)]

  return {
    failures,
    sessions(count = 4) {
      return new Promise((resolve, reject) => {
        let left = count
        const wait = {
          from: begun,
          done() {
            left -= 1
            if (left > 0) return
            waiting.splice(waiting.indexOf(wait), 1)
            resolve({ server: servers.latest(), client: clients.latest() })
          },
        }
        waiting.push(wait)
        void Promise.all(workers).then(() => reject(new Error(`the load ended: ${failures.join('\n')}`)))
      })
    },
    async stop() {
      isOver = true
      await Promise.all(workers)
      for (const line of lines) await line.end().catch(error => failed('a tunnel that stood', error))
      await pool.close()
      await listener.close()
      await server.close({ graceMs: 0 })
      return { requests, rounds, sessions: ended, failures }
    },
  }
}

/** Enough to see what is wrong. */
const MAX_FAILURES = 20

/** Credentials that note the leaves which they are shown; the same object for the same generation, as its user needs it. */
function witness() {
  const known = new WeakMap<Credentials, Credentials>()
  let latest = ''
  return {
    latest: () => latest,
    watching(own: Credentials): Credentials {
      const watching = known.get(own) ?? {
        ...own,
        verifyPeer(...[chain, expected, at]: Parameters<Credentials['verifyPeer']>) {
          if (chain[0] !== undefined) latest = new X509Certificate(chain[0]).serialNumber
          return own.verifyPeer(chain, expected, at)
        },
      }
      known.set(own, watching)
      return watching
    },
  }
}

interface Line {
  ask(text: string): Promise<void>
  /** Both directions, cleanly. */
  end(): Promise<void>
}

function lineOf(tunnel: Tunnel): Line {
  const socket = tunnel.socket()
  const heard: AsyncIterator<Buffer> = socket[Symbol.asyncIterator]()
  return {
    async ask(text) {
      socket.write(text)
      let answer = ''
      while (answer.length < text.length) {
        const { value, done } = await heard.next()
        if (done === true) throw new Error(`ended after ${JSON.stringify(answer)} of ${JSON.stringify(text)}`)
        answer += value.toString()
      }
      if (answer !== text) throw new Error(`${JSON.stringify(answer)} instead of ${JSON.stringify(text)}`)
    },
    async end() {
      socket.end()
      const { done } = await heard.next()
      if (done !== true) throw new Error('bytes after the end')
    },
  }
}

async function askOnce(tunnel: Tunnel): Promise<void> {
  const line = lineOf(tunnel)
  await line.ask('a question')
  await line.end()
}

function echo(channel: Channel, cut: (reason: string) => void): void {
  channel.start({
    data(bytes) {
      channel.write(Uint8Array.from(bytes))
      return true
    },
    end: () => channel.end(),
    drained: () => {},
    finished: () => {},
    reset: ({ reason }) => cut(reason),
  })
}
