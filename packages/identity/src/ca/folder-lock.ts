/** One process at a time changes a CA's folder; one that died with the lock does not keep it. */
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, systemClock } from '@ambient/core'
import { caFileDefaults } from '../defaults.ts'
import { caFiles, filesError } from './folder-files.ts'

/**
 * Runs the change with the lock held.
 * @throws IdentityError `AMBIENT_E_CA_FILES` when another process does not let go of it in time.
 */
export async function withFolderLock<T>(dir: string, change: () => Promise<T>): Promise<T> {
  const path = join(dir, caFiles.lock)
  const deadline = systemClock.monotonic() + caFileDefaults.lockWaitMs
  for (;;) {
    const holder = await take(path)
    if (holder === undefined) break
    if (await isHeld(path, holder)) {
      if (systemClock.monotonic() >= deadline)
        throw filesError(`${dir}: process ${holder} is changing this CA (${path})`)
      await new Promise<void>(resolve =>
        systemClock.after(caFileDefaults.lockPollMs, resolve, { keepAlive: true }),
      )
    } else await breakLock(path, holder)
  }
  try {
    return await change()
  } finally {
    await rm(path, { force: true })
  }
}

/** `undefined` once the lock is ours, else who has it; 0 while that is being written. */
async function take(path: string): Promise<number | undefined> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(String(process.pid))
    } catch (cause) {
      await rm(path, { force: true })
      throw cause
    } finally {
      await file.close()
    }
    return undefined
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'))
      throw filesError(`${path}: ${messageOf(cause)}`, cause)
    return holderOf(path)
  }
}

async function holderOf(path: string): Promise<number> {
  return Number(await readFile(path, 'utf8').catch(() => '')) || 0
}

/** In a container each process has the number of the one before: a lock that is older than we are is not ours. */
async function isHeld(path: string, pid: number): Promise<boolean> {
  if (pid !== 0 && pid !== process.pid) return isAlive(pid)
  try {
    const ageMs = systemClock.now() - (await stat(path)).mtimeMs
    return ageMs < (pid === 0 ? caFileDefaults.lockWaitMs : process.uptime() * 1_000)
  } catch {
    // Gone by now, which the next look sees.
    return true
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH')
  }
}

/** Taken aside first: of two that break it, one finds another's lock in its hand and gives it back. */
async function breakLock(path: string, holder: number): Promise<void> {
  const aside = `${path}.${process.pid}`
  try {
    await rename(path, aside)
  } catch {
    return
  }
  if ((await holderOf(aside)) !== holder) await rename(aside, path)
  else await rm(aside, { force: true })
}
