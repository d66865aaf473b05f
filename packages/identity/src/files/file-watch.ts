/**
 * Tells when a file may have changed. Its folder is watched, not the file: Kubernetes replaces a link in the folder
 * (`..data`), editors rename over the file, and both leave a watcher of the file with nothing.
 */
import { type FSWatcher, type Stats, statSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import type { Clock, Timer } from '@ambient/core'

export interface WatchFileOptions {
  readonly path: string
  /** Quiet in the folder for so long comes before the call. */
  readonly debounceMs: number
  /** The first change waits no longer than this for the quiet. */
  readonly maxDebounceMs: number
  /** Without any sign, called this often: not every file system tells of changes. */
  readonly pollMs: number
  readonly onTouched: () => void
  readonly clock: Clock
}

export interface FileWatch {
  /** As if the folder had changed. */
  touch(): void
  close(): void
}

export function watchFile(options: WatchFileOptions): FileWatch {
  return new FolderOfFile(options)
}

class FolderOfFile implements FileWatch {
  readonly #options: WatchFileOptions
  #watcher: FSWatcher | undefined
  /** Another folder under the same name needs another watcher. */
  #watched: string | undefined
  #quiet: Timer | undefined
  #poll: Timer | undefined
  #firstTouch: number | undefined
  #isClosed = false

  constructor(options: WatchFileOptions) {
    this.#options = options
    this.#follow()
    this.#arm()
  }

  touch(): void {
    if (this.#isClosed) return
    const { clock, debounceMs, maxDebounceMs } = this.#options
    const now = clock.monotonic()
    this.#firstTouch ??= now
    this.#quiet?.cancel()
    const waitMs = Math.min(debounceMs, this.#firstTouch + maxDebounceMs - now)
    this.#quiet = clock.after(waitMs, () => {
      this.#firstTouch = undefined
      this.#options.onTouched()
    })
  }

  close(): void {
    this.#isClosed = true
    this.#quiet?.cancel()
    this.#poll?.cancel()
    this.#unwatch()
  }

  #arm(): void {
    const { clock, pollMs, onTouched } = this.#options
    this.#poll = clock.after(pollMs, () => {
      this.#follow()
      onTouched()
      if (!this.#isClosed) this.#arm()
    })
  }

  /** The folder as it is now; one that is not there is looked for again with each poll. */
  #follow(): void {
    const folder = dirname(this.#options.path)
    const facts = factsOf(folder)
    const identity = facts && `${facts.dev}:${facts.ino}:${facts.birthtimeMs}`
    if (identity === this.#watched) return
    this.#unwatch()
    if (identity === undefined) return
    try {
      this.#watcher = watch(folder, { persistent: false }, () => this.touch())
      this.#watcher.on('error', () => this.#unwatch())
      this.#watched = identity
    } catch {
      // No more watchers in this system: the poll is what there is.
    }
  }

  #unwatch(): void {
    this.#watcher?.close()
    this.#watcher = undefined
    this.#watched = undefined
  }
}

function factsOf(folder: string): Stats | undefined {
  try {
    return statSync(folder)
  } catch {
    return undefined
  }
}
