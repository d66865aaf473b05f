/** Tunnels whose certificates come from a SPIFFE Workload API: what a node without a CA of its own does. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Credentials, type CredentialsSource, parseSpiffeId, type SpiffeId } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import {
  createCertificateAuthority,
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiServer,
  createWorkloadApiSource,
  credentialsSourceOf,
  type DueIdentity,
  type WorkloadApiSource,
} from '@ambient/identity'
import { afterEach, describe, expect, it } from 'vitest'

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
const DB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/db')
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** One socket per workload: the path says who calls. */
async function agent(): Promise<{
  workload: (id: SpiffeId) => { source: WorkloadApiSource; credentials: CredentialsSource }
  rotate: (id: SpiffeId) => Promise<Credentials>
  withdraw: (id: SpiffeId) => void
}> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-wl-'))
  closers.push(() => rm(folder, { recursive: true, force: true }))
  const socketOf = ({ path }: SpiffeId): string => join(folder, `${path.split('/').at(-1)}.sock`)
  const due = new Map<string, DueIdentity>([WEB, DB].map(id => [socketOf(id), { id }]))
  const ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  const manager = createIdentityManager({ signer: createLocalSigner(ca) })
  const server = createWorkloadApiServer({
    listen: [...due.keys()].map(path => `unix://${path}`),
    attest: ({ socket }) => [due.get(socket)].filter(found => found !== undefined),
    credentials: manager,
  })
  closers.push(
    () => manager.close(),
    () => server.close(),
  )
  await server.start()
  return {
    workload(id) {
      const source = createWorkloadApiSource({ address: `unix://${socketOf(id)}` })
      closers.push(() => source.close())
      return { source, credentials: credentialsSourceOf(source) }
    },
    rotate: id => manager.rotate(id),
    withdraw(id) {
      due.delete(socketOf(id))
      server.refresh()
    },
  }
}

describe('HBONE over a SPIFFE Workload API', () => {
  it('carries bytes, renews without dropping a session, and refuses a workload that was withdrawn', async () => {
    const { workload, rotate, withdraw } = await agent()
    const web = workload(WEB)
    const db = workload(DB)
    const server = createHboneServer({
      credentials: () => db.credentials.get(DB),
      onTunnel: request => {
        const channel = request.accept()
        channel.start({
          data: bytes => channel.write(bytes),
          end: () => channel.end(),
          drained() {},
          finished() {},
          reset() {},
        })
      },
    })
    const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
    const pool = createHbonePool()
    closers.push(
      () => server.close(),
      () => port.close(),
      () => pool.close(),
    )
    const open = async (): Promise<ReturnType<Awaited<ReturnType<typeof pool.connect>>['socket']>> => {
      const credentials = await web.credentials.get(WEB)
      const tunnel = await pool.connect({ credentials, to: port, expect: [DB], authority: '10.0.0.7:5432' })
      return tunnel.socket()
    }
    const old = await open()
    const seen: Credentials[] = []
    web.credentials.watch(WEB, credentials => void seen.push(credentials))
    await Promise.all([rotate(WEB), rotate(DB)])
    await expect.poll(() => seen).toHaveLength(1)
    const renewed = await open()
    for (const socket of [old, renewed]) {
      socket.end('hello')
      let text = ''
      for await (const bytes of socket) text += String(bytes)
      expect(text).toBe('hello')
    }
    await expect(web.credentials.get(DB)).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_NOT_HELD',
      message: `no credentials of ${DB.uri}: the source holds those of ${WEB.uri}`,
    })
    expect(web.credentials.current(DB)).toBeUndefined()
    expect(web.credentials.current(WEB)).toBe(web.source.current())
    withdraw(WEB)
    await expect.poll(() => web.credentials.current(WEB)).toBeUndefined()
    await expect(open()).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_WITHDRAWN' })
  })
})
