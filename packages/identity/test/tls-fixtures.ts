/** Sources whose rotations a test decides, and servers that are gone with the test. */
import { once } from 'node:events'
import * as https from 'node:https'
import type { Server } from 'node:net'
import { text } from 'node:stream/consumers'
import { type Credentials, parseSpiffeId } from '@ambient/core'
import { afterEach } from 'vitest'
import { type Expectation, peerIdentity, secureServer, type X509Source } from '../src/index.ts'
import { createTestIdentities, type TestIdentities } from '../src/testing/index.ts'

export interface TestSource extends X509Source {
  /** A new generation. */
  rotate(credentials?: Credentials): Promise<Credentials>
  /** No valid certificate from now on. */
  lose(): void
  readonly watchers: number
}

const cleanups: (() => unknown)[] = []

export function cleanup(run: () => unknown): void {
  cleanups.push(run)
}

afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

export async function sourceOf(
  serviceAccount: string,
  identities?: TestIdentities,
): Promise<TestSource & { readonly identities: TestIdentities }> {
  const made = identities ?? (await createTestIdentities())
  const issue = (): Promise<Credentials> => made.credentials({ namespace: 'shop', serviceAccount })
  let current: Credentials | undefined = await issue()
  const listeners = new Set<(credentials: Credentials) => void>()
  return {
    identities: made,
    async get() {
      if (current === undefined) throw new Error('nothing to give')
      return current
    },
    current: () => current,
    watch(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async rotate(credentials) {
      const next = credentials ?? (await issue())
      current = next
      for (const listener of [...listeners]) listener(next)
      return next
    },
    lose: () => (current = undefined),
    get watchers() {
      return listeners.size
    },
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}

/** Its port. The server is closed with the test, connections included. */
export async function listening(server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): void }>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  })
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

export const idOf = (account: string) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`)
export const only = (account: string): Expectation => ({ kind: 'one-of', ids: [idOf(account)] })

export async function pair() {
  const server = await sourceOf('db')
  const client = await sourceOf('web', server.identities)
  return { server, client }
}

export interface HttpsAnswer {
  readonly body: string
  readonly server: string | undefined
}

export async function ask(port: number, options: https.RequestOptions): Promise<HttpsAnswer> {
  const request = https.request({ host: '127.0.0.1', port, method: 'POST', ...options })
  request.end('question')
  const [response] = await once(request, 'response')
  return { server: peerIdentity(response.socket)?.uri, body: await text(response) }
}

export async function httpsServer(source: Awaited<ReturnType<typeof sourceOf>>, expected?: Expectation) {
  const seen: string[] = []
  const server = https.createServer((request, response) => {
    seen.push(request.url ?? '')
    request.resume().on('end', () => response.end(peerIdentity(request.socket)?.uri ?? 'nobody'))
  })
  const refused: string[] = []
  secureServer(server, source, {
    ...(expected === undefined ? {} : { expect: expected }),
    onRefused: ({ error }) => refused.push(error.message),
  })
  return { port: await listening(server), server, seen, refused }
}
