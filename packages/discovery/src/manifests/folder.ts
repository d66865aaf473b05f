/** A folder of manifests: read as a whole, watched, robust to however files are replaced. */
import { type FSWatcher, Stats, statSync, watch } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, messageOf, systemClock, type Timer } from '@ambient/core'
import { DiscoveryError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ManifestFile } from './read-manifests.ts'

export interface WatchFolderOptions {
  readonly folder: string
  /** Called with all files after something changed and then stayed quiet; never twice at once, never after `close`. */
  readonly onChange: (files: readonly ManifestFile[]) => void
  /** The folder cannot be read or watched just now; it is tried again. */
  readonly onError?: (error: DiscoveryError) => void
  readonly clock?: Clock
}

export interface FolderWatch {
  close(): Promise<void>
}

const MANIFEST = /\.(ya?ml|json)$/i
/** What programs keep beside manifests, under names that no manifest has. */
const NOT_A_MANIFEST =
  /^(package(-lock)?|tsconfig(\..*)?|jsconfig|biome)\.json$|^pnpm-(lock|workspace)\.yaml$|\.policy-test\.ya?ml$/

/**
 * Every `*.yaml`, `*.yml` and `*.json` of a folder and of the folders in it, sorted by path, which is relative to the
 * folder. Hidden files, `package.json` and its like, and tests of policies are left out; a file that vanishes while it is read is not there.
 * @throws DiscoveryError `AMBIENT_E_MANIFESTS` when the folder or a file in it cannot be read.
 */
export async function readManifestFolder(folder: string): Promise<readonly ManifestFile[]> {
  try {
    const paths = await listFolder(folder)
    const files = await Promise.all(paths.sort().map(path => readOne(folder, path)))
    return files.flatMap(file => file ?? [])
  } catch (error) {
    throw await unreadable(folder, error)
  }
}

/** Watches from now on; whoever wants the present state too reads the folder after this returned. */
export function watchManifestFolder(options: WatchFolderOptions): FolderWatch {
  return new ManifestFolderWatch(options)
}

interface Watched {
  readonly watcher: FSWatcher
  /** Another folder under the same name needs another watcher; inodes are used again, so its birth counts too. */
  readonly identity: string
}

class ManifestFolderWatch implements FolderWatch {
  readonly #options: WatchFolderOptions
  readonly #clock: Clock
  readonly #watched = new Map<string, Watched>()
  #timer: Timer | undefined
  #reading: Promise<void>
  #last: string | undefined
  #closed = false

  constructor(options: WatchFolderOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    // At once, so that no change after this call goes unseen.
    const facts = statSync(options.folder, { throwIfNoEntry: false })
    if (facts !== undefined) this.#watch('.', identityOf(facts))
    this.#reading = this.#follow().catch(error => this.#failed(error))
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    this.#unwatch(() => true)
    await this.#reading
  }

  #watch(name: string, identity: string): void {
    if (this.#closed || this.#watched.get(name)?.identity === identity) return
    this.#unwatch(other => other === name)
    const watcher = watch(join(this.#options.folder, name), () => this.#touched())
    watcher.on('error', () => {
      this.#unwatch(other => other === name)
      this.#touched()
    })
    this.#watched.set(name, { watcher, identity })
  }

  #unwatch(which: (name: string) => boolean): void {
    for (const [name, { watcher }] of this.#watched) {
      if (!which(name)) continue
      watcher.close()
      this.#watched.delete(name)
    }
  }

  #touched(delayMs: number = limits.watchDebounceMs): void {
    if (this.#closed) return
    this.#timer?.cancel()
    this.#timer = this.#clock.after(delayMs, () => {
      this.#reading = this.#reading.then(() => this.#read())
    })
  }

  async #read(): Promise<void> {
    if (this.#closed) return
    try {
      await this.#follow()
      const files = await readManifestFolder(this.#options.folder)
      const state = JSON.stringify(files)
      if (this.#closed || state === this.#last) return
      this.#last = state
      this.#options.onChange(files)
    } catch (error) {
      this.#failed(error)
    }
  }

  /** One watcher per folder: recursive watching does not exist everywhere. */
  async #follow(): Promise<void> {
    const { folder } = this.#options
    const names = ['.', ...(await subfolders(folder))]
    this.#unwatch(name => !names.includes(name))
    for (const name of names) {
      const facts = await stat(join(folder, name)).catch(error => {
        if (name !== '.' && isGone(error)) return undefined
        throw error
      })
      if (facts !== undefined) this.#watch(name, identityOf(facts))
    }
  }

  #failed(cause: unknown): void {
    if (this.#closed) return
    // Watchers of a folder that is gone stay silent for ever.
    this.#unwatch(() => true)
    const { folder, onError } = this.#options
    onError?.(cause instanceof DiscoveryError ? cause : folderError(`cannot watch ${folder}`, cause))
    this.#touched(limits.watchRetryMs)
  }
}

function identityOf(facts: Stats): string {
  return `${facts.dev}:${facts.ino}:${facts.birthtimeMs}`
}

/** The two mistakes that people make have words of their own. */
async function unreadable(folder: string, cause: unknown): Promise<DiscoveryError> {
  const facts = await stat(folder).catch((error: unknown) => error)
  const problem = isGone(facts)
    ? `there is no folder ${folder}`
    : facts instanceof Stats && !facts.isDirectory()
      ? `${folder} is a file; name its folder`
      : undefined
  if (problem === undefined) return folderError(`cannot read manifests of ${folder}`, cause)
  return new DiscoveryError('AMBIENT_E_MANIFESTS', problem, { cause, layer: 'config' })
}

function folderError(what: string, cause: unknown): DiscoveryError {
  return new DiscoveryError('AMBIENT_E_MANIFESTS', `${what}: ${messageOf(cause)}`, { cause, layer: 'config' })
}

async function listFolder(folder: string): Promise<string[]> {
  const names = await subfolders(folder)
  const lists = await Promise.all([filesOf(folder, ''), ...names.map(name => filesOf(folder, `${name}/`))])
  return lists.flat()
}

/** A folder that vanished meanwhile has no files. */
async function filesOf(folder: string, prefix: string): Promise<string[]> {
  const names = await readdir(join(folder, prefix)).catch(error => {
    if (prefix !== '' && isGone(error)) return []
    throw error
  })
  return names.filter(isManifest).map(name => `${prefix}${name}`)
}

function isManifest(name: string): boolean {
  return MANIFEST.test(name) && !name.startsWith('.') && !NOT_A_MANIFEST.test(name)
}

async function subfolders(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const names: string[] = []
  for (const entry of entries) {
    if (entry.name.startsWith('.') || entry.name === 'node_modules') continue
    const isFolder = entry.isSymbolicLink()
      ? await stat(join(folder, entry.name)).then(
          target => target.isDirectory(),
          () => false,
        )
      : entry.isDirectory()
    if (isFolder) names.push(entry.name)
  }
  return names
}

async function readOne(folder: string, path: string): Promise<ManifestFile | undefined> {
  try {
    const full = join(folder, path)
    const facts = await stat(full)
    if (!facts.isFile()) return undefined
    // Larger files are read only so far that the reader refuses them with their position.
    if (facts.size > limits.maxManifestBytes) return { path, text: ' '.repeat(limits.maxManifestBytes + 1) }
    return { path, text: await readFile(full, 'utf8') }
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
