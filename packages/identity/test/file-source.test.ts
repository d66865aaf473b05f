/** PEM files that are renewed in every way that mounted Secrets, tools and mistakes renew them. */
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, type Credentials, type Logger, silentLogger, systemClock } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { createFileSource, type FileSourceOptions, type X509Source } from '../src/index.ts'
import { createTestIdentities, type TestIdentities } from '../src/testing/index.ts'
import { describeX509Source } from './x509-source-contract.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ambient-files-'))
  closers.push(() => rm(path, { recursive: true, force: true }))
  return path
}

interface Texts {
  readonly 'tls.crt': string
  readonly 'tls.key': string
  readonly 'ca.crt': string
}

function textsOf(credentials: Credentials): Texts {
  return {
    'tls.crt': credentials.certificateChain,
    'tls.key': credentials.privateKey(),
    'ca.crt': credentials.trustBundle,
  }
}

async function write(to: string, texts: Partial<Texts>): Promise<void> {
  for (const [name, text] of Object.entries(texts)) await writeFile(join(to, name), text)
}

function pathsIn(at: string): { certificate: string; privateKey: string; trustBundle: string } {
  return {
    certificate: join(at, 'tls.crt'),
    privateKey: join(at, 'tls.key'),
    trustBundle: join(at, 'ca.crt'),
  }
}

/** As the kubelet mounts a Secret: names link to `..data/NAME`, `..data` links to a folder that is replaced as a whole. */
async function mount(at: string, texts: Texts): Promise<void> {
  const version = `..${process.hrtime.bigint()}`
  await mkdir(join(at, version))
  await write(join(at, version), texts)
  const old = await readFile(join(at, '..version'), 'utf8').catch(() => undefined)
  await symlink(version, join(at, '..data_tmp'))
  await rename(join(at, '..data_tmp'), join(at, '..data'))
  await writeFile(join(at, '..version'), version)
  if (old === undefined)
    for (const name of Object.keys(texts)) await symlink(join('..data', name), join(at, name))
  else await rm(join(at, old), { recursive: true })
}

/** Resolves with the message of each warning, in order. */
function listening(): { logger: Logger; warned(): Promise<string>; warnings: string[] } {
  const warnings: string[] = []
  const waiting: ((message: string) => void)[] = []
  return {
    warnings,
    logger: {
      ...silentLogger,
      warn(fields, message) {
        const text = `${message}: ${String(fields['error'])}`
        warnings.push(text)
        for (const tell of waiting.splice(0)) tell(text)
      },
    },
    warned: () => new Promise(resolve => waiting.push(resolve)),
  }
}

function open(options: FileSourceOptions): X509Source {
  const source = createFileSource(options)
  closers.push(() => source.close())
  return source
}

function next(source: X509Source): Promise<Credentials> {
  return new Promise(resolve => {
    const stop = source.watch(credentials => {
      stop()
      resolve(credentials)
    })
  })
}

describeX509Source({
  name: 'PEM files',
  neverWaits: true,
  async open({ clock, logger, issuer, ttlMs }) {
    const at = await mkdtemp(join(tmpdir(), 'ambient-files-'))
    const identities = await createTestIdentities({ clock })
    const issue = async (): Promise<Texts> => textsOf(await identities.credentials(WEB, { ttlMs }))
    const first = await issue()
    if (issuer === 'issues') await mount(at, first)
    // The contract's clock moves for expiry only; the wait for a quiet folder is the system's.
    const mixed: Clock = {
      ...clock,
      after: (delayMs, run, options) => (delayMs < 1_000 ? systemClock : clock).after(delayMs, run, options),
    }
    return {
      source: createFileSource({ ...pathsIn(at), clock: mixed, logger }),
      id: (await identities.credentials(WEB)).id,
      renew: async () => mount(at, await issue()),
      outage: () => write(at, { 'tls.key': '' }),
      close: () => rm(at, { recursive: true }),
    }
  },
})

