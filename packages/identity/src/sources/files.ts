/**
 * An X.509-SVID from PEM files that somebody else renews: cert-manager, a mounted Secret, a script. A set that cannot be
 * read, that does not belong together or that is not valid now leaves the last good one, and a warning.
 */
import { type Clock, type Logger, messageOf, silentLogger, systemClock, type Timer } from '@ambient/core'
import type { Credentials } from '@ambient/core'
import { fileSourceDefaults, verifyLimits } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import {
  type CredentialFilePaths,
  type CredentialFileReader,
  type CredentialFileOptions,
  createCredentialFileReader,
} from './credential-files.ts'
import { type FolderWatch, watchFolders } from '../files/folder-watch.ts'
import { HeldSvid } from './held-svid.ts'
import type { X509Source } from './x509-source.ts'
import { checkOptions } from '../option-checks.ts'

export interface FileSourceOptions extends CredentialFileOptions {
  /** The files are looked at this often, also when the system tells of no change. Default 10 s. */
  readonly recheckMs?: number
  readonly logger?: Logger
}

/**
 * A source over files. Nothing is read before the first `get` or `watch`; the folders are watched from then on until
 * `close`. The old certificate is given to its expiry, never past it.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createFileSource(options: FileSourceOptions): X509Source {
  checkOptions(options)
  return new FileSource(options)
}

class FileSource implements X509Source {
  readonly #reader: CredentialFileReader
  readonly #folders: FolderWatch
  readonly #held: HeldSvid
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #recheckMs: number
  readonly #label: string
  #started = false
  /** Read and good, but not valid yet. */
  #early: Credentials | undefined
  #recheck: Timer | undefined
  #settle: Timer | undefined

  constructor(options: FileSourceOptions) {
    const { clock = systemClock, logger = silentLogger, recheckMs = fileSourceDefaults.recheckMs } = options
    if (!(recheckMs > 0))
      throw new IdentityError('AMBIENT_E_IDENTITY_OPTION', `recheckMs: ${recheckMs} is not positive`, {
        layer: 'config',
      })
    this.#label = labelOf(options)
    this.#reader = createCredentialFileReader(options)
    this.#folders = watchFolders(this.#reader.paths, () => this.#changed())
    this.#held = new HeldSvid({ label: this.#label, clock, logger })
    this.#clock = clock
    this.#logger = logger
    this.#recheckMs = recheckMs
  }

  async get(options: { readonly signal?: AbortSignal } = {}): Promise<Credentials> {
    options.signal?.throwIfAborted()
    this.#start()
    return this.#held.get(options.signal)
  }

  current(): Credentials | undefined {
    return this.#held.current
  }

  watch(listener: (credentials: Credentials) => void): () => void {
    const stop = this.#held.watch(listener)
    // The listener may need the function that is returned here.
    queueMicrotask(() => this.#start())
    return stop
  }

  async close(): Promise<void> {
    this.#held.close()
    this.#folders.close()
    this.#recheck?.cancel()
    this.#settle?.cancel()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #start(): void {
    if (this.#started || this.#held.closed) return
    this.#started = true
    this.#look()
    this.#rest()
  }

  #rest(): void {
    if (this.#held.closed) return
    this.#recheck = this.#clock.after(this.#recheckMs, () => {
      this.#look()
      this.#rest()
    })
  }

  /** Several messages come for one renewal; the first one starts the wait, so that a busy folder is looked at all the same. */
  #changed(): void {
    if (this.#settle !== undefined || this.#held.closed) return
    this.#settle = this.#clock.after(fileSourceDefaults.settleMs, () => {
      this.#settle = undefined
      this.#look()
    })
  }

  #look(): void {
    // Before the files are read: what changes from here on is told.
    this.#folders.renew()
    try {
      const found = this.#reader.read() ?? this.#early
      if (found !== undefined) this.#consider(found)
    } catch (error) {
      this.#early = undefined
      this.#fail(error)
    }
  }

  #consider(found: Credentials): void {
    const now = this.#clock.now()
    const isKnown = found === this.#early
    this.#early = undefined
    if (now > found.notAfter)
      return this.#fail(validityError(found, `expired at ${new Date(found.notAfter).toISOString()}`))
    if (now + verifyLimits.notBeforeSkewMs < found.notBefore) {
      this.#early = found
      if (isKnown) return
      return this.#fail(
        validityError(found, `is not valid before ${new Date(found.notBefore).toISOString()}`),
      )
    }
    this.#held.take(found)
    this.#logger.info(
      { identity: found.id.uri, generation: found.generation, notAfter: found.notAfter, files: this.#label },
      'certificate available',
    )
  }

  #fail(error: unknown): void {
    this.#held.fail(error)
    this.#logger.warn(
      { files: this.#label, error: messageOf(error) },
      this.#held.current === undefined
        ? 'no certificate in the files'
        : 'the renewed certificate cannot be used: the last one stays',
    )
  }
}

function validityError({ id }: Credentials, what: string): IdentityError {
  return new IdentityError('AMBIENT_E_CERTIFICATE', `the certificate of ${id.uri} ${what}`, {
    layer: 'identity',
  })
}

function labelOf({ certificate, privateKey, trustBundle }: CredentialFilePaths): string {
  return [certificate, privateKey, trustBundle].join(', ')
}
