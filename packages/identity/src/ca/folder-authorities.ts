/** Everyone in a CA's folder who has signed something that may still be believed, and their revocation lists. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { caFileDefaults } from '../defaults.ts'
import type { Certificate } from '../x509/certificate.ts'
import { readCertificate } from '../x509/certificate.ts'
import { formatPemCertificate, readPemCertificates } from '../x509/pem.ts'
import type { IssuingAuthority } from './ca-certificates.ts'
import { type FolderContents, fingerprintOf, issued, onlyCertificate } from './folder-contents.ts'
import { caFiles, filesError, readKey, readPublic, remove, writeKey, writePublic } from './folder-files.ts'
import type { RevokedEntry } from './folder-state.ts'
import { importSigningKey } from './key-algorithms.ts'
import { signRevocationList } from './revocation-list.ts'

export interface FolderAuthority extends IssuingAuthority {
  readonly certificate: Certificate
  readonly fingerprint: string
  readonly isRoot: boolean
  /** Base name of its files among the retired ones. */
  readonly retired?: string
}

/** Who signs now, the root above it while its key is in the folder, and those that were retired. */
export async function folderAuthorities(
  dir: string,
  { signer, rootsPem }: Pick<FolderContents, 'signer' | 'rootsPem'>,
): Promise<readonly FolderAuthority[]> {
  const own = authorityOf(signer)
  const root = own.isRoot ? undefined : await rootAbove(dir, own, rootsPem)
  return [own, ...(root === undefined ? [] : [root]), ...(await retiredAuthorities(dir))]
}

/** The root that signed the signer; `undefined` where its key is kept elsewhere. */
export async function rootAbove(
  dir: string,
  below: FolderAuthority,
  rootsPem: string,
): Promise<FolderAuthority | undefined> {
  const key = await readKey(dir, caFiles.rootKey)
  if (key === undefined) return undefined
  for (const der of readPemCertificates(rootsPem)) {
    const certificate = readCertificate(der)
    if (!issued(certificate, below.certificate)) continue
    const signing = await importSigningKey(key, join(dir, caFiles.rootKey))
    return authorityOf({ certificatePem: formatPemCertificate(der), signing })
  }
  return undefined
}

export function authorityOf(issuer: IssuingAuthority, retired?: string): FolderAuthority {
  const certificate = onlyCertificate(issuer.certificatePem, "a CA's certificate")
  return {
    // No more of it than that.
    certificatePem: issuer.certificatePem,
    signing: issuer.signing,
    certificate,
    fingerprint: fingerprintOf(certificate),
    isRoot: issued(certificate, certificate),
    ...(retired === undefined ? {} : { retired }),
  }
}

/** Its key stays for its list, as long as anything that it signed is believed. */
export async function retire(dir: string, certificatePem: string, keyPem: string): Promise<void> {
  const name = fingerprintOf(onlyCertificate(certificatePem, "a CA's certificate")).slice(0, 16)
  await writeKey(dir, join(caFiles.retired, `${name}-key.pem`), keyPem)
  await writePublic(dir, join(caFiles.retired, `${name}-cert.pem`), certificatePem)
}

/** Those that no root of these has signed, and those that are none of these, leave with their keys. */
export async function dropRetired(dir: string, rootsPem: string): Promise<void> {
  const roots = readPemCertificates(rootsPem).map(readCertificate)
  for (const { certificate, retired } of await retiredAuthorities(dir)) {
    if (retired === undefined || roots.some(root => issued(root, certificate))) continue
    await remove(dir, join(caFiles.retired, `${retired}-key.pem`))
    await remove(dir, join(caFiles.retired, `${retired}-cert.pem`))
  }
}

/** One list of each authority, also of those with nothing to tell. */
export async function revocationLists(
  authorities: readonly FolderAuthority[],
  revoked: readonly RevokedEntry[],
  { number, now }: { readonly number: number; readonly now: number },
): Promise<string> {
  const lists: string[] = []
  for (const authority of authorities) {
    if (authority.certificate.notAfter < now) continue
    const entries = revoked.filter(({ issuer }) =>
      issuer === undefined ? !authority.isRoot || authorities.length === 1 : issuer === authority.fingerprint,
    )
    const until = now + caFileDefaults.crlTtlMs
    lists.push(await signRevocationList(authority, { entries, number, thisUpdate: now, nextUpdate: until }))
  }
  return lists.join('')
}

async function retiredAuthorities(dir: string): Promise<readonly FolderAuthority[]> {
  const found: FolderAuthority[] = []
  const names = await readdir(join(dir, caFiles.retired)).catch(() => [])
  for (const file of names.filter(name => name.endsWith('-cert.pem')).sort()) {
    const name = file.slice(0, -'-cert.pem'.length)
    const certificatePem = await readPublic(dir, join(caFiles.retired, file))
    const keyFile = join(caFiles.retired, `${name}-key.pem`)
    const key = await readKey(dir, keyFile)
    if (key === undefined) throw filesError(`${join(dir, keyFile)}: there is no such file`)
    found.push(
      authorityOf({ certificatePem, signing: await importSigningKey(key, join(dir, keyFile)) }, name),
    )
  }
  return found
}