describe('PEM files', () => {
  const start = async (): Promise<{ at: string; identities: TestIdentities; first: Credentials }> => {
    const identities = await createTestIdentities()
    const at = await folder()
    const first = await identities.credentials(WEB)
    await write(at, textsOf(first))
    return { at, identities, first }
  }

  it('are seen when a mounted Secret is swapped, again and again', async () => {
    const identities = await createTestIdentities()
    const at = await folder()
    await mount(at, textsOf(await identities.credentials(WEB)))
    const source = open({ ...pathsIn(at), recheckMs: 3_600_000 })
    let last = await source.get()
    for (let round = 0; round < 4; round += 1) {
      const renewed = next(source)
      const issued = await identities.credentials(WEB)
      await mount(at, textsOf(issued))
      const found = await renewed
      expect(found.certificateChain).toBe(issued.certificateChain)
      expect(found.generation).toBe(last.generation + 1)
      last = found
    }
  })

  it('are seen when they are replaced by a rename, one by one', async () => {
    const { at, identities } = await start()
    const source = open({ ...pathsIn(at), recheckMs: 3_600_000 })
    await source.get()
    const renewed = next(source)
    const issued = await identities.credentials(WEB)
    for (const [name, text] of Object.entries(textsOf(issued))) {
      await writeFile(join(at, `${name}.new`), text)
      await rename(join(at, `${name}.new`), join(at, name))
    }
    expect((await renewed).certificateChain).toBe(issued.certificateChain)
  })

  it('that are half written are never served: the last good pair stays until the other half is there', async () => {
    const { at, identities, first } = await start()
    const log = listening()
    const source = open({ ...pathsIn(at), logger: log.logger, recheckMs: 3_600_000 })
    const before = await source.get()
    const issued = textsOf(await identities.credentials(WEB))
    const steps: readonly (readonly [Partial<Texts>, RegExp])[] = [
      [{ 'tls.crt': issued['tls.crt'].slice(0, 300) }, /blocks begin, 0 are well formed/],
      [{ 'tls.crt': '' }, /the certificate chain is empty/],
      [{ 'tls.crt': issued['tls.crt'] }, /the private key is not that of its certificate/],
      [{ 'tls.key': '' }, /the private key cannot be read/],
      [{ 'tls.crt': first.certificateChain, 'tls.key': issued['tls.key'] }, /not that of its certificate/],
    ]
    for (const [texts, reason] of steps) {
      const warned = log.warned()
      await write(at, texts)
      expect(await warned).toMatch(reason)
      expect(source.current()).toBe(before)
      expect(await source.get()).toBe(before)
    }
    const renewed = next(source)
    await write(at, issued)
    expect((await renewed).certificateChain).toBe(issued['tls.crt'])
    for (const warning of log.warnings) expect(warning).not.toContain('PRIVATE')
  })

  it('that vanish leave the last good pair, and are found when they come back in another folder', async () => {
    const { at, identities } = await start()
    const log = listening()
    const clock = createManualClock(Date.now())
    const source = open({ ...pathsIn(at), logger: log.logger, clock })
    const before = await source.get()
    await rm(at, { recursive: true })
    clock.advance(10_000)
    expect(log.warnings.at(-1)).toMatch(/the last one stays: .*cannot be read: ENOENT/)
    expect(source.current()).toBe(before)
    const count = log.warnings.length
    clock.advance(60_000)
    expect(log.warnings, 'said once').toHaveLength(count)
    await mkdir(at)
    const issued = await identities.credentials(WEB)
    await write(at, textsOf(issued))
    clock.advance(10_000)
    expect(source.current()?.certificateChain).toBe(issued.certificateChain)
  })

  it('are looked at by timer where the system tells of nothing', async () => {
    const { at, identities } = await start()
    const clock = createManualClock(Date.now())
    const source = open({ ...pathsIn(at), clock, recheckMs: 5_000 })
    await source.get()
    const issued = await identities.credentials(WEB)
    await write(at, textsOf(issued))
    clock.advance(5_000)
    expect(source.current()?.certificateChain).toBe(issued.certificateChain)
  })

  it('that come later than the source are found', async () => {
    const identities = await createTestIdentities()
    const at = await folder()
    const source = open({ ...pathsIn(at), recheckMs: 3_600_000 })
    await expect(source.get()).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_UNAVAILABLE',
      cause: { code: 'AMBIENT_E_CREDENTIAL_FILE' },
    })
    const first = next(source)
    await write(at, textsOf(await identities.credentials(WEB)))
    expect((await first).id.uri).toBe(WEB)
    expect(await source.get()).toBe(await first)
  })

  it('with another bundle are another generation; the same texts written again are not', async () => {
    const { at, first } = await start()
    const other = await createTestIdentities()
    const clock = createManualClock(Date.now())
    const source = open({ ...pathsIn(at), clock })
    const before = await source.get()
    await write(at, textsOf(first))
    clock.advance(10_000)
    expect(source.current()).toBe(before)
    await write(at, { 'ca.crt': `${first.trustBundle}${other.ca.rootPem}` })
    clock.advance(10_000)
    expect(source.current()?.generation).toBe(before.generation + 1)
    const stranger = await other.credentials(WEB)
    const chain = [Buffer.from(stranger.certificateChain.replace(/-----[^-]+-----/g, ''), 'base64')]
    expect(before.verifyPeer(chain, { kind: 'any' })).toMatchObject({ ok: false, problem: 'untrusted' })
    expect(source.current()?.verifyPeer(chain, { kind: 'any' })).toMatchObject({ ok: true })
  })

  it('of other trust domains prove their own members only', async () => {
    const { at, identities } = await start()
    const partner = await createTestIdentities({ trustDomain: 'partner.example' })
    await writeFile(join(at, 'partner.pem'), partner.ca.rootPem)
    const source = open({
      ...pathsIn(at),
      federatedBundles: { 'partner.example': join(at, 'partner.pem') },
    })
    const credentials = await source.get()
    expect([...credentials.federatedBundles.keys()]).toEqual(['partner.example'])
    const chainOf = (of: Credentials): Uint8Array[] => [
      Buffer.from(of.certificateChain.replace(/-----[^-]+-----/g, ''), 'base64'),
    ]
    const friend = await partner.credentials('spiffe://partner.example/billing')
    expect(credentials.verifyPeer(chainOf(friend), { kind: 'any' })).toMatchObject({ ok: true })
    expect(credentials.verifyPeer(chainOf(friend), { kind: 'own-trust-domain' }).ok).toBe(false)
    const forged = await createTestIdentities({ trustDomain: 'partner.example' })
    const liar = await forged.credentials('spiffe://partner.example/billing')
    expect(credentials.verifyPeer(chainOf(liar), { kind: 'any' })).toMatchObject({ problem: 'untrusted' })
    expect(identities.ca.trustDomain).toBe('cluster.local')
  })

  it('that are expired or not valid yet are not taken; what is early is taken when its time has come', async () => {
    const clock = createManualClock(Date.now())
    const identities = await createTestIdentities({ clock })
    const at = await folder()
    const first = await identities.credentials(WEB, { ttlMs: 3_600_000 })
    await write(at, textsOf(first))
    const log = listening()
    const source = open({ ...pathsIn(at), clock, logger: log.logger })
    const before = await source.get()
    const later = createManualClock(clock.now() + 600_000)
    const early = await (await createTestIdentities({ clock: later })).credentials(WEB)
    await write(at, textsOf(early))
    clock.advance(10_000)
    expect(log.warnings.at(-1)).toMatch(/is not valid before/)
    expect(source.current()).toBe(before)
    clock.advance(300_000)
    expect(log.warnings).toHaveLength(1)
    clock.advance(200_000)
    expect(source.current()?.certificateChain).toBe(early.certificateChain)
    const past = createManualClock(clock.now() - 7_200_000)
    const stale = await (await createTestIdentities({ clock: past })).credentials(WEB, { ttlMs: 60_000 })
    await write(at, textsOf(stale))
    clock.advance(10_000)
    expect(log.warnings.at(-1)).toMatch(/the last one stays: .*expired at/)
    expect(source.current()?.certificateChain).toBe(early.certificateChain)
  })

  it('are refused by name: what is no file, what is too large, what is no trust domain', async () => {
    const { at } = await start()
    const source = open({ ...pathsIn(at), privateKey: at })
    await expect(source.get()).rejects.toThrow(`${at} cannot be read: not a regular file`)
    await writeFile(join(at, 'ca.crt'), Buffer.alloc(1024 * 1024 + 1))
    const large = open(pathsIn(at))
    await expect(large.get()).rejects.toThrow('ca.crt cannot be read: 1048577 bytes, at most 1048576')
    expect(() => createFileSource({ ...pathsIn(at), federatedBundles: { 'Not A Domain': at } })).toThrow(
      expect.objectContaining({ code: 'AMBIENT_E_IDENTITY_OPTION' }),
    )
  })
})
