/** An HBONE server over real TCP and mTLS, and a pool towards it; everything is closed when the test ends. */
import type { Credentials } from '@ambient/core'
import { type Listener, listen } from '@ambient/core/node'
import {
  createHbonePool,
  createHboneServer,
  type HbonePool,
  type HboneServer,
  type HboneServerOptions,
  type Tunnel,
  type ConnectRequest,
  HboneError,
} from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterEach } from 'vitest'

export const identities = await createTestIdentities()
export const web: Credentials = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
export const db: Credentials = await identities.credentials({ namespace: 'shop', serviceAccount: 'db' })

const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

export function later(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup)
}

/** The error that a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<HboneError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof HboneError)) throw new Error(`expected an HboneError, got ${String(error)}`)
  return error
}

export interface Harness {
  readonly server: HboneServer
  readonly pool: HbonePool
  readonly port: Listener
  readonly request: (over?: Partial<ConnectRequest>) => ConnectRequest
  readonly connect: (over?: Partial<ConnectRequest>) => Promise<Tunnel>
}

export async function harness(
  options: Partial<HboneServerOptions> & Pick<HboneServerOptions, 'onTunnel'>,
  poolLimits: Parameters<typeof createHbonePool>[0] = {},
): Promise<Harness> {
  const server = createHboneServer({ credentials: () => db, ...options })
  const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  const pool = createHbonePool(poolLimits)
  later(async () => {
    await Promise.all([pool.close({ graceMs: 0 }), port.close()])
    await server.close({ graceMs: 0 })
  })
  const request = (over: Partial<ConnectRequest> = {}): ConnectRequest => ({
    credentials: web,
    to: { address: '127.0.0.1', port: port.port },
    expect: [db.id],
    authority: '127.0.0.1:8080',
    ...over,
  })
  return { server, pool, port, request, connect: over => pool.connect(request(over)) }
}

/** A promise and who resolves it. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>(done => {
    resolve = done
  })
  return { promise, resolve }
}

/** The server learns of ends in its own time: resolves when it has as many sessions. */
export async function emptied(server: HboneServer, sessions: number): Promise<void> {
  while (server.sessions > sessions) await new Promise(resolve => setImmediate(resolve))
}
