/** Paths that were proven before: the signatures of a chain are checked once, its time at every use. */
import { createHash } from 'node:crypto'
import type { SpiffeId } from '@ambient/core'
import { verifyLimits } from '../defaults.ts'
import type { Labelled } from './path.ts'

/** A leaf's identity and the certificates that prove it, leaf first, the anchor last. */
export interface ProvenPath {
  readonly ok: true
  readonly id: SpiffeId
  readonly path: readonly Labelled[]
  /** The latest beginning and the earliest end: a proof holds as long as its shortest-lived certificate. */
  readonly notBefore: number
  readonly notAfter: number
}

/** Bounded; the one that was used longest ago leaves first. */
export interface ProvenPaths {
  get(key: string): ProvenPath | undefined
  add(key: string, path: ProvenPath): ProvenPath
}

export function provenPath(id: SpiffeId, path: readonly Labelled[]): ProvenPath {
  return Object.freeze({
    ok: true,
    id,
    path,
    notBefore: Math.max(...path.map(({ certificate }) => certificate.notBefore)),
    notAfter: Math.min(...path.map(({ certificate }) => certificate.notAfter)),
  })
}

/** As `validityProblem` says of each certificate. */
export function holdsAt({ notBefore, notAfter }: ProvenPath, now: number): boolean {
  return now <= notAfter && now + verifyLimits.notBeforeSkewMs >= notBefore
}

/** The same for the same bytes, certificate by certificate, and for no others. */
export function chainKey(chain: readonly Uint8Array[]): string {
  const hash = createHash('sha256')
  for (const der of chain) hash.update(`${der.length}:`).update(der)
  return hash.digest('base64')
}

export function createProvenPaths(size: number): ProvenPaths {
  const paths = new Map<string, ProvenPath>()
  return {
    get(key) {
      const found = paths.get(key)
      if (found === undefined) return undefined
      paths.delete(key)
      paths.set(key, found)
      return found
    },
    add(key, path) {
      const [oldest] = paths.keys()
      if (paths.size >= size && oldest !== undefined) paths.delete(oldest)
      paths.set(key, path)
      return path
    },
  }
}
