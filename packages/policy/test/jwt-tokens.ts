/** Keys and tokens for tests, made with node:crypto alone: another hand than the one that verifies. */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export const issuer = 'https://issuer.example'
/** Milliseconds; tests give it as the time. */
export const now = Date.UTC(2026, 0, 31, 12)
export const nowSeconds = now / 1000

const pairs = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  rsa1024: generateKeyPairSync('rsa', { modulusLength: 1024 }),
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ec384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ec521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  k256: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
  ed: generateKeyPairSync('ed25519'),
  stranger: generateKeyPairSync('rsa', { modulusLength: 2048 }),
}
export type KeyName = keyof typeof pairs
export const secret = Buffer.from('a secret of thirty-two bytes or more, for HS512 of sixty-four!!!!')

export function publicKey(name: KeyName): KeyObject {
  return pairs[name].publicKey
}

export function jwk(name: KeyName, more: object = {}): object {
  return { ...pairs[name].publicKey.export({ format: 'jwk' }), ...more }
}

export const secretJwk = { kty: 'oct', kid: 'oct', k: secret.toString('base64url') }

export function jwks(...keys: readonly object[]): string {
  return JSON.stringify({ keys })
}

/** Every usable key under its own name. */
export const allKeys = jwks(
  jwk('rsa', { kid: 'rsa' }),
  jwk('ec', { kid: 'ec' }),
  jwk('ec384', { kid: 'ec384' }),
  jwk('ec521', { kid: 'ec521' }),
  jwk('ed', { kid: 'ed' }),
  jwk('rsa1024', { kid: 'rsa1024' }),
  secretJwk,
)

export interface TokenOptions {
  readonly alg?: string
  readonly key?: KeyName | Buffer
  readonly kid?: string
  readonly header?: object
  /** In place of what would be written. */
  readonly rawHeader?: string
  readonly rawPayload?: string | Buffer
}

export function encode(value: unknown): string {
  const bytes = Buffer.isBuffer(value)
    ? value
    : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
  return bytes.toString('base64url')
}

export const claims = { iss: issuer, sub: 'someone', exp: nowSeconds + 600 }

export function token(payload: unknown = claims, options: TokenOptions = {}): string {
  const { alg = 'RS256', key = 'rsa', kid = Buffer.isBuffer(key) ? 'oct' : key, header = {} } = options
  const head = options.rawHeader ?? JSON.stringify({ alg, ...(kid === '' ? {} : { kid }), ...header })
  const signed = `${encode(head)}.${encode(options.rawPayload ?? payload)}`
  return `${signed}.${signature(alg, key, Buffer.from(signed)).toString('base64url')}`
}

function signature(alg: string, key: KeyName | Buffer, data: Buffer): Buffer {
  const hash = `sha${alg.slice(2)}`
  if (Buffer.isBuffer(key)) return createHmac(hash, key).update(data).digest()
  const { privateKey } = pairs[key]
  if (alg === 'EdDSA') return sign(null, data, privateKey)
  if (alg.startsWith('ES')) return sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('PS'))
    return sign(hash, data, { key: privateKey, padding: 6, saltLength: Number(alg.slice(2)) / 8 })
  return sign(hash, data, privateKey)
}
