/**
 * A JWKS as keys to verify with. A key that is of no use to a signature is left out, not an error: issuers publish
 * others too. Private parts of a key are never taken in.
 *
 * Source: RFC 7517, RFC 7518; the words of failures are Envoy's.
 */
import { compactVerify, importJWK, type JWK } from 'jose'
import { limits } from '../limits.ts'
import type { JwtFailure } from './status.ts'
import { isJsonObject, type JsonObject, parseStrictObject } from './strict-json.ts'

// jose is ESM only: a type of its in ours would be an error for who compiles to CommonJS.
type VerificationKey = Awaited<ReturnType<typeof importJWK>>

export interface JwtKey {
  /** Empty when the key has none: it is tried for any token then. */
  readonly keyId: string
  /** Empty when the key is for any algorithm of its kind. */
  readonly algorithm: string
  /** Whether tokens of this algorithm can be signed with this kind of key. */
  suits(algorithm: string): boolean
  /** Whether it has signed the token; no when it is no key after all (a point not on its curve). Never rejects. */
  hasSigned(token: string, algorithm: string): Promise<boolean>
}

export type JwtKeySet =
  | { readonly ok: true; readonly keys: readonly JwtKey[] }
  | { readonly ok: false; readonly failure: JwtFailure }

const CURVES: ReadonlyMap<string, string> = new Map([
  ['P-256', 'ES256'],
  ['P-384', 'ES384'],
  ['P-521', 'ES512'],
])
const RSA_ALGORITHM = /^[RP]S(256|384|512)$/
const HMAC_ALGORITHM = /^HS(256|384|512)$/

/** Never throws. */
export function readKeySet(text: string): JwtKeySet {
  if (text.length > limits.maxJwksBytes) return { ok: false, failure: 'jwks-json' }
  const object = parseStrictObject(text, limits.maxTokenDepth)
  if (object === undefined) return { ok: false, failure: 'jwks-json' }
  const { keys } = object
  if (keys === undefined) return { ok: false, failure: 'jwks-no-keys' }
  if (!Array.isArray(keys)) return { ok: false, failure: 'jwks-bad-keys' }
  const usable = keys.slice(0, limits.maxJwksKeys).flatMap(readKey)
  if (usable.length === 0 || keys.length > limits.maxJwksKeys) return { ok: false, failure: 'no-valid-keys' }
  return { ok: true, keys: usable }
}

function readKey(value: unknown): readonly JwtKey[] {
  if (!isJsonObject(value) || !isForSignatures(value)) return []
  const shape = shapeOf(value)
  if (shape === undefined) return []
  const { kid, alg } = value
  const algorithm = typeof alg === 'string' ? alg : ''
  if (algorithm !== '' && !shape.suits(algorithm)) return []
  const loaded = new Map<string, Promise<VerificationKey | undefined>>()
  const load = (wanted: string): Promise<VerificationKey | undefined> => {
    const known = loaded.get(wanted)
    if (known !== undefined) return known
    const key = importJWK(shape.key, wanted).catch(() => undefined)
    loaded.set(wanted, key)
    return key
  }
  return [
    {
      keyId: typeof kid === 'string' ? kid : '',
      algorithm,
      suits: shape.suits,
      hasSigned: async (token, wanted) => {
        const key = await load(wanted)
        return key !== undefined && isSignedBy(token, wanted, key)
      },
    },
  ]
}

async function isSignedBy(token: string, algorithm: string, key: VerificationKey): Promise<boolean> {
  try {
    await compactVerify(token, key, { algorithms: [algorithm] })
    return true
  } catch {
    return false
  }
}

function isForSignatures({ use, key_ops: operations }: JsonObject): boolean {
  const isUsed = use === undefined || use === 'sig'
  return isUsed && (operations === undefined || (Array.isArray(operations) && operations.includes('verify')))
}

interface KeyShape {
  readonly key: JWK
  suits(algorithm: string): boolean
}

function shapeOf(value: JsonObject): KeyShape | undefined {
  const [kty, crv, x, y, n, e, k] = ['kty', 'crv', 'x', 'y', 'n', 'e', 'k'].map(name => {
    const part = value[name]
    return typeof part === 'string' ? part : ''
  })
  // A modulus of less than 2048 bits is refused where the signature is checked.
  if (kty === 'RSA' && n && e)
    return { key: { kty, n, e }, suits: algorithm => RSA_ALGORITHM.test(algorithm) }
  if (kty === 'EC' && crv && x && y) {
    const own = CURVES.get(crv)
    return own === undefined ? undefined : { key: { kty, crv, x, y }, suits: algorithm => algorithm === own }
  }
  if (kty === 'OKP' && crv === 'Ed25519' && x)
    return { key: { kty, crv, x }, suits: algorithm => algorithm === 'EdDSA' }
  if (kty === 'oct' && k) return { key: { kty, k }, suits: algorithm => HMAC_ALGORITHM.test(algorithm) }
  return undefined
}
