/** Tells when a file may have changed, once its folders have been quiet for a while, and now and then without a sign. */
import type { Clock, Timer } from '@ambient/core'
import { type FolderWatch, watchFolders } from './folder-watch.ts'

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
  readonly #folders: FolderWatch
  #quiet: Timer | undefined
  #poll: Timer | undefined
  #firstTouch: number | undefined
  #isClosed = false

  constructor(options: WatchFileOptions) {
    this.#options = options
    this.#folders = watchFolders([options.path], () => this.touch())
    this.#folders.renew()
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
      this.#look()
    })
  }

  close(): void {
    this.#isClosed = true
    this.#quiet?.cancel()
    this.#poll?.cancel()
    this.#folders.close()
  }

  #arm(): void {
    this.#poll = this.#options.clock.after(this.#options.pollMs, () => {
      this.#look()
      if (!this.#isClosed) this.#arm()
    })
  }

  /** What the path leads to may be another folder now; it is watched before the file is read. */
  #look(): void {
    this.#folders.renew()
    this.#options.onTouched()
  }
}
