/**
 * Where a Workload API server's socket lies: nobody else may put another one in its place, and, where the folder is one
 * user's own, the kernel lets nobody else in. That is attestation without a line of native code.
 */
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  type Stats,
  unlinkSync,
} from 'node:fs'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { messageOf } from '@ambient/core'
import { IdentityError } from '../errors.ts'

const GROUP_OR_OTHERS_WRITE = 0o022
const GROUP_OR_OTHERS = 0o077
const STICKY = 0o1000
const ROOT = 0
/** Linux's; Node has no name for it. */
const O_PATH = 0o10000000

/**
 * The folder itself may be the workload's own, where root serves it; everything above it is ours or root's.
 * @throws IdentityError `AMBIENT_E_WORKLOAD_API_LISTEN` when somebody else may change what lies on the way to the socket.
 */
export function checkSocketFolder(path: string): void {
  const own = ownUser()
  const folder = folderOf(path)
  if (own === undefined) return
  const isTrusted = ({ uid }: Stats): boolean => uid === ROOT || uid === own
  let at = folder
  let stat = statOf(at, path)
  if (!isTrusted(stat) && (own !== ROOT || process.platform !== 'linux'))
    throw refuse(
      path,
      `the folder ${at} belongs to user ${stat.uid}, and only root may serve others' folders`,
    )
  if (othersMayReplace(stat)) throw refuse(path, `others than its owner may write to the folder ${at}`)
  for (let above = dirname(at); above !== at; above = dirname(at)) {
    const parent = statOf(above, path)
    if (!isTrusted(parent))
      throw refuse(path, `the folder ${above} belongs to user ${parent.uid}, who could put another one there`)
    // What lies in a sticky folder is safe from all but its own owner.
    if (othersMayReplace(parent) || (isWritable(parent) && !isTrusted(stat)))
      throw refuse(path, `others than its owner may write to the folder ${above}`)
    at = above
    stat = parent
  }
}

function isWritable({ mode }: Stats): boolean {
  return (mode & GROUP_OR_OTHERS_WRITE) !== 0
}

function othersMayReplace(stat: Stats): boolean {
  return isWritable(stat) && (stat.mode & STICKY) === 0
}

/**
 * The user whose own folder the socket lies in: nobody else but root can have come through it. `undefined` when others
 * may enter the folder, or when that cannot be said here.
 */
export function ownerOfSocketFolder(path: string): number | undefined {
  if (ownUser() === undefined) return undefined
  try {
    checkSocketFolder(path)
    const { uid, mode } = statOf(folderOf(path), path)
    return (mode & GROUP_OR_OTHERS) === 0 ? uid : undefined
  } catch {
    return undefined
  }
}

/** A socket that is bound, so that no other one is removed in its place. */
export interface BoundSocket {
  /** Removes the name, unless another server has taken it. */
  remove(): void
}

/**
 * Binds the socket under another name and moves it to its own when its mode is set. One that a dead server left behind is
 * replaced, nothing else ever is.
 * @throws IdentityError `AMBIENT_E_WORKLOAD_API_LISTEN`
 */
export async function bindSocket(server: Server, path: string, mode: number): Promise<BoundSocket> {
  checkSocketFolder(path)
  await checkUnused(path)
  const hidden = join(dirname(path), `.${randomBytes(4).toString('hex')}`)
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: Error): void => reject(refuse(path, messageOf(cause), cause))
    server.once('error', onError)
    server.listen({ path: hidden }, () => {
      server.removeListener('error', onError)
      resolve()
    })
  })
  try {
    const { ino } = setMode(hidden, mode)
    renameSync(hidden, path)
    return { remove: () => removeOwn(path, ino) }
  } catch (cause) {
    server.close()
    throw refuse(path, messageOf(cause), cause)
  }
}

/** By a descriptor: in a folder of another user, the name could be a link by now. */
function setMode(path: string, mode: number): Stats {
  if (process.platform !== 'linux') {
    chmodSync(path, mode)
    return lstatSync(path)
  }
  const fd = openSync(path, O_PATH | constants.O_NOFOLLOW)
  try {
    const stat = fstatSync(fd)
    if (!stat.isSocket() || stat.uid !== ownUser() || stat.nlink !== 1)
      throw new Error('somebody has put something else there')
    chmodSync(`/proc/self/fd/${fd}`, mode)
    return stat
  } finally {
    closeSync(fd)
  }
}

function removeOwn(path: string, inode: number): void {
  try {
    if (lstatSync(path).ino === inode) unlinkSync(path)
  } catch {
    // Gone already.
  }
}

async function checkUnused(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw refuse(path, 'something else than a socket lies there')
  const answered = await new Promise<boolean>(resolve => {
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', error => resolve(!('code' in error) || error.code !== 'ECONNREFUSED'))
  })
  if (answered) throw refuse(path, 'another server listens there')
}

/** As the kernel sees it: links on the way are followed once, here. */
function folderOf(path: string): string {
  try {
    return realpathSync(dirname(path))
  } catch (cause) {
    throw refuse(path, messageOf(cause), cause)
  }
}

function statOf(at: string, path: string): Stats {
  try {
    return lstatSync(at)
  } catch (cause) {
    throw refuse(path, messageOf(cause), cause)
  }
}

function ownUser(): number | undefined {
  return process.getuid?.()
}

function refuse(path: string, rule: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_WORKLOAD_API_LISTEN', `the socket ${path}: ${rule}`, {
    cause,
    layer: 'config',
  })
}
