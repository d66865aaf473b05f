/** Our ends for peers that are not ours: a server and a pool of two identities; everything is closed when a test ends. */
import type { Credentials } from '@ambient/core'
import { listen } from '@ambient/core/node'
import {
  type ConnectRequest,
  createHbonePool,
  createHboneServer,
  type HbonePool,
  type TunnelRequest,
} from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterEach } from 'vitest'

const identities = await createTestIdentities()
export const web: Credentials = await identities.credentials({ namespace: 'shop', serviceAccount: 'web' })
export const db: Credentials = await identities.credentials({ namespace: 'shop', serviceAccount: 'db' })

const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

export function later(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup)
}

export interface Ends {
  readonly pool: HbonePool
  /** Where the server listens. */
  readonly port: { readonly port: number }
  /** A request of `web` to whatever proves `db`. */
  readonly request: (over: Pick<ConnectRequest, 'to'> & Partial<ConnectRequest>) => ConnectRequest
}

export async function harness(options: {
  readonly onTunnel: (request: TunnelRequest) => void | Promise<void>
}): Promise<Ends> {
  const server = createHboneServer({ credentials: () => db, ...options })
  const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  const pool = createHbonePool()
  later(async () => {
    await Promise.all([pool.close({ graceMs: 0 }), port.close()])
    await server.close({ graceMs: 0 })
  })
  return {
    pool,
    port,
    request: over => ({ credentials: web, expect: [db.id], authority: '127.0.0.1:8080', ...over }),
  }
}

/** A promise and who resolves it. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>(done => {
    resolve = done
  })
  return { promise, resolve }
}
