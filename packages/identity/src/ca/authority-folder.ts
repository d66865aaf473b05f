/** A CA in a folder: one process serves it, others issue, rotate and revoke; each sees what the others did. */
import { mkdir, readdir } from 'node:fs/promises'
import { type Clock, messageOf, systemClock } from '@ambient/core'
import { caDefaults } from '../defaults.ts'
import type { Revocations } from '../crl/revocations.ts'
import { IdentityError } from '../errors.ts'
import type { Labelled } from '../svid/path.ts'
import { readCertificate } from '../x509/certificate.ts'
import { readPemCertificates } from '../x509/pem.ts'
import {
  type CertificateAuthority,
  type CertificateAuthorityOptions,
  caKeyType,
  generalNames,
  issuancePolicy,
  type ServerCertificate,
  type ServerNames,
  type SignedCertificate,
  type SignRequest,
} from './authority.ts'
import {
  addRoot,
  dropOldRoot,
  nextStep,
  refreshLists,
  replaceIntermediate,
  revokeIn,
  type RootRotationStep,
  signWithNewRoot,
  writeNewFolder,
} from './folder-changes.ts'
import { type FolderContents, fingerprintOf, folderVersion, readFolder } from './folder-contents.ts'
import { caFiles, filesError, isMissing, readPublic } from './folder-files.ts'
import { changeFolder, settleFolder } from './folder-undo.ts'
import { createIssuer, type IssuancePolicy, type Issuer, signServer, signWorkload } from './issuance.ts'
import { createKeyOwners } from './key-owners.ts'
import type { RevokedEntry } from './folder-state.ts'
import { readSerial } from './revocation-list.ts'
import { checkOptions } from '../option-checks.ts'

export interface AuthorityFolderOptions
  extends Pick<CertificateAuthorityOptions, 'clock' | 'defaultTtlMs' | 'logger' | 'maxTtlMs'> {
  readonly dir: string
  /** Has to be given for a folder that something else made, and has to agree with one of ours. */
  readonly trustDomain?: string
}

export interface NewAuthorityOptions extends Pick<CertificateAuthorityOptions, 'keyType' | 'rootTtlMs'> {
  readonly dir: string
  readonly trustDomain: string
  /** Default 1825 days. */
  readonly intermediateTtlMs?: number
  readonly clock?: Clock
}

export interface RootRotation {
  readonly step: RootRotationStep
  /** What the next call does; `add` begins another rotation. */
  readonly next: RootRotationStep
  /** Roots that are believed now. */
  readonly roots: number
}

