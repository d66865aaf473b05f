/**
 * A file of revocation lists while it changes: the sixteen cases of the torture table, eight in each mode, and how the
 * file is found and followed.
 */
import { mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '@ambient/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  createCrlFile,
  type CrlFile,
  type CrlFileOptions,
  type CrlMode,
  verifyPeerChain,
} from '../src/index.ts'
import { watchFile } from '../src/files/file-watch.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { createWatchedClock, crlOf, derOf, type WatchedClock } from './crl-fixtures.ts'
import { HOUR, intermediate, leaf, type Made, NOW, root } from './fixtures.ts'

const DEBOUNCE_MS = 2_000
const POLL_MS = 60_000

let folder = ''
let path = ''
let clock: WatchedClock
let ca: Made
let web: Made
let db: Made
const files: CrlFile[] = []
let warnings: string[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-crl-'))
  path = join(folder, 'ca-crl.pem')
  clock = createWatchedClock()
  warnings = []
  ca = await root()
  web = await leaf(ca)
  db = await leaf(ca, { uri: 'spiffe://td.example/ns/shop/sa/db' })
})

afterEach(async () => {
  for (const file of files.splice(0)) await file.close()
  expect(clock.pending).toBe(0)
  await rm(folder, { recursive: true, force: true })
})

const logger: Logger = {
  debug: () => {},
  info: () => {},
  warn: (fields, message) => void warnings.push(`${message}: ${JSON.stringify(fields)}`),
  error: (fields, message) => void warnings.push(`${message}: ${JSON.stringify(fields)}`),
}

async function follow(mode: CrlMode, options: Partial<CrlFileOptions> = {}): Promise<CrlFile> {
  const file = createCrlFile({ path, mode, clock, logger, ...options })
  files.push(file)
  await file.ready
  return file
}

const serialOf = (made: Made): string => readCertificate(made.der).serial
const listOf = (...revoked: readonly Made[]): Promise<string> => crlOf(ca, { serials: revoked.map(serialOf) })

/** What is said of a peer: `ok`, or the rule that it breaks. */
function verdict(
  file: CrlFile,
  chain: readonly Made[],
  at = clock.now(),
  anchors: readonly Made[] = [ca],
): string {
  const answer = verifyPeerChain({
    chain: chain.map(made => made.der),
    trustBundle: anchors.map(made => made.pem).join(''),
    ownTrustDomain: 'td.example',
    expect: { kind: 'any' },
    revocations: file.revocations,
    now: at,
  })
  return answer.ok ? 'ok' : answer.problem
}

/** The change is noticed, the folder stays quiet, the file is read. */
async function changed(file: CrlFile): Promise<void> {
  await clock.armed(DEBOUNCE_MS)
  clock.advance(DEBOUNCE_MS)
  // Behind the reading that the change began.
  await file.reload()
}

