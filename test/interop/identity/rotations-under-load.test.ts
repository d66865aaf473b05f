/** Certificates, intermediates and roots are replaced under load: no request fails, no session is dropped, new ones have the new. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Credentials, parseSpiffeId } from '@ambient/core'
import {
  createCertificateAuthority,
  createCertificateAuthorityFiles,
  createIdentityManager,
  createLocalSigner,
  type CertificateAuthority,
  type IdentityManager,
  openCertificateAuthority,
  readPemCertificates,
} from '@ambient/identity'
import { afterEach, describe, expect, it } from 'vitest'
import { type Load, serialOf, startLoad } from './load.ts'

const SERVER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/server')
const CLIENT = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client')

const cleanups: (() => unknown)[] = []
const atEnd = (run: () => unknown): void => void cleanups.push(run)
afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

/** One manager for each end, as two nodes have it. */
interface World {
  readonly server: IdentityManager
  readonly client: IdentityManager
  readonly load: Load
  /** One end after the other has a new certificate, and is seen with it; under the same load. */
  renewEach(): Promise<void>
}

async function world(ca: CertificateAuthority, ttlMs = 3_600_000): Promise<World> {
  const signer = createLocalSigner(ca)
  const server = createIdentityManager({ signer, ttlMs })
  const client = createIdentityManager({ signer, ttlMs })
  atEnd(() => Promise.all([server.close(), client.close()]))
  const load = await startLoad({
    server: () => server.get(SERVER),
    client: () => client.get(CLIENT),
    serverId: SERVER,
  })
  atEnd(() => load.stop())
  await load.sessions()
  return {
    server,
    client,
    load,
    async renewEach() {
      const [newServer, oldClient] = [await server.rotate(SERVER), await client.get(CLIENT)]
      expect(await load.sessions()).toEqual({ server: serialOf(newServer), client: serialOf(oldClient) })
      const newClient = await client.rotate(CLIENT)
      expect(await load.sessions()).toEqual({ server: serialOf(newServer), client: serialOf(newClient) })
    },
  }
}

async function unharmed(load: Load): Promise<void> {
  const { requests, rounds, sessions, failures } = await load.stop()
  expect(failures).toEqual([])
  expect(Math.min(requests, rounds, sessions)).toBeGreaterThan(10)
}

async function folderAuthority() {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-rotation-'))
  atEnd(() => rmSync(dir, { recursive: true, force: true }))
  await createCertificateAuthorityFiles({ dir, trustDomain: 'cluster.local' })
  const ca = await openCertificateAuthority({ dir })
  atEnd(() => ca.close())
  return ca
}

const rootsOf = ({ trustBundle }: Credentials): number => readPemCertificates(trustBundle).length

describe('under load', { timeout: 60_000 }, () => {
  it.each(['server', 'client'] as const)('the leaf of the %s is replaced', async end => {
    const { load, ...managers } = await world(
      await createCertificateAuthority({ trustDomain: 'cluster.local' }),
    )
    const id = end === 'server' ? SERVER : CLIENT
    const before = await load.sessions()
    const renewed = await managers[end].rotate(id)
    expect(await load.sessions()).toEqual({ ...before, [end]: serialOf(renewed) })
    expect(renewed.generation).toBeGreaterThan(1)
    await unharmed(load)
  })

  it('both leaves are replaced at once, again and again', async () => {
    const { server, client, load } = await world(
      await createCertificateAuthority({ trustDomain: 'cluster.local' }),
    )
    const seen = new Set<string>()
    for (let time = 0; time < 5; time += 1) {
      const renewed = await Promise.all([server.rotate(SERVER), client.rotate(CLIENT)])
      const [newServer = '', newClient = ''] = renewed.map(serialOf)
      expect(await load.sessions()).toEqual({ server: newServer, client: newClient })
      seen.add(newServer).add(newClient)
    }
    expect(seen.size).toBe(10)
    await unharmed(load)
  })

  it('the intermediate is replaced', async () => {
    const ca = await folderAuthority()
    const { server, load, renewEach } = await world(ca)
    const before = readPemCertificates((await server.get(SERVER)).certificateChain)
    await ca.rotateIntermediate()
    await renewEach()
    const after = readPemCertificates((await server.get(SERVER)).certificateChain)
    expect(after[1]).toBeDefined()
    expect(after[1]).not.toEqual(before[1])
    await unharmed(load)
  })

  it('the root is replaced: both are believed for a while, then the old one is cut', async () => {
    const ca = await folderAuthority()
    const { server, client, load, renewEach } = await world(ca)
    const ofOldRoot = await client.get(CLIENT)
    for (const [step, roots] of [
      ['add', 2],
      ['sign', 2],
      ['drop', 1],
    ] as const) {
      expect(await ca.rotateRoot()).toMatchObject({ step, roots })
      await renewEach()
      expect(rootsOf(await server.get(SERVER))).toBe(roots)
      expect(rootsOf(await client.get(CLIENT))).toBe(roots)
    }
    await unharmed(load)
    // The cut is one: what the old root signed is worth nothing now.
    const verdict = (await server.get(SERVER)).verifyPeer(readPemCertificates(ofOldRoot.certificateChain), {
      kind: 'own-trust-domain',
    })
    expect(verdict).toMatchObject({ ok: false, problem: 'untrusted' })
  })

  it('the root, the intermediate and the leaves are replaced while nobody waits for anybody', async () => {
    const ca = await folderAuthority()
    const { server, client, load } = await world(ca)
    for (const change of ['add', 'sign', 'intermediate', 'drop'] as const) {
      await (change === 'intermediate' ? ca.rotateIntermediate() : ca.rotateRoot(change))
      await Promise.all([server.rotate(SERVER), client.rotate(CLIENT)])
    }
    expect(await load.sessions()).toEqual({
      server: serialOf(await server.get(SERVER)),
      client: serialOf(await client.get(CLIENT)),
    })
    await unharmed(load)
  })

  it('a root that is cut before its successor is believed fails requests: the load would see it', async () => {
    const ca = await folderAuthority()
    const { server, load } = await world(ca)
    for (const step of ['add', 'sign', 'drop'] as const) await ca.rotateRoot(step)
    await server.rotate(SERVER)
    await expect
      .poll(() => load.failures.join('\n'))
      .toContain('no certificate of the trust bundle leads to it')
    const { failures } = await load.stop()
    // What was begun before goes on.
    expect(failures.filter(failure => failure.includes('stood'))).toEqual([])
  })

  it('certificates of five seconds are renewed by timer, three times in a row', async () => {
    const ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    const { server, client, load } = await world(ca, 5_000)
    const three = ([manager, id]: readonly [IdentityManager, typeof SERVER]): Promise<Credentials> =>
      new Promise(resolve => {
        let times = 0
        const unwatch = manager.watch(id, credentials => {
          times += 1
          if (times < 3) return
          unwatch()
          resolve(credentials)
        })
      })
    const [newServer, newClient] = await Promise.all([three([server, SERVER]), three([client, CLIENT])])
    expect(newServer.generation).toBe(4)
    expect(newClient.generation).toBe(4)
    // More than one lifetime of the first ones has passed.
    await load.sessions()
    await unharmed(load)
  })
})
