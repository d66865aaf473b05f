/** A change of a CA's folder as one: what was there is kept until the change is done, and comes back when it is not. */
import { randomBytes } from 'node:crypto'
import { copyFile, link, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '@ambient/core'
import { caFiles, filesError, isMissing } from './folder-files.ts'
import { withFolderLock } from './folder-lock.ts'

/** Complete as soon as it has this name. */
const KEPT = '.before'
const UNFINISHED = '.before.new'
/** What a file is called while it is written. */
const TEMPORARY = /\.(?:pem|json)\.[0-9a-f]{12}$/

/**
 * Runs the change with the lock held. One that fails, or whose process dies in it, has changed nothing: the next one, or
 * whoever opens the folder, puts back what was there.
 */
export function changeFolder<T>(dir: string, change: () => Promise<T>): Promise<T> {
  return withFolderLock(dir, async () => {
    await undo(dir)
    await keep(dir)
    try {
      const result = await change()
      await forget(dir)
      return result
    } catch (error) {
      await undo(dir)
      throw error
    }
  })
}

/** Waits for a change that is under way, and puts back what one left whose process died. */
export async function settleFolder(dir: string): Promise<void> {
  if ((await namesIn(join(dir, KEPT))) === undefined) return
  await withFolderLock(dir, () => undo(dir))
}

/** Files are never written in place, so that a second name keeps the old text: no key is copied. */
async function keep(dir: string): Promise<void> {
  const unfinished = join(dir, UNFINISHED)
  await guarded(unfinished, async () => {
    await rm(unfinished, { recursive: true, force: true })
    await mkdir(join(unfinished, caFiles.retired), { recursive: true, mode: 0o700 })
    for (const name of await filesOf(dir)) await sameFile(join(dir, name), join(unfinished, name))
    await rename(unfinished, join(dir, KEPT))
  })
}

async function undo(dir: string): Promise<void> {
  const kept = join(dir, KEPT)
  if ((await namesIn(kept)) === undefined) return
  await guarded(kept, async () => {
    const before = await filesOf(kept)
    for (const name of before) await putBack(join(kept, name), join(dir, name))
    for (const name of await filesOf(dir))
      if (!before.includes(name)) await rm(join(dir, name), { force: true })
    for (const folder of [dir, join(dir, caFiles.retired)])
      for (const name of (await namesIn(folder)) ?? [])
        if (TEMPORARY.test(name)) await rm(join(folder, name), { force: true })
  })
  await forget(dir)
}

/** By its name first: half of what was there is not put back. */
async function forget(dir: string): Promise<void> {
  const unfinished = join(dir, UNFINISHED)
  await guarded(unfinished, async () => {
    await rename(join(dir, KEPT), unfinished)
    await rm(unfinished, { recursive: true, force: true })
  })
}

async function putBack(from: string, to: string): Promise<void> {
  const temporary = `${to}.${randomBytes(6).toString('hex')}`
  await mkdir(dirname(to), { recursive: true, mode: 0o755 })
  await sameFile(from, temporary)
  await rename(temporary, to)
  // Of two names of one file the rename leaves both.
  await rm(temporary, { force: true })
}

async function sameFile(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch {
    // A file system without second names.
    await copyFile(from, to)
  }
}

/** Everything in a folder that belongs to its CA, the state last. */
async function filesOf(dir: string): Promise<readonly string[]> {
  const { lock, retired, state, ...others } = caFiles
  const here = (await namesIn(dir)) ?? []
  const old = (await namesIn(join(dir, retired))) ?? []
  return [
    ...Object.values(others).filter(name => here.includes(name)),
    ...old.filter(name => /^[0-9a-f]+-(?:cert|key)\.pem$/.test(name)).map(name => join(retired, name)),
    ...(here.includes(state) ? [state] : []),
  ]
}

async function namesIn(dir: string): Promise<readonly string[] | undefined> {
  try {
    return await readdir(dir)
  } catch (cause) {
    if (isMissing(cause)) return undefined
    throw filesError(`${dir}: ${messageOf(cause)}`, cause)
  }
}

async function guarded(path: string, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (cause) {
    throw filesError(`${path}: ${messageOf(cause)}`, cause)
  }
}
