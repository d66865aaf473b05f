/**
 * One workload's PEM files, read as a set: certificates whose key lies in another file belong together or are not used.
 * The one reader of such files, for sources that watch and for commands that look when they are asked.
 */
import { createHash } from 'node:crypto'
import { type BigIntStats, readFileSync, statSync } from 'node:fs'
import { type Clock, type Credentials, messageOf, trustDomainProblem } from '@ambient/core'
import type { Revocations } from '../crl/revocations.ts'
import { fileSourceDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { createCredentials } from '../svid/credentials.ts'
import { checkOptions } from '../option-checks.ts'

export interface CredentialFilePaths {
  /** PEM, leaf first, then intermediates. */
  readonly certificate: string
  /** PKCS#8 PEM of the leaf's key. */
  readonly privateKey: string
  /** PEM of every trust anchor of the leaf's trust domain. */
  readonly trustBundle: string
  /** PEM files of the anchors of other trust domains, by trust domain. */
  readonly federatedBundles?: Readonly<Record<string, string>>
}

export interface CredentialFileOptions extends CredentialFilePaths {
  readonly revocations?: Revocations
  readonly clock?: Clock
}

export interface CredentialFileReader {
  /** Every file, each path once. */
  readonly paths: readonly string[]
  /**
   * What the files hold, with a generation higher than the last one's; `undefined` when that is what was read last,
   * whether it could be used or not.
   * @throws IdentityError `AMBIENT_E_CREDENTIAL_FILE` for a file that cannot be read, `AMBIENT_E_CERTIFICATE`,
   * `AMBIENT_E_PRIVATE_KEY`, `AMBIENT_E_TRUST_BUNDLE` for what is in them; the next call looks again when they are others.
   */
  read(): Credentials | undefined
}

/** Nothing is opened yet. @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` for a trust domain that is none. */
export function createCredentialFileReader(options: CredentialFileOptions): CredentialFileReader {
  checkOptions(options, { certificate: 'text', privateKey: 'text', trustBundle: 'text' })
  const federated = Object.entries(options.federatedBundles ?? {})
  for (const [domain] of federated) {
    const problem = trustDomainProblem(domain)
    if (problem !== undefined)
      throw new IdentityError(
        'AMBIENT_E_IDENTITY_OPTION',
        `federatedBundles: ${JSON.stringify(domain)}: ${problem}`,
        { layer: 'config' },
      )
  }
  const { certificate, privateKey, trustBundle } = options
  const paths = [...new Set([trustBundle, certificate, privateKey, ...federated.map(([, path]) => path)])]
  let stamp: string | undefined
  let digest: string | undefined
  let generation = 0
  return {
    paths,
    read() {
      const now = stampOf(paths)
      if (now === stamp) return undefined
      stamp = now
      const { texts, seen } = readTogether(paths)
      stamp = seen
      const text = (path: string): string => texts.get(path) ?? ''
      const found = digestOf(texts)
      if (found === digest) return undefined
      const credentials = createCredentials({
        certificateChain: text(certificate),
        privateKey: text(privateKey),
        trustBundle: text(trustBundle),
        federatedBundles: new Map(federated.map(([domain, path]) => [domain, text(path)])),
        generation: generation + 1,
        ...(options.revocations === undefined ? {} : { revocations: options.revocations }),
        ...(options.clock === undefined ? {} : { clock: options.clock }),
      })
      generation += 1
      digest = found
      return credentials
    },
  }
}

/** Texts between two equal stamps: none of them was replaced while the others were read. */
function readTogether(paths: readonly string[]): {
  readonly texts: ReadonlyMap<string, string>
  readonly seen: string
} {
  for (let attempt = 1; ; attempt += 1) {
    const before = stampOf(paths)
    const texts = new Map(paths.map(path => [path, readText(path)]))
    // Files that never rest are judged as they are: a key that is another one's is found by its certificate.
    if (stampOf(paths) === before || attempt === fileSourceDefaults.maxReads) return { texts, seen: before }
  }
}

/** Another text as soon as one of the files is another one. Links are followed, so a swapped folder is seen. */
function stampOf(paths: readonly string[]): string {
  return paths
    .map(path => {
      const stat = statOf(path)
      return stat === undefined
        ? 'none'
        : `${stat.dev}/${stat.ino}/${stat.mtimeNs}/${stat.ctimeNs}/${stat.size}`
    })
    .join(' ')
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false, bigint: true })
  } catch {
    // A folder on the way that cannot be entered: reading says so.
    return undefined
  }
}

function readText(path: string): string {
  try {
    const stat = statSync(path)
    // A pipe would be waited for.
    if (!stat.isFile()) throw new TypeError('not a regular file')
    const { size } = stat
    if (size > fileSourceDefaults.maxFileBytes)
      throw new RangeError(`${size} bytes, at most ${fileSourceDefaults.maxFileBytes}`)
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new IdentityError('AMBIENT_E_CREDENTIAL_FILE', `${path} cannot be read: ${messageOf(cause)}`, {
      cause,
      layer: 'config',
    })
  }
}

function digestOf(texts: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256')
  for (const text of texts.values()) hash.update(`${Buffer.byteLength(text)}:`).update(text)
  return hash.digest('base64')
}
