/**
 * A file of revocation lists, followed while it changes. What was read last stays in force until something better can
 * be read. OCSP is not asked: a verdict stands before the first byte and waits for nobody.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import {
  type Clock,
  type Logger,
  messageOf,
  type Meter,
  noMeter,
  silentLogger,
  systemClock,
} from '@ambient/core'
import { crlDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { type CrlMode, type CrlSet, crlSet, revocationProblem } from './judge.ts'
import { readCrls } from './read-crls.ts'
import type { Revocations } from './revocations.ts'
import { type FileWatch, watchFile } from '../files/file-watch.ts'

export interface CrlFileOptions {
  /** PEM with any number of `X509 CRL` blocks, or the DER of one. Its folder is watched. */
  readonly path: string
  /**
   * `allow-unknown` (default) is ztunnel's: only what a list names is refused; a list that is missing, cannot be read or
   * is stale refuses nobody. `require`: whoever's status is not known from a complete list that is in force is refused.
   */
  readonly mode?: CrlMode
  readonly clock?: Clock
  readonly logger?: Logger
  /** Gets the counter `ambient_crl_read_failures`. */
  readonly meter?: Meter
  /** Called after other lists came into force: sessions that live are to be judged again. */
  readonly onChange?: () => void
}

export interface CrlStatus {
  /**
   * `missing`: there is no such file yet; `unreadable`: there has been none that could be read; both say that nothing is
   * known. `in-force`: lists were read, perhaps before the last `problem`.
   */
  readonly state: 'reading' | 'in-force' | 'missing' | 'unreadable'
  readonly mode: CrlMode
  readonly path: string
  /** Lists, and the serial numbers in them. */
  readonly lists: number
  readonly revoked: number
  /** Milliseconds since the epoch. */
  readonly readAt?: number
  /** The end of the list that ends first. */
  readonly nextUpdate?: number
  /** Why the last reading failed. */
  readonly problem?: string
  readonly failures: number
}

