/** Whose key is whose: one key never proves two identities. */
import { createHash, createPublicKey } from 'node:crypto'
import type { SpiffeId } from '@ambient/core'
import { caDefaults } from '../defaults.ts'

export interface KeyOwners {
  /** Why this identity may not have a certificate for that key (DER SubjectPublicKeyInfo); remembers it otherwise. */
  problemOf(publicKey: Uint8Array, id: SpiffeId): string | undefined
  /** A key of the CA itself. */
  reserve(publicKey: Uint8Array): void
}

/** Bounded; the key that was seen longest ago is forgotten first. */
export function createKeyOwners(): KeyOwners {
  const reserved = new Set<string>()
  const owners = new Map<string, string>()
  return {
    problemOf(publicKey, id) {
      const key = hashOf(publicKey)
      if (reserved.has(key)) return "asks for a certificate for the CA's own key"
      const owner = owners.get(key)
      if (owner !== undefined && owner !== id.uri)
        return 'has a key that another identity has a certificate for'
      owners.delete(key)
      const [oldest] = owners.keys()
      if (owners.size >= caDefaults.maxKnownKeys && oldest !== undefined) owners.delete(oldest)
      owners.set(key, id.uri)
      return undefined
    },
    reserve: publicKey => void reserved.add(hashOf(publicKey)),
  }
}

/** Of the key, not of how it is written: a point on a curve has two forms, and an algorithm may name no parameters. */
function hashOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(factsOf(publicKey)).digest('base64')
}

function factsOf(publicKey: Uint8Array): string | Uint8Array {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
    const { kty, crv, x, y, n, e } = key.export({ format: 'jwk' })
    return JSON.stringify([kty, crv, x, y, n, e])
  } catch {
    // A kind that no request may have, of a root that somebody else made.
    return publicKey
  }
}
