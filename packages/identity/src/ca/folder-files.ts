/** The files of a CA's folder: Istio's plugin-CA names, keys that only their owner reads, each file replaced at once. */
import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '@ambient/core'
import { IdentityError } from '../errors.ts'

/** Names that istiod knows too, and what a rotation needs beside them. */
export const caFiles = Object.freeze({
  /** Every root that is to be believed. */
  roots: 'root-cert.pem',
  rootKey: 'root-key.pem',
  /** Whoever signs workloads. */
  certificate: 'ca-cert.pem',
  key: 'ca-key.pem',
  /** The same, and what stands above it. */
  chain: 'cert-chain.pem',
  /** A list of each authority of the folder. */
  crl: 'crl.pem',
  /** What the other files are about; written last. */
  state: 'ca.json',
  /** A root that is believed and does not sign yet. */
  nextRoot: 'next-root-cert.pem',
  nextRootKey: 'next-root-key.pem',
  /** Authorities that signed once, for their revocation lists. */
  retired: 'retired',
  lock: '.lock',
})

/** Read and written by nobody but the owner. */
const KEY_MODE = 0o600
const PUBLIC_MODE = 0o644
const OTHERS = 0o077

/** `undefined` when there is no such file. */
export async function readIfPresent(dir: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(dir, name), 'utf8')
  } catch (cause) {
    if (isMissing(cause)) return undefined
    throw filesError(`${join(dir, name)}: ${messageOf(cause)}`, cause)
  }
}

export async function readPublic(dir: string, name: string): Promise<string> {
  const text = await readIfPresent(dir, name)
  if (text === undefined) throw filesError(`${join(dir, name)}: there is no such file`)
  return text
}

/** A private key, unless anybody but its owner may read it; Windows has no such modes. */
export async function readKey(dir: string, name: string): Promise<string | undefined> {
  const path = join(dir, name)
  try {
    const { mode } = await stat(path)
    if (process.platform !== 'win32' && (mode & OTHERS) !== 0)
      throw filesError(
        `${path}: others may read this key (mode ${(mode & 0o777).toString(8).padStart(4, '0')}, not 0600)`,
      )
  } catch (cause) {
    if (isMissing(cause)) return undefined
    throw cause instanceof IdentityError ? cause : filesError(`${path}: ${messageOf(cause)}`, cause)
  }
  return readIfPresent(dir, name)
}

export const writeKey = (dir: string, name: string, text: string): Promise<void> =>
  replace(join(dir, name), text, KEY_MODE)

export const writePublic = (dir: string, name: string, text: string): Promise<void> =>
  replace(join(dir, name), text, PUBLIC_MODE)

/** Gone afterwards, whether it was there or not. */
export async function remove(dir: string, name: string): Promise<void> {
  await rm(join(dir, name), { force: true })
}

/** Readers see the old text or the new one. Only then is it on the disk as well. */
async function replace(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    const file = await open(temporary, 'wx', mode)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw filesError(`${path}: ${messageOf(cause)}`, cause)
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

export function filesError(message: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_CA_FILES', message, { cause, layer: 'identity' })
}
