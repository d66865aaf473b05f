/** Mounted Secrets are swapped under load, as a kubelet does for cert-manager; files are rewritten in place, as scripts do. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Credentials, parseSpiffeId, type SpiffeId } from '@ambient/core'
import {
  createCertificateAuthorityFiles,
  createCertificateRequest,
  createFileSource,
  openCertificateAuthority,
  type X509Source,
} from '@ambient/identity'
import { afterEach, describe, expect, it } from 'vitest'
import { type Load, serialOf, startLoad } from './load.ts'

const SERVER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/server')
const CLIENT = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client')
/** As cert-manager names them. */
const NAMES = ['tls.crt', 'tls.key', 'ca.crt'] as const

const cleanups: (() => unknown)[] = []
const atEnd = (run: () => unknown): void => void cleanups.push(run)
afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

/** Certificate, key, roots. */
type Contents = readonly [string, string, string]

interface Mount {
  readonly source: X509Source
  /** Each generation that was ever given out. */
  readonly generations: Credentials[]
  /** As a kubelet: a new folder, then `..data` is another link. */
  swap(contents: Contents): void
  /** The file behind a name, as it is. */
  readonly path: (name: (typeof NAMES)[number]) => string
  /** Resolves with the generation that has this certificate. */
  taken(contents: Contents): Promise<Credentials>
}

let versions = 0

function mount(first: Contents, isMounted = true): Mount {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-mounted-'))
  atEnd(() => rmSync(folder, { recursive: true, force: true }))
  const path = (name: string): string => join(folder, name)
  const swap = (contents: Contents): void => {
    versions += 1
    const version = `..version_${versions}`
    mkdirSync(path(version))
    for (const [index, name] of NAMES.entries())
      writeFileSync(join(path(version), name), contents[index] ?? '')
    symlinkSync(version, path('..data_tmp'))
    renameSync(path('..data_tmp'), path('..data'))
  }
  if (isMounted) {
    swap(first)
    for (const name of NAMES) symlinkSync(join('..data', name), path(name))
  } else for (const [index, name] of NAMES.entries()) writeFileSync(path(name), first[index] ?? '')
  const [certificate, privateKey, trustBundle] = NAMES.map(path)
  const source = createFileSource({
    certificate: certificate ?? '',
    privateKey: privateKey ?? '',
    trustBundle: trustBundle ?? '',
  })
  atEnd(() => source.close())
  const generations: Credentials[] = []
  source.watch(credentials => generations.push(credentials))
  return {
    source,
    generations,
    swap,
    path,
    taken: ([chain]) =>
      new Promise(resolve => {
        const look = (): void => {
          const current = source.current()
          if (current?.certificateChain.trim() !== chain.trim()) return
          unwatch()
          resolve(current)
        }
        const unwatch = source.watch(look)
        look()
      }),
  }
}

async function authority() {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-mounted-ca-'))
  atEnd(() => rmSync(dir, { recursive: true, force: true }))
  await createCertificateAuthorityFiles({ dir, trustDomain: 'cluster.local' })
  const ca = await openCertificateAuthority({ dir })
  atEnd(() => ca.close())
  const issue = async (id: SpiffeId): Promise<Contents> => {
    const { csrPem, privateKey } = await createCertificateRequest(id)
    const { chain } = await ca.sign({ id, csrPem })
    return [chain.slice(0, -1).join(''), privateKey, ca.rootPem]
  }
  return { ca, issue }
}

async function loadBetween(server: Mount, client: Mount): Promise<Load> {
  const load = await startLoad({
    server: () => server.source.get(),
    client: () => client.source.get(),
    serverId: SERVER,
  })
  atEnd(() => load.stop())
  await load.sessions()
  return load
}

function expectPairs(...mounts: readonly Mount[]): void {
  for (const { generations } of mounts)
    for (const credentials of generations) {
      const leaf = new X509Certificate(credentials.certificateChain)
      expect(leaf.checkPrivateKey(createPrivateKey(credentials.privateKey()))).toBe(true)
    }
}

describe('under load', { timeout: 60_000 }, () => {
  it('mounted certificates are swapped ten times at each end, without a restart or a failed request', async () => {
    const { issue } = await authority()
    const [server, client] = [mount(await issue(SERVER)), mount(await issue(CLIENT))]
    const load = await loadBetween(server, client)
    for (let time = 0; time < 10; time += 1) {
      const [newServer, newClient] = [await issue(SERVER), await issue(CLIENT)]
      server.swap(newServer)
      client.swap(newClient)
      const shown = {
        server: serialOf(await server.taken(newServer)),
        client: serialOf(await client.taken(newClient)),
      }
      expect(await load.sessions()).toEqual(shown)
    }
    expect((await load.stop()).failures).toEqual([])
    expect([server.generations.length, client.generations.length]).toEqual([11, 11])
    expectPairs(server, client)
  })

  it('mounted roots follow the rotation of the CA to its end', async () => {
    const { ca, issue } = await authority()
    const [server, client] = [mount(await issue(SERVER)), mount(await issue(CLIENT))]
    const load = await loadBetween(server, client)
    for (const step of ['add', 'sign', 'drop'] as const) {
      await ca.rotateRoot(step)
      for (const [mounted, id] of [
        [client, CLIENT],
        [server, SERVER],
      ] as const) {
        const contents = await issue(id)
        mounted.swap(contents)
        await mounted.taken(contents)
        await load.sessions()
      }
    }
    expect((await load.stop()).failures).toEqual([])
    expectPairs(server, client)
  })

  it('half-written pairs are never served: neither a cut file, nor a key of another certificate', async () => {
    const { issue } = await authority()
    const first = await issue(SERVER)
    const [server, client] = [mount(first, false), mount(await issue(CLIENT))]
    const load = await loadBetween(server, client)
    for (let time = 0; time < 3; time += 1) {
      const old = await server.source.get()
      const renewed = await issue(SERVER)
      const [chain, key] = renewed
      writeFileSync(server.path('tls.crt'), chain.slice(0, chain.length / 3))
      await load.sessions()
      writeFileSync(server.path('tls.crt'), chain)
      // A whole certificate, and the key of the one before.
      expect(await load.sessions()).toMatchObject({ server: serialOf(old) })
      writeFileSync(server.path('tls.key'), key.slice(0, key.length / 2))
      expect(await load.sessions()).toMatchObject({ server: serialOf(old) })
      writeFileSync(server.path('tls.key'), key)
      const taken = await server.taken(renewed)
      expect(await load.sessions()).toMatchObject({ server: serialOf(taken) })
    }
    // A Secret whose parts do not belong together is swapped in as a whole.
    const [before, [otherChain], [, otherKey, roots]] = [
      await client.source.get(),
      await issue(CLIENT),
      await issue(CLIENT),
    ]
    client.swap([otherChain, otherKey, roots])
    expect(await load.sessions()).toMatchObject({ client: serialOf(before) })
    expect((await load.stop()).failures).toEqual([])
    expect([server.generations.length, client.generations.length]).toEqual([4, 1])
    expectPairs(server, client)
  })
})