async function replace(text: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.next`, text)
  await rename(`${path}.next`, path)
}

const unknownIs = { 'allow-unknown': 'ok', require: 'revocation-unknown' } as const

describe.each(['allow-unknown', 'require'] as const)('revocation lists, %s', mode => {
  it('a new connection of a revoked peer is refused, another is not', async () => {
    await writeFile(path, await listOf(web))
    const file = await follow(mode)
    expect([verdict(file, [web]), verdict(file, [db])]).toEqual(['revoked', 'ok'])
    expect(file.status()).toMatchObject({ state: 'in-force', lists: 1, revoked: 1, failures: 0 })
  })

  it('a live peer that is revoked is refused when it is judged again', async () => {
    await writeFile(path, await listOf())
    let changes = 0
    const file = await follow(mode, { onChange: () => (changes += 1) })
    const since = clock.now()
    expect([verdict(file, [web], since), changes]).toEqual(['ok', 0])
    clock.advance(10_000)
    await replace(
      await crlOf(ca, { serials: [serialOf(web)], thisUpdate: clock.now(), nextUpdate: NOW + 2 * HOUR }),
    )
    await changed(file)
    expect([verdict(file, [web], since), verdict(file, [db], since), changes]).toEqual(['revoked', 'ok', 1])
  })

  it('a stale list', async () => {
    await writeFile(path, await crlOf(ca, { serials: [serialOf(web)], nextUpdate: NOW - 1 }))
    const file = await follow(mode)
    expect([verdict(file, [web]), verdict(file, [db])]).toEqual(['revoked', unknownIs[mode]])
  })

  it('a list that is missing at the start, and comes', async () => {
    let changes = 0
    const file = await follow(mode, { onChange: () => (changes += 1) })
    expect(verdict(file, [web])).toBe(unknownIs[mode])
    expect(file.status()).toMatchObject({ state: 'missing', problem: `${path}: no such file`, failures: 1 })
    expect(warnings).toHaveLength(1)
    await replace(await listOf(web))
    await changed(file)
    expect([verdict(file, [web]), verdict(file, [db]), changes]).toEqual(['revoked', 'ok', 1])
    expect(file.status().problem).toBeUndefined()
  })

  it('garbage at the start', async () => {
    await writeFile(path, (await listOf(web)).slice(0, -50))
    const file = await follow(mode)
    expect([verdict(file, [web]), verdict(file, [db])]).toEqual([unknownIs[mode], unknownIs[mode]])
    expect(file.status()).toMatchObject({ state: 'unreadable', lists: 0 })
    expect(warnings).toEqual([
      expect.stringMatching(mode === 'require' ? /every peer is refused/ : /revocation is disabled/),
    ])
  })

  it('garbage, or nothing at all, after a list: what was known stays known', async () => {
    await writeFile(path, await listOf(web))
    let counted = 0
    const counter = { add: (amount: number) => (counted += amount) }
    const meter = {
      counter: () => counter,
      gauge: () => ({ set() {}, add() {}, remove() {} }),
      histogram: () => ({ record() {} }),
    }
    const file = await follow(mode, { meter })
    await replace('-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n')
    await changed(file)
    await rm(path)
    await changed(file)
    expect([verdict(file, [web]), verdict(file, [db])]).toEqual(['revoked', 'ok'])
    expect(file.status()).toMatchObject({ state: 'in-force', problem: `${path}: no such file` })
    expect(counted).toBe(file.status().failures)
    expect(warnings).toEqual([
      expect.stringMatching(/those of before stay in force.*list 1 of 1/),
      expect.stringMatching(/those of before stay in force.*no such file/),
    ])
  })

  it('two issuers, one of them without a list', async () => {
    const between = await intermediate(ca, 'CN=between')
    const [near, far] = [await leaf(between), await leaf(between)]
    await writeFile(path, (await listOf()) + (await crlOf(between, { serials: [serialOf(near)] })))
    const both = await follow(mode)
    expect([verdict(both, [near, between]), verdict(both, [far, between])]).toEqual(['revoked', 'ok'])
    await replace(await listOf(web))
    await changed(both)
    expect([verdict(both, [near, between]), verdict(both, [web])]).toEqual([unknownIs[mode], 'revoked'])
    await replace(await listOf(between))
    await changed(both)
    expect([verdict(both, [near, between]), verdict(both, [db])]).toEqual(['revoked', 'ok'])
  })

  it('a file that is written in place, in two halves', async () => {
    await writeFile(path, await listOf(web))
    const file = await follow(mode)
    const next = (await listOf(web, db)) + (await crlOf(await root('O=other')))
    const handle = await open(path, 'w')
    await handle.write(next.slice(0, 300))
    await changed(file)
    expect(verdict(file, [web])).toBe('revoked')
    await handle.write(next.slice(300))
    await handle.close()
    await changed(file)
    expect([verdict(file, [web]), verdict(file, [db])]).toEqual(['revoked', 'revoked'])
  })
})

describe('a file of revocation lists', () => {
  it('is a ConfigMap, whose link is swapped', async () => {
    const version = async (name: string, text: string): Promise<void> => {
      await mkdir(join(folder, name))
      await writeFile(join(folder, name, 'ca-crl.pem'), text)
      await symlink(name, join(folder, '..data_tmp'))
      await rename(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    await version('..1', await listOf())
    await symlink('..data/ca-crl.pem', path)
    const file = await follow('allow-unknown')
    expect(verdict(file, [web])).toBe('ok')
    await version('..2', await listOf(web))
    await rm(join(folder, '..1'), { recursive: true })
    await changed(file)
    expect(verdict(file, [web])).toBe('revoked')
  })

  it('is read once the folder rests, and without that rest before long', async () => {
    let calls = 0
    const watched = watchFile({
      path,
      debounceMs: DEBOUNCE_MS,
      maxDebounceMs: 10_000,
      pollMs: POLL_MS,
      onTouched: () => (calls += 1),
      clock,
    })
    watched.touch()
    clock.advance(DEBOUNCE_MS - 1)
    watched.touch()
    clock.advance(DEBOUNCE_MS - 1)
    expect(calls).toBe(0)
    clock.advance(1)
    expect(calls).toBe(1)
    for (let ms = 0; ms < 9_999; ms += 1_111) {
      watched.touch()
      clock.advance(1_111)
    }
    expect(calls).toBe(1)
    clock.advance(1)
    expect(calls).toBe(2)
    watched.close()
  })

  it('may come with its folder: where no change is told of, changes are looked for', async () => {
    path = join(folder, 'later', 'ca-crl.pem')
    const file = await follow('require')
    await mkdir(join(folder, 'later'))
    await writeFile(path, derOf(await listOf(web)))
    clock.advance(POLL_MS)
    await file.reload()
    expect(verdict(file, [web])).toBe('revoked')
    // And from now on the folder is watched.
    await replace(await listOf(db))
    await changed(file)
    expect(verdict(file, [db])).toBe('revoked')
  })

  it('tells every watcher, also those beside one that fails', async () => {
    await writeFile(path, await listOf())
    const told: string[] = []
    const file = await follow('allow-unknown', {
      onChange: () => {
        throw new Error('mine')
      },
    })
    const unwatch = file.watch(() => told.push('a'))
    file.watch(() => told.push('b'))
    await replace(await listOf(web))
    await changed(file)
    unwatch()
    // The same again is no change.
    await file.reload()
    await replace(await listOf(db))
    await changed(file)
    expect(told).toEqual(['a', 'b', 'b'])
    expect(warnings).toHaveLength(2)
  })

  it.each([
    [
      'too large',
      (at: string) => writeFile(at, Buffer.alloc(4 * 1024 * 1024 + 1)),
      /4194305 bytes, at most 4194304/,
    ],
    ['a folder', (at: string) => mkdir(at), /not a file/],
  ] as const)('is not read when it is %s', async (_, make, problem) => {
    await make(path)
    expect((await follow('require')).status()).toMatchObject({
      state: 'unreadable',
      problem: expect.stringMatching(problem),
    })
  })

  it('needs a name and a known mode', () => {
    expect(() => createCrlFile({ path: '' })).toThrowError(/path/)
    // @ts-expect-error: from JavaScript
    expect(() => createCrlFile({ path, mode: 'strict' })).toThrowError(/neither allow-unknown nor require/)
  })
})