export interface CrlFile {
  /** One object for the life of the file, for `createCredentials` and the manager. */
  readonly revocations: Revocations
  /** Resolves after the first reading, whatever came of it. Never rejects. */
  readonly ready: Promise<void>
  /** As `onChange`. A listener that throws is logged. Returns the function that ends the watch. */
  watch(listener: () => void): () => void
  status(): CrlStatus
  /** Reads now, without waiting for a sign of change. Never rejects. */
  reload(): Promise<void>
  /** Ends watching; what is known stays known. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Begins to read and to watch at once. @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function createCrlFile(options: CrlFileOptions): CrlFile {
  const { mode = 'allow-unknown', path } = options
  if (typeof path !== 'string' || path === '') throw optionError('path: not the name of a file')
  if (mode !== 'allow-unknown' && mode !== 'require')
    throw optionError(`mode: ${String(mode)} is neither allow-unknown nor require`)
  return new LiveCrlFile(options, mode)
}

class LiveCrlFile implements CrlFile {
  readonly ready: Promise<void>
  readonly revocations: Revocations
  readonly #path: string
  readonly #mode: CrlMode
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #failed: () => void
  readonly #watch: FileWatch
  readonly #listeners = new Set<() => void>()
  #set: CrlSet | undefined
  #bytes: Buffer | undefined
  #readAt: number | undefined
  #problem: IdentityError | undefined
  #failures = 0
  #reading: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor(options: CrlFileOptions, mode: CrlMode) {
    const { clock = systemClock, logger = silentLogger, meter = noMeter, onChange } = options
    this.#path = options.path
    this.#mode = mode
    this.#clock = clock
    this.#logger = logger
    const counter = meter.counter({
      name: 'ambient_crl_read_failures',
      help: 'Readings of the file of revocation lists that failed',
      labels: [],
    })
    this.#failed = () => counter.add(1, [])
    if (onChange !== undefined) this.#listeners.add(onChange)
    this.revocations = Object.freeze({ problemOf: this.#problemOf })
    const { debounceMs, maxDebounceMs, pollMs } = crlDefaults
    const onTouched = (): void => void this.reload()
    this.#watch = watchFile({ path: this.#path, debounceMs, maxDebounceMs, pollMs, onTouched, clock })
    this.ready = this.reload()
  }

  watch(listener: () => void): () => void {
    const own = (): void => listener()
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  status(): CrlStatus {
    const lists = this.#set?.lists ?? []
    const ends = lists.flatMap(list => list.nextUpdate ?? [])
    return {
      state: this.#state(),
      mode: this.#mode,
      path: this.#path,
      lists: lists.length,
      revoked: lists.reduce((sum, list) => sum + list.revoked.size, 0),
      ...(this.#readAt === undefined ? {} : { readAt: this.#readAt }),
      ...(ends.length === 0 ? {} : { nextUpdate: Math.min(...ends) }),
      ...(this.#problem === undefined ? {} : { problem: this.#problem.message }),
      failures: this.#failures,
    }
  }

  reload(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#read())
    return this.#reading
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#watch.close()
    this.#listeners.clear()
    await this.#reading
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  readonly #problemOf: Revocations['problemOf'] = (path, at) => {
    if (this.#set !== undefined)
      return revocationProblem(path, { set: this.#set, mode: this.#mode, at, now: this.#clock.now() })
    if (this.#mode === 'allow-unknown') return undefined
    const [leaf] = path
    const why = this.#problem?.message ?? `${this.#path}: not read yet`
    return {
      problem: 'revocation-unknown',
      reason: `${leaf?.label ?? 'leaf'}: its revocation status is unknown, ${why}`,
    }
  }

  #state(): CrlStatus['state'] {
    if (this.#set !== undefined) return 'in-force'
    if (this.#problem === undefined) return 'reading'
    return isMissing(this.#problem.cause) ? 'missing' : 'unreadable'
  }

  async #read(): Promise<void> {
    if (this.#isClosed) return
    try {
      const { bytes, isStill } = await readWhole(this.#path)
      // Somebody writes: the rest is on its way.
      if (!isStill) return this.#watch.touch()
      if (this.#bytes === undefined || !bytes.equals(this.#bytes)) this.#accept(bytes)
      this.#problem = undefined
    } catch (error) {
      this.#refuse(error)
    }
  }

  #accept(bytes: Buffer): void {
    const lists = readCrls(bytes)
    const isFirst = this.#set === undefined
    this.#set = crlSet(lists)
    this.#bytes = bytes
    this.#readAt = this.#clock.now()
    const { revoked } = this.status()
    this.#logger.info({ path: this.#path, lists: lists.length, revoked }, 'revocation lists are in force')
    // At the start nobody lives who was judged by less; later than that somebody may.
    if (!isFirst || this.#failures > 0) this.#announce()
  }

  #refuse(cause: unknown): void {
    const said = this.#problem?.message
    this.#failures += 1
    this.#failed()
    this.#problem = problemOf(this.#path, cause)
    const { message } = this.#problem
    if (message === said) return
    const fields = { path: this.#path, error: message }
    if (this.#set !== undefined)
      return this.#logger.warn(fields, 'revocation lists were not read again, those of before stay in force')
    if (this.#mode === 'require')
      return this.#logger.warn(fields, 'there are no revocation lists, every peer is refused')
    if (isMissing(cause))
      return this.#logger.warn(fields, 'there are no revocation lists yet, nobody is refused for them')
    this.#logger.warn(fields, 'revocation is disabled until there is a list that can be read')
  }

  #announce(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener()
      } catch (error) {
        this.#logger.error({ error: messageOf(error) }, 'a listener for revocation lists failed')
      }
    }
  }
}

/** What the file holds, and whether it was the same before and after. A file that is renamed over is read as it was. */
async function readWhole(path: string): Promise<{ bytes: Buffer; isStill: boolean }> {
  // Not to wait for the writer of a pipe.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const before = await file.stat()
    if (!before.isFile()) throw new Error('not a file')
    if (before.size > crlDefaults.maxFileBytes)
      throw new Error(`${before.size} bytes, at most ${crlDefaults.maxFileBytes}`)
    const bytes = await file.readFile()
    const after = await file.stat()
    const isStill =
      before.mtimeMs === after.mtimeMs && before.size === after.size && bytes.length === after.size
    return { bytes, isStill }
  } finally {
    await file.close()
  }
}

function problemOf(path: string, cause: unknown): IdentityError {
  const what = isMissing(cause) ? 'no such file' : messageOf(cause)
  return new IdentityError('AMBIENT_E_CRL', `${path}: ${what}`, { cause, layer: 'identity' })
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