export interface CertificateAuthorityFolder extends CertificateAuthority {
  readonly dir: string
  /** What the next `rotateRoot` does. */
  readonly nextRotationStep: RootRotationStep
  /** PEM, one each, the signer first. */
  readonly intermediates: readonly string[]
  /** Those that were replaced last, the last one first. */
  readonly formerIntermediates: readonly string[]
  /** Reads the folder again if another process changed it; while it cannot be read, the last contents stand. */
  refresh(): Promise<void>
  /**
   * The next of three steps: `add` has a new root believed, `sign` lets it sign, `drop` ends belief in the old one.
   * Between two steps every workload needs a new certificate: half a lifetime, where nothing tells them.
   * @throws IdentityError `AMBIENT_E_CA_FILES` also for a step whose turn it is not
   */
  rotateRoot(step?: RootRotationStep): Promise<RootRotation>
  /** Another intermediate under the same root. The old one signs no more, and what it signed stays good. */
  rotateIntermediate(): Promise<void>
  /**
   * Puts a certificate on its issuer's list in `crl.pem`, and gives its serial number. PEM, or a serial number in
   * hexadecimal, which goes on every intermediate's list.
   * @throws IdentityError `AMBIENT_E_CERTIFICATE` for what this CA has not issued
   */
  revoke(certificateOrSerial: string): Promise<string>
  /** What this CA has revoked, as far as `refresh` has seen it: for judging its own callers. */
  readonly revocations: Revocations
  /** `crl.pem`. */
  revocationLists(): Promise<string>
  /** Signs the lists again before they are stale. */
  refreshRevocationLists(): Promise<void>
  /** Called when another signer or other roots are in place. Returns the function that ends the watch. */
  watch(listener: () => void): () => void
  /** Ends the signing thread. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Makes a CA in a folder: a root and an intermediate that signs, in the files that Istio's plugin CA has, keys 0600.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`; `AMBIENT_E_CA_FILES` for a folder that holds one already
 */
export async function createCertificateAuthorityFiles(options: NewAuthorityOptions): Promise<void> {
  checkOptions(options, { dir: 'text', trustDomain: 'text' })
  const { dir, trustDomain, clock = systemClock } = options
  issuancePolicy(trustDomain, {})
  const { rootTtlMs = caDefaults.rootTtlMs, intermediateTtlMs = caDefaults.intermediateTtlMs } = options
  if (!(rootTtlMs > 0 && intermediateTtlMs > 0))
    throw new IdentityError('AMBIENT_E_IDENTITY_OPTION', 'lifetimes of a CA are positive', {
      layer: 'config',
    })
  const keyType = caKeyType(options.keyType)
  await mkdir(dir, { recursive: true }).catch((cause: unknown) => {
    throw filesError(`${dir}: ${messageOf(cause)}`, cause)
  })
  await changeFolder(dir, async () => {
    const ours: ReadonlySet<string> = new Set(Object.values(caFiles).filter(name => name !== caFiles.lock))
    const taken = (await namesIn(dir)).filter(name => ours.has(name))
    if (taken.length > 0) throw filesError(`${dir}: holds ${taken.join(', ')} already`)
    await writeNewFolder(dir, { trustDomain, keyType, rootTtlMs, intermediateTtlMs, now: clock.now() })
  })
}

/** @throws IdentityError `AMBIENT_E_CA_FILES`, `AMBIENT_E_PRIVATE_KEY`, `AMBIENT_E_IDENTITY_OPTION` */
export async function openCertificateAuthority(
  options: AuthorityFolderOptions,
): Promise<CertificateAuthorityFolder> {
  checkOptions(options, { dir: 'text' })
  await settleFolder(options.dir)
  const contents = await readFolder(options.dir, options.trustDomain)
  return new AuthorityFolder(options.dir, issuancePolicy(contents.state.trustDomain, options), contents)
}

class AuthorityFolder implements CertificateAuthorityFolder {
  readonly dir: string
  readonly revocations: Revocations = Object.freeze({
    problemOf: (path: readonly Labelled[]) => revokedProblem(path, this.#contents.state.revoked),
  })
  readonly #policy: IssuancePolicy
  readonly #keys = createKeyOwners()
  readonly #listeners = new Set<() => void>()
  #contents: FolderContents
  #issuer: Issuer
  #reading: Promise<void> | undefined

  constructor(dir: string, policy: IssuancePolicy, contents: FolderContents) {
    this.dir = dir
    this.#policy = policy
    this.#contents = contents
    this.#issuer = this.#issuerOf(contents)
  }

  get trustDomain(): string {
    return this.#policy.trustDomain
  }

  get rootPem(): string {
    return this.#contents.rootsPem
  }

  get intermediates(): readonly string[] {
    return this.#contents.intermediates
  }

  get formerIntermediates(): readonly string[] {
    return this.#contents.formerIntermediates
  }

  get nextRotationStep(): RootRotationStep {
    return nextStep(this.#contents.state.rotation)
  }

  async sign(request: SignRequest): Promise<SignedCertificate> {
    await this.refresh()
    return signWorkload(this.#policy, this.#issuer, request)
  }

  async issueServerCertificate(names: ServerNames): Promise<ServerCertificate> {
    await this.refresh()
    return signServer(this.#policy, this.#issuer, generalNames(names))
  }

  refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async rotateRoot(step?: RootRotationStep): Promise<RootRotation> {
    let done: RootRotationStep = 'add'
    await this.#change(async (contents, now) => {
      done = step ?? nextStep(contents.state.rotation)
      if (done === 'add') await addRoot(this.dir, contents, now)
      else if (done === 'sign') await signWithNewRoot(this.dir, contents, now)
      else await dropOldRoot(this.dir, contents, now)
    })
    const roots = readPemCertificates(this.#contents.rootsPem).length
    return { step: done, next: this.nextRotationStep, roots }
  }

  rotateIntermediate(): Promise<void> {
    return this.#change((contents, now) => replaceIntermediate(this.dir, contents, now))
  }

  async revoke(certificateOrSerial: string): Promise<string> {
    let serial = ''
    await this.#change(async (contents, now) => {
      const { maxTtlMs } = this.#policy
      serial = await revokeIn(this.dir, contents, certificateOrSerial, { maxTtlMs, now })
    })
    return serial
  }

  revocationLists(): Promise<string> {
    return readPublic(this.dir, caFiles.crl)
  }

  refreshRevocationLists(): Promise<void> {
    return this.#change((contents, now) => refreshLists(this.dir, contents, now))
  }

  watch(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    this.#issuer.thread.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** By what the folder holds then, not by what was read before. */
  async #change(change: (contents: FolderContents, now: number) => Promise<void>): Promise<void> {
    await changeFolder(this.dir, async () =>
      change(await readFolder(this.dir, this.trustDomain), this.#policy.clock.now()),
    )
    await this.refresh()
  }

  async #read(): Promise<void> {
    try {
      if ((await folderVersion(this.dir)) === this.#contents.version) return
      this.#use(await readFolder(this.dir, this.trustDomain))
    } catch (error) {
      this.#policy.logger.warn(
        { folder: this.dir, error: messageOf(error) },
        'the folder of the CA cannot be read; going on with what it was',
      )
    }
  }

  #use(contents: FolderContents): void {
    const before = this.#contents
    this.#contents = contents
    const isSame =
      before.signer.certificatePem === contents.signer.certificatePem && before.rootsPem === contents.rootsPem
    if (isSame) return
    this.#issuer.thread.close()
    this.#issuer = this.#issuerOf(contents)
    for (const listener of [...this.#listeners]) this.#tell(listener)
  }

  #tell(listener: () => void): void {
    try {
      listener()
    } catch (error) {
      this.#policy.logger.error({ error: messageOf(error) }, 'a listener for changes of the CA failed')
    }
  }

  #issuerOf({ signer, intermediates, rootsPem }: FolderContents): Issuer {
    for (const pem of readPemCertificates(rootsPem)) this.#keys.reserve(readCertificate(pem).publicKey)
    return createIssuer(
      signer,
      { intermediates, rootsPem },
      { logger: this.#policy.logger, keys: this.#keys },
    )
  }
}

function revokedProblem(
  path: readonly Labelled[],
  revoked: readonly RevokedEntry[],
): ReturnType<Revocations['problemOf']> {
  for (const [index, { label, certificate }] of path.entries()) {
    const above = path[index + 1]
    if (above === undefined) break
    const serial = readSerial(certificate.serial)
    const isRevoked = revoked.some(
      entry =>
        entry.serial === serial &&
        (entry.issuer === undefined || entry.issuer === fingerprintOf(above.certificate)),
    )
    if (isRevoked) return { problem: 'revoked', reason: `${label}: serial ${serial} was revoked` }
  }
  return undefined
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir)
  } catch (cause) {
    if (isMissing(cause)) return []
    throw filesError(`${dir}: ${messageOf(cause)}`, cause)
  }
}
