/** A process that dies while it changes a CA's folder, at every step of every change: the CA is there, as it was or as it was to be. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import type * as Files from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId } from '@ambient/core'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  type CertificateAuthorityFolder,
  createCertificateAuthorityFiles,
  createCertificateRequest,
  openCertificateAuthority,
  verifyPeerChain,
} from '../src/index.ts'
import { readPemCertificates } from '../src/x509/pem.ts'

const WEB = parseSpiffeId('spiffe://td.example/ns/shop/sa/web')

/** Changes of names that the process still makes before it dies; after that nothing of it reaches the disk. */
const life = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY }))

vi.mock('node:fs/promises', async original => {
  const files = await original<typeof Files>()
  const mortal =
    <Args extends readonly unknown[], Result>(run: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      life.left -= 1
      if (life.left < 0) throw new Error('dead')
      return run(...args)
    }
  const { rename, rm, link } = files
  return { ...files, rename: mortal(rename), rm: mortal(rm), link: mortal(link) }
})

const folders: string[] = []
afterEach(() => {
  life.left = Number.POSITIVE_INFINITY
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

function newFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-crash-'))
  folders.push(dir)
  return dir
}

async function newCa(): Promise<CertificateAuthorityFolder> {
  const dir = newFolder()
  await createCertificateAuthorityFiles({ dir, trustDomain: 'td.example' })
  return openCertificateAuthority({ dir })
}

const nobody = String(spawnSync(process.execPath, ['-e', '']).pid)

async function issues(ca: CertificateAuthorityFolder): Promise<boolean> {
  const { chain } = await ca.sign({ ...(await createCertificateRequest(WEB)), id: WEB })
  return verifyPeerChain({
    chain: chain.slice(0, -1).flatMap(pem => readPemCertificates(pem)),
    trustBundle: ca.rootPem,
    ownTrustDomain: 'td.example',
    expect: { kind: 'any' },
    now: Date.now(),
  }).ok
}

/** Whether the change was done before its process died. */
async function dieAfter(steps: number, change: () => Promise<unknown>): Promise<boolean> {
  life.left = steps
  const isDone = await change().then(
    () => true,
    () => false,
  )
  const died = life.left < 0
  life.left = Number.POSITIVE_INFINITY
  return isDone && !died
}

const changes: Readonly<
  Record<string, { before: number; change: (ca: CertificateAuthorityFolder) => Promise<unknown> }>
> = {
  'a root added': { before: 0, change: ca => ca.rotateRoot() },
  'a new root that signs': { before: 1, change: ca => ca.rotateRoot() },
  'an old root dropped': { before: 2, change: ca => ca.rotateRoot() },
  'an intermediate replaced': { before: 0, change: ca => ca.rotateIntermediate() },
  'a revocation': { before: 0, change: ca => ca.revoke('1234') },
}

describe('a process that dies in the middle of', () => {
  for (const [name, { before, change }] of Object.entries(changes))
    it(`${name} leaves a CA`, async () => {
      const first = await newCa()
      for (let step = 0; step < before; step += 1) await first.rotateRoot()
      await first.close()
      for (let steps = 0; ; steps += 1) {
        const dir = newFolder()
        cpSync(first.dir, dir, { recursive: true })
        const ca = await openCertificateAuthority({ dir })
        const { nextRotationStep, rootPem } = ca
        const isDone = await dieAfter(steps, () => change(ca))
        await ca.close()
        if (isDone) return expect(steps).toBeGreaterThan(5)
        const lock = join(dir, '.lock')
        if (existsSync(lock)) writeFileSync(lock, nobody)
        const next = await openCertificateAuthority({ dir })
        expect(await issues(next), `after ${steps} steps`).toBe(true)
        if (next.nextRotationStep === nextRotationStep) expect(next.rootPem).toBe(rootPem)
        await change(next)
        expect(await issues(next), `again, after ${steps} steps`).toBe(true)
        // Neither locks nor half-written files.
        expect(readdirSync(dir).filter(file => !/^[a-z][a-z-]*(?:\.pem|\.json)?$/.test(file))).toEqual([])
        await next.close()
      }
    }, 60_000)
})

describe('a lock', () => {
  it('of a process that had our number is none, nor is one that nobody signed', async () => {
    const ca = await newCa()
    const lock = join(ca.dir, '.lock')
    for (const text of [String(process.pid), '']) {
      writeFileSync(lock, text)
      utimesSync(lock, new Date(), new Date(Date.now() - process.uptime() * 1_000 - 60_000))
      await ca.rotateIntermediate()
      expect(existsSync(lock)).toBe(false)
    }
    await ca.close()
  })
})
