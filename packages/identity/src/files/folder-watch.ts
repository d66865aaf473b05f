/**
 * Tells that something may have changed where files lie. Folders are watched, not files: renewed files and the `..data`
 * link of a mounted Secret are put in place by renames, which a watch of the old file never sees. No message is relied
 * upon; whoever needs certainty looks again by timer.
 */
import { type FSWatcher, realpathSync, statSync, watch } from 'node:fs'
import { dirname } from 'node:path'

export interface FolderWatch {
  /** Watches what the paths lead to now; to be called again after each change. */
  renew(): void
  close(): void
}

interface Watched {
  readonly watcher: FSWatcher
  /** A folder that was replaced by another one of its name is no longer the one that is watched. */
  readonly inode: bigint
}

export function watchFolders(paths: readonly string[], onChange: () => void): FolderWatch {
  const watched = new Map<string, Watched>()

  const drop = (folder: string): void => {
    watched.get(folder)?.watcher.close()
    watched.delete(folder)
  }

  const open = (folder: string, inode: bigint): void => {
    try {
      const watcher = watch(folder, { persistent: false }, onChange)
      watcher.on('error', () => drop(folder))
      watched.set(folder, { watcher, inode })
    } catch {
      // No more watches in this system, or the folder is gone: the timer's look is what remains.
    }
  }

  return {
    renew() {
      const folders = new Set(paths.flatMap(foldersOf))
      for (const folder of [...watched.keys()]) if (!folders.has(folder)) drop(folder)
      for (const folder of folders) {
        const inode = inodeOf(folder)
        if (inode === watched.get(folder)?.inode) continue
        drop(folder)
        if (inode !== undefined) open(folder, inode)
      }
    },
    close() {
      for (const folder of [...watched.keys()]) drop(folder)
    },
  }
}

/** Where the name lies, where the file lies, and where the link to the file's folder lies. */
function foldersOf(path: string): string[] {
  const folders = [dirname(path)]
  try {
    const real = realpathSync(path)
    folders.push(dirname(real), dirname(dirname(real)))
  } catch {
    // Not there yet.
  }
  return folders
}

function inodeOf(folder: string): bigint | undefined {
  try {
    return statSync(folder, { throwIfNoEntry: false, bigint: true })?.ino
  } catch {
    return undefined
  }
}
