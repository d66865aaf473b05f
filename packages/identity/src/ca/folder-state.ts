/** `ca.json`: what the files of a CA's folder are about, and whether they belong together. */
import { createHash } from 'node:crypto'
import { messageOf, trustDomainProblem } from '@ambient/core'
import { type CaKeyType, caKeyTypes } from './key-algorithms.ts'
import { caFiles, filesError } from './folder-files.ts'

/** Where the replacement of the root stands. */
export type RotationState =
  /** One root. */
  | 'steady'
  /** A new root is believed; the old one signs. */
  | 'added'
  /** The new root signs; the old one is still believed. */
  | 'signing'

export interface RevokedEntry {
  /** Hexadecimal, without leading zeros. */
  readonly serial: string
  /** SHA-256 of the authority's certificate whose list it is on; every intermediate's without it. */
  readonly issuer?: string
  /** Milliseconds since the epoch. */
  readonly at: number
  /** After this nobody needs it on a list. */
  readonly until: number
}

export interface FolderState {
  readonly trustDomain: string
  readonly keyType: CaKeyType
  readonly rotation: RotationState
  /** Of the certificate and the roots that were written with this state. */
  readonly digest: string
  readonly crlNumber: number
  readonly revoked: readonly RevokedEntry[]
}

const VERSION = 1
const ROTATIONS: readonly RotationState[] = ['steady', 'added', 'signing']

/** Of what a reader has to see together. */
export function digestOf(parts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:`).update(part)
  return hash.digest('hex')
}

export function formatState(state: FolderState): string {
  return `${JSON.stringify({ version: VERSION, ...state }, undefined, 2)}\n`
}

/** @throws IdentityError `AMBIENT_E_CA_FILES` */
export function readState(text: string, dir: string): FolderState {
  const where = `${dir}/${caFiles.state}`
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw filesError(`${where}: ${messageOf(cause)}`, cause)
  }
  const fields: Readonly<Record<string, unknown>> = isRecord(value) ? value : {}
  const { version, trustDomain, keyType, rotation, digest, crlNumber, revoked } = fields
  const wrong = (what: string): Error => filesError(`${where}: ${what} cannot be read`)
  if (version !== VERSION) throw wrong('version')
  if (typeof trustDomain !== 'string' || trustDomainProblem(trustDomain) !== undefined)
    throw wrong('trustDomain')
  const type = caKeyTypes.find(known => known === keyType)
  if (type === undefined) throw wrong('keyType')
  const stage = ROTATIONS.find(known => known === rotation)
  if (stage === undefined) throw wrong('rotation')
  if (typeof digest !== 'string') throw wrong('digest')
  if (typeof crlNumber !== 'number' || !Number.isSafeInteger(crlNumber)) throw wrong('crlNumber')
  if (!Array.isArray(revoked) || !revoked.every(isRevoked)) throw wrong('revoked')
  return Object.freeze({ trustDomain, keyType: type, rotation: stage, digest, crlNumber, revoked })
}

function isRevoked(entry: unknown): entry is RevokedEntry {
  if (!isRecord(entry)) return false
  const { serial, issuer, at, until } = entry
  return (
    typeof serial === 'string' &&
    /^[0-9a-f]{1,40}$/.test(serial) &&
    (issuer === undefined || typeof issuer === 'string') &&
    typeof at === 'number' &&
    typeof until === 'number'
  )
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
