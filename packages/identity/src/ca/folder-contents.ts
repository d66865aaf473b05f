/** A CA's folder as it is read: files that belong together, a chain that leads to a root, a key that is the signer's. */
import { createHash, createPrivateKey } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '@ambient/core'
import { caDefaults, caFileDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { type Certificate, readCertificate } from '../x509/certificate.ts'
import { formatPemCertificate, readPemCertificates } from '../x509/pem.ts'
import type { IssuingAuthority } from './ca-certificates.ts'
import { caFiles, filesError, isMissing, readIfPresent, readKey, readPublic } from './folder-files.ts'
import { digestOf, type FolderState, readState } from './folder-state.ts'
import { importSigningKey } from './key-algorithms.ts'

export interface FolderContents {
  readonly state: FolderState
  /** Changes with every change of the folder. */
  readonly version: string
  readonly signer: IssuingAuthority
  /** PEM, one each, the signer first; empty when a root signs. */
  readonly intermediates: readonly string[]
  /** PEM, one each, the last one first: what they signed is still good, though they sign no more. */
  readonly formerIntermediates: readonly string[]
  readonly rootsPem: string
}

/** Where somebody is replacing files, they are looked at again until they fit. */
export async function readFolder(dir: string, trustDomain?: string): Promise<FolderContents> {
  for (let attempt = 1; ; attempt += 1) {
    const contents = await readOnce(dir, trustDomain)
    if (contents !== undefined) return contents
    if (attempt >= caFileDefaults.readAttempts)
      throw filesError(
        `${dir}: ${caFiles.state}, ${caFiles.certificate}, ${caFiles.key} and ${caFiles.roots} do not belong together`,
      )
    await new Promise<void>(resolve =>
      systemClock.after(caFileDefaults.lockPollMs, resolve, { keepAlive: true }),
    )
  }
}

/** Of the file that is written last; a folder that others made has none, and changes with its certificate. */
export async function folderVersion(dir: string): Promise<string> {
  for (const name of [caFiles.state, caFiles.certificate])
    try {
      const { ino, mtimeMs, size } = await stat(join(dir, name))
      return `${name}:${ino}:${mtimeMs}:${size}`
    } catch (cause) {
      if (!isMissing(cause)) throw filesError(join(dir, name), cause)
    }
  throw filesError(`${dir}: holds no CA; \`ambient ca init\` makes one`)
}

/** `undefined` when what was read does not fit together. */
async function readOnce(dir: string, trustDomain: string | undefined): Promise<FolderContents | undefined> {
  const version = await folderVersion(dir)
  const [stateText, certificatePem, rootsPem, chainPem] = await Promise.all([
    readIfPresent(dir, caFiles.state),
    readPublic(dir, caFiles.certificate),
    readPublic(dir, caFiles.roots),
    readIfPresent(dir, caFiles.chain),
  ])
  const key = await readKey(dir, caFiles.key)
  if (key === undefined) throw filesError(`${join(dir, caFiles.key)}: there is no such file`)
  const state = stateText === undefined ? foreignState(dir, trustDomain) : readState(stateText, dir)
  if (trustDomain !== undefined && trustDomain !== state.trustDomain)
    throw filesError(`${dir}: is a CA of the trust domain ${state.trustDomain}, not of ${trustDomain}`)
  if (stateText !== undefined && state.digest !== digestOf([certificatePem, rootsPem])) return undefined
  const certificate = onlyCertificate(certificatePem, join(dir, caFiles.certificate))
  if (!isKeyOf(key, certificate, join(dir, caFiles.key))) return undefined
  const signer = { certificatePem, signing: await importSigningKey(key, join(dir, caFiles.key)) }
  const intermediates = intermediatesOf(dir, certificate, rootsPem, chainPem)
  const formerIntermediates = await retiredIntermediates(dir)
  return { state, version, signer, intermediates, formerIntermediates, rootsPem }
}

/** Somebody else's folder: no rotation has begun, and nothing says what it speaks for. */
function foreignState(dir: string, trustDomain: string | undefined): FolderState {
  if (trustDomain === undefined)
    throw filesError(`${dir}: has no ${caFiles.state}, so its trust domain has to be given`)
  return {
    trustDomain,
    keyType: caDefaults.keyType,
    rotation: 'steady',
    digest: '',
    crlNumber: 0,
    revoked: [],
  }
}

/** From the signer up to below a root. */
function intermediatesOf(
  dir: string,
  signer: Certificate,
  rootsPem: string,
  chainPem: string | undefined,
): readonly string[] {
  const roots = readPemCertificates(rootsPem).map(readCertificate)
  const others = readPemCertificates(chainPem ?? '').map(readCertificate)
  const path: Certificate[] = []
  for (let below: Certificate | undefined = signer; below !== undefined; ) {
    const current: Certificate = below
    if (roots.some(root => Buffer.from(root.der).equals(current.der))) return path.map(pem)
    path.push(current)
    if (roots.some(root => issued(root, current))) return path.map(pem)
    below = others.find(candidate => !path.some(one => same(one, candidate)) && issued(candidate, current))
  }
  throw filesError(`${join(dir, caFiles.certificate)}: no certificate of ${caFiles.roots} leads to it`)
}

async function retiredIntermediates(dir: string): Promise<readonly string[]> {
  const names = await readdir(join(dir, caFiles.retired)).catch(() => [])
  const found = await Promise.all(
    names
      .filter(name => name.endsWith('-cert.pem'))
      .map(async name => {
        const file = join(caFiles.retired, name)
        return onlyCertificate(await readPublic(dir, file), join(dir, file))
      }),
  )
  return found
    .filter(certificate => !issued(certificate, certificate))
    .sort((a, b) => b.notBefore - a.notBefore)
    .slice(0, caFileDefaults.maxFormerIntermediates)
    .map(pem)
}

/** Did `above` sign `below`, by name and by signature? */
export function issued(above: Certificate, below: Certificate): boolean {
  try {
    return below.x509.checkIssued(above.x509) && below.x509.verify(above.x509.publicKey)
  } catch {
    // A key of another type than the signature.
    return false
  }
}

export function onlyCertificate(text: string, where: string): Certificate {
  try {
    const [der, ...more] = readPemCertificates(text)
    if (der !== undefined && more.length === 0) return readCertificate(der)
  } catch (cause) {
    throw filesError(`${where}: is not a certificate`, cause)
  }
  throw filesError(`${where}: is not one certificate`)
}

/** Which file names a retired authority has, and which lists speak of it. */
export function fingerprintOf(certificate: Certificate): string {
  return createHash('sha256').update(certificate.der).digest('hex')
}

function same(a: Certificate, b: Certificate): boolean {
  return Buffer.from(a.der).equals(b.der)
}

function pem(certificate: Certificate): string {
  return formatPemCertificate(certificate.der)
}

function isKeyOf(keyPem: string, certificate: Certificate, where: string): boolean {
  try {
    return certificate.x509.checkPrivateKey(createPrivateKey(keyPem))
  } catch {
    // The parser's own error could quote its input.
    throw new IdentityError('AMBIENT_E_PRIVATE_KEY', `${where}: the private key cannot be read`, {
      layer: 'identity',
    })
  }
}
