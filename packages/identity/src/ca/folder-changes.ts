/** What changes a CA's folder, with its lock held: making one, the steps of a rotation, revocations. */
import { join } from 'node:path'
import { caDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { Certificate } from '../x509/certificate.ts'
import { createIntermediate, createRoot, type MadeAuthority, newCommonName } from './ca-certificates.ts'
import {
  authorityOf,
  dropRetired,
  folderAuthorities,
  retire,
  revocationLists,
  rootAbove,
} from './folder-authorities.ts'
import { type FolderContents, issued, onlyCertificate, readFolder } from './folder-contents.ts'
import {
  caFiles,
  filesError,
  readIfPresent,
  readKey,
  readPublic,
  remove,
  writeKey,
  writePublic,
} from './folder-files.ts'
import {
  digestOf,
  type FolderState,
  formatState,
  type RevokedEntry,
  type RotationState,
} from './folder-state.ts'
import { type CaKeyType, importSigningKey } from './key-algorithms.ts'
import { readSerial } from './revocation-list.ts'

/** A step of replacing the root; each waits until every workload has a certificate of the one before. */
export type RootRotationStep = 'add' | 'sign' | 'drop'

export interface NewFolder {
  readonly trustDomain: string
  readonly keyType: CaKeyType
  readonly rootTtlMs: number
  readonly intermediateTtlMs: number
  readonly now: number
}

const NEXT_STEP: Readonly<Record<RotationState, RootRotationStep>> = {
  steady: 'add',
  added: 'sign',
  signing: 'drop',
}

export function nextStep(state: RotationState): RootRotationStep {
  return NEXT_STEP[state]
}

/** Root, intermediate, empty lists. The folder holds no CA yet. */
export async function writeNewFolder(dir: string, of: NewFolder): Promise<void> {
  const root = await newRoot(of, of.rootTtlMs)
  const signer = await newIntermediate(of, of.intermediateTtlMs, root)
  await writeKey(dir, caFiles.rootKey, root.privateKeyPem())
  await writeKey(dir, caFiles.key, signer.privateKeyPem())
  const { trustDomain, keyType } = of
  await settle(dir, {
    state: { trustDomain, keyType, rotation: 'steady', digest: '', crlNumber: 0, revoked: [] },
    certificatePem: signer.certificatePem,
    chainPem: signer.certificatePem + root.certificatePem,
    rootsPem: root.certificatePem,
    now: of.now,
  })
}

/** A new root that everybody is to believe before it signs. */
export async function addRoot(dir: string, before: FolderContents, now: number): Promise<void> {
  expectState(dir, before, 'steady')
  const lifetime = { ...before.state, now }
  const root = await newRoot(lifetime, caDefaults.rootTtlMs)
  await writeKey(dir, caFiles.nextRootKey, root.privateKeyPem())
  await writePublic(dir, caFiles.nextRoot, root.certificatePem)
  await settle(dir, {
    state: { ...before.state, rotation: 'added' },
    certificatePem: before.signer.certificatePem,
    chainPem: await chainOf(dir, before),
    rootsPem: before.rootsPem + root.certificatePem,
    now,
  })
}

/** The new root's intermediate signs; the old ones are kept for their lists. */
export async function signWithNewRoot(dir: string, before: FolderContents, now: number): Promise<void> {
  expectState(dir, before, 'added')
  const certificatePem = await readPublic(dir, caFiles.nextRoot)
  const keyPem = await requiredKey(dir, caFiles.nextRootKey)
  const root = { certificatePem, signing: await importSigningKey(keyPem, join(dir, caFiles.nextRootKey)) }
  const signer = await newIntermediate({ ...before.state, now }, caDefaults.intermediateTtlMs, root)
  await retireSigner(dir, before)
  const old = await rootAbove(dir, authorityOf(before.signer), before.rootsPem)
  if (old !== undefined) await retire(dir, old.certificatePem, await requiredKey(dir, caFiles.rootKey))
  await writeKey(dir, caFiles.rootKey, keyPem)
  await writeKey(dir, caFiles.key, signer.privateKeyPem())
  await settle(dir, {
    state: { ...before.state, rotation: 'signing' },
    certificatePem: signer.certificatePem,
    chainPem: signer.certificatePem + certificatePem,
    rootsPem: before.rootsPem,
    now,
  })
  await remove(dir, caFiles.nextRoot)
  await remove(dir, caFiles.nextRootKey)
}

/** Only the new root is believed. */
export async function dropOldRoot(dir: string, before: FolderContents, now: number): Promise<void> {
  expectState(dir, before, 'signing')
  const root = await rootAbove(dir, authorityOf(before.signer), before.rootsPem)
  if (root === undefined) throw filesError(`${join(dir, caFiles.rootKey)}: is not the signer's root's`)
  await dropRetired(dir, root.certificatePem)
  await settle(dir, {
    state: { ...before.state, rotation: 'steady' },
    certificatePem: before.signer.certificatePem,
    chainPem: before.signer.certificatePem + root.certificatePem,
    rootsPem: root.certificatePem,
    now,
  })
}

/** Another intermediate under the same root. */
export async function replaceIntermediate(dir: string, before: FolderContents, now: number): Promise<void> {
  const root = await rootAbove(dir, authorityOf(before.signer), before.rootsPem)
  if (root === undefined) throw filesError(`${dir}: has no ${caFiles.rootKey} to sign an intermediate with`)
  const signer = await newIntermediate({ ...before.state, now }, caDefaults.intermediateTtlMs, root)
  await retireSigner(dir, before)
  await writeKey(dir, caFiles.key, signer.privateKeyPem())
  await settle(dir, {
    state: before.state,
    certificatePem: signer.certificatePem,
    chainPem: signer.certificatePem + root.certificatePem,
    rootsPem: before.rootsPem,
    now,
  })
}

/** @returns the serial number that is on a list now. */
export async function revokeIn(
  dir: string,
  before: FolderContents,
  what: string,
  policy: { readonly maxTtlMs: number; readonly now: number },
): Promise<string> {
  const { now } = policy
  const entry = what.includes('-----BEGIN')
    ? await entryOf(dir, before, onlyCertificate(what, 'the certificate to revoke'), now)
    : { serial: readSerial(what), at: now, until: now + policy.maxTtlMs }
  const known = before.state.revoked.filter(
    ({ serial, issuer, until }) => until >= now && !(serial === entry.serial && issuer === entry.issuer),
  )
  await settleSame(dir, before, [...known, entry], now)
  return entry.serial
}

/** The same lists, fresh again. */
export async function refreshLists(dir: string, before: FolderContents, now: number): Promise<void> {
  await settleSame(
    dir,
    before,
    before.state.revoked.filter(({ until }) => until >= now),
    now,
  )
}

async function entryOf(
  dir: string,
  before: FolderContents,
  certificate: Certificate,
  now: number,
): Promise<RevokedEntry> {
  for (const authority of await folderAuthorities(dir, before))
    if (issued(authority.certificate, certificate) && !issued(certificate, certificate))
      return {
        serial: readSerial(certificate.serial),
        issuer: authority.fingerprint,
        at: now,
        until: certificate.notAfter,
      }
  throw new IdentityError(
    'AMBIENT_E_CERTIFICATE',
    `the certificate to revoke was not issued by the CA in ${dir}`,
    {
      layer: 'identity',
    },
  )
}

async function settleSame(
  dir: string,
  before: FolderContents,
  revoked: readonly RevokedEntry[],
  now: number,
): Promise<void> {
  const { signer, rootsPem } = before
  await settle(dir, {
    state: { ...before.state, revoked },
    certificatePem: signer.certificatePem,
    chainPem: await chainOf(dir, before),
    rootsPem,
    now,
  })
}

/** As it stands; a folder that others made may have none. */
async function chainOf(dir: string, { signer, intermediates }: FolderContents): Promise<string> {
  const present = await readIfPresent(dir, caFiles.chain)
  return present ?? (intermediates.length === 0 ? signer.certificatePem : intermediates.join(''))
}

interface Settled {
  readonly state: FolderState
  readonly certificatePem: string
  readonly chainPem: string
  readonly rootsPem: string
  readonly now: number
}

/** Keys stand already. The state comes last, and says which files it is about; then the lists. */
async function settle(
  dir: string,
  { state, certificatePem, chainPem, rootsPem, now }: Settled,
): Promise<void> {
  const crlNumber = state.crlNumber + 1
  await writePublic(dir, caFiles.certificate, certificatePem)
  await writePublic(dir, caFiles.chain, chainPem)
  await writePublic(dir, caFiles.roots, rootsPem)
  const digest = digestOf([certificatePem, rootsPem])
  await writePublic(dir, caFiles.state, formatState({ ...state, crlNumber, digest }))
  const authorities = await folderAuthorities(dir, await readFolder(dir, state.trustDomain))
  await writePublic(
    dir,
    caFiles.crl,
    await revocationLists(authorities, state.revoked, { number: crlNumber, now }),
  )
}

async function retireSigner(dir: string, { signer }: FolderContents): Promise<void> {
  await retire(dir, signer.certificatePem, await requiredKey(dir, caFiles.key))
}

async function requiredKey(dir: string, name: string): Promise<string> {
  const key = await readKey(dir, name)
  if (key === undefined) throw filesError(`${join(dir, name)}: there is no such file`)
  return key
}

function newRoot(
  { trustDomain, keyType, now }: Pick<NewFolder, 'keyType' | 'now' | 'trustDomain'>,
  ttlMs: number,
): Promise<MadeAuthority> {
  const notBefore = now - caDefaults.backdateMs
  return createRoot({
    trustDomain,
    keyType,
    notBefore,
    notAfter: now + ttlMs,
    commonName: newCommonName('root'),
  })
}

function newIntermediate(
  { trustDomain, keyType, now }: Pick<NewFolder, 'keyType' | 'now' | 'trustDomain'>,
  ttlMs: number,
  root: Parameters<typeof createIntermediate>[1],
): Promise<MadeAuthority> {
  const notBefore = now - caDefaults.backdateMs
  const commonName = newCommonName('intermediate')
  return createIntermediate({ trustDomain, keyType, notBefore, notAfter: now + ttlMs, commonName }, root)
}

function expectState(dir: string, { state }: FolderContents, wanted: RotationState): void {
  if (state.rotation !== wanted)
    throw filesError(`${dir}: the next step of the root's rotation is ${nextStep(state.rotation)}`)
}
