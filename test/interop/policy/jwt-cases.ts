/** Generated tokens, good and bad, at generated places of requests, for sets of rules. */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { JwtRule } from '@ambient/policy'
import fc from 'fast-check'

export interface JwtCall {
  readonly method: string
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** It has several tokens, of which we want all to be good and one, or one that we refuse on purpose: see `isOdd`. */
  readonly odd: boolean
}

const ISSUERS = ['https://a.example', 'https://b.example', 'c'] as const
const SECRET = Buffer.from('only-of-these-tests-'.repeat(4))
const pairs = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  other: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ec384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ed: generateKeyPairSync('ed25519'),
}
type Key = Exclude<keyof typeof pairs, 'other'> | 'oct'
const ALGORITHMS: Readonly<Record<Key, readonly string[]>> = {
  ...{
    rsa: ['RS256', 'RS512', 'PS256'],
    ec: ['ES256'],
    ec384: ['ES384'],
    ed: ['EdDSA'],
    oct: ['HS256', 'HS512'],
  },
}
const KEYS = Object.keys(ALGORITHMS) as Key[]

/** Without it Envoy tries this key on every token without `kid`, and gives up over the length of the signature. */
const ED = { alg: 'EdDSA' }
const jwk = (name: Key): object =>
  name === 'oct'
    ? { kty: 'oct', kid: name, k: SECRET.toString('base64url') }
    : { ...pairs[name].publicKey.export({ format: 'jwk' }), kid: name, ...(name === 'ed' ? ED : {}) }
const jwks = JSON.stringify({ keys: KEYS.map(jwk) })
const rule = (issuer: string, more: Partial<JwtRule> = {}): JwtRule => ({ issuer, jwks, ...more })
const [A, B, C] = ISSUERS

export const RULE_SETS: readonly (readonly JwtRule[])[] = [
  [rule(A)],
  [rule(A), rule(B)],
  [rule(A), rule(B), rule(C, { audiences: ['x'] })],
  [rule(A, { audiences: ['x', 'https://aud.example/'] })],
  [rule(A, { fromHeaders: [{ name: 'X-Token' }] })],
  [
    rule(A, {
      fromHeaders: [
        { name: 'x-token', prefix: 'Token ' },
        { name: 'authorization', prefix: 'Bearer ' },
      ],
    }),
  ],
  [rule(A, { fromParams: ['token', 't'] })],
  [rule(A, { fromCookies: ['session'] })],
  [rule(A, { fromHeaders: [{ name: 'x-token' }], fromParams: ['token'], fromCookies: ['session'] })],
  [rule(A, { fromHeaders: [{ name: 'x-token' }] }), rule(B, { fromParams: ['token'] })],
  [rule(A, { fromHeaders: [{ name: 'x-token' }] }), rule(B)],
  [rule(A, { forwardOriginalToken: true, outputPayloadToHeader: 'x-payload' })],
  [
    rule(A, {
      outputPayloadToHeader: 'x-payload',
      outputClaimToHeaders: [
        ...['sub', 'n', 'flag', 'deep.er', 'groups', 'missing'].map(claim => ({
          header: `x-claim-${claim.replace('.', '-')}`,
          claim,
        })),
      ],
    }),
    rule(B, { outputPayloadToHeader: 'x-payload' }),
  ],
  [rule(A, { jwks: JSON.stringify({ keys: [jwk('ec')] }) }), rule(B)],
]

/** What the service is sent of these says what became of the token. */
export const SHOWN = [
  ...['authorization', 'x-token', 'x-payload'],
  ...['sub', 'n', 'flag', 'deep-er', 'groups', 'missing'].map(name => `x-claim-${name}`),
]

const encode = (value: unknown): string => {
  if (Buffer.isBuffer(value)) return value.toString('base64url')
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}
const digestOf = (alg: string): string => `sha${alg.slice(2)}`

function signature(alg: string, key: Key | 'other', data: string): Buffer {
  if (key === 'oct') return createHmac(digestOf(alg), SECRET).update(data).digest()
  const { privateKey }: { privateKey: KeyObject } = pairs[key]
  const bytes = Buffer.from(data)
  if (alg === 'EdDSA') return sign(null, bytes, privateKey)
  if (alg.startsWith('ES')) return sign(digestOf(alg), bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('PS')) return sign(digestOf(alg), bytes, { key: privateKey, padding: 6, saltLength: 32 })
  return sign(digestOf(alg), bytes, privateKey)
}

const HOUR = 3600
const now = Math.floor(Date.now() / 1000)
const odd = (...values: readonly unknown[]): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom(...values) },
  )
const payload = fc.record({
  iss: fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom<unknown>(...ISSUERS) },
    { weight: 1, arbitrary: fc.constantFrom<unknown>('d', 1, undefined) },
  ),
  sub: odd('someone', '', 1, 'é'),
  exp: odd(now + HOUR, now - HOUR, now - 30, 0, -1, '1', 1e308, now + HOUR + 0.5, null, 2 ** 53),
  nbf: odd(now - HOUR, now + HOUR, now + 30, 'x', -1),
  iat: odd(now, 'x', now + HOUR),
  jti: odd('1', 1),
  aud: odd(
    'x',
    ['x', 'y'],
    'y',
    [],
    [1],
    '',
    'http://aud.example',
    'aud.example/',
    'https://aud.example',
    {},
  ),
  n: odd(1, -5, 1.5, 12_345_678_901, '1', 'Ω'),
  flag: odd(true, false, null),
  deep: odd({ er: 'v' }, { er: 2 }, 'x'),
  groups: odd(['a'], {}, 'a b'),
})
const goodToken = fc
  .record({ key: fc.constantFrom(...KEYS), which: fc.nat(2), payload, kid: fc.boolean(), typ: fc.boolean() })
  .map(({ key, which, payload: claims, kid, typ }) => {
    const algorithms = ALGORITHMS[key]
    const alg = algorithms[which % algorithms.length] ?? ''
    const head = { alg, ...(kid ? { kid: key } : {}), ...(typ ? { typ: 'JWT' } : {}) }
    const signed = `${encode(head)}.${encode(claims)}`
    return `${signed}.${signature(alg, key, signed).toString('base64url')}`
  })
const simple = { iss: A, sub: 'someone', exp: now + HOUR }
type Forged = readonly [head: unknown, body: unknown, alg: string, key: Key | 'other']
const FORGED: readonly Forged[] = [
  [{ alg: 'none' }, simple, 'HS256', 'oct'],
  [{ alg: 'None', kid: 'oct' }, simple, 'HS256', 'oct'],
  [{ kid: 'oct' }, simple, 'HS256', 'oct'],
  [{ alg: 1 }, simple, 'HS256', 'oct'],
  [{ alg: 'HS256', kid: 1 }, simple, 'HS256', 'oct'],
  [{ alg: 'HS256', kid: 'rsa' }, simple, 'HS256', 'oct'],
  [{ alg: 'RS256', kid: 'rsa' }, simple, 'RS256', 'other'],
  [{ alg: 'RS256', kid: 'oct' }, simple, 'RS256', 'rsa'],
  [{ alg: 'RS256', kid: '../../etc' }, simple, 'RS256', 'rsa'],
  [{ alg: 'RS384', kid: 'rsa' }, simple, 'RS256', 'rsa'],
  [{ alg: 'ES256', kid: 'ec384' }, simple, 'ES256', 'ec'],
  [{ alg: 'ES512' }, simple, 'ES256', 'ec'],
  [{ alg: 'XX256' }, simple, 'HS256', 'oct'],
  ['{', simple, 'HS256', 'oct'],
  ['[]', simple, 'HS256', 'oct'],
  [{ alg: 'HS256' }, '{', 'HS256', 'oct'],
  [{ alg: 'HS256' }, '[]', 'HS256', 'oct'],
  [{ alg: 'HS256' }, '"x"', 'HS256', 'oct'],
  [{ alg: 'HS256' }, '', 'HS256', 'oct'],
  ['{"alg":"HS256","alg":"none"}', simple, 'HS256', 'oct'],
  [{ alg: 'HS256' }, `{"iss":"${A}","iss":"${B}"}`, 'HS256', 'oct'],
  [{ alg: 'HS256', crit: ['x'], x: 1 }, simple, 'HS256', 'oct'],
  [{ alg: 'HS256', b64: false }, simple, 'HS256', 'oct'],
  [{ alg: 'HS256', jku: 'http://127.0.0.1/', jwk: {} }, simple, 'HS256', 'oct'],
]
const forgedToken = fc.constantFrom(...FORGED).map(([head, body, alg, key]) => {
  const signed = `${encode(head)}.${encode(body)}`
  return `${signed}.${signature(alg, key, signed).toString('base64url')}`
})
/** Its text changed somewhere. */
const brokenToken = fc
  .tuple(
    goodToken,
    fc.nat(),
    fc.constantFrom('cut', 'swap', 'dot', 'pad', 'plus', 'extra', 'empty', 'space', 'last'),
  )
  .map(([text, at, how]) => {
    const place = at % text.length
    if (how === 'cut') return text.slice(0, place)
    if (how === 'swap') return `${text.slice(0, place)}A${text.slice(place + 1)}`
    if (how === 'dot') return text.replace('.', '')
    if (how === 'pad') return `${text}=`
    if (how === 'plus') return `${text.slice(0, place)}+${text.slice(place + 1)}`
    if (how === 'extra') return `${text}.x`
    if (how === 'space') return `${text} x`
    if (how === 'last') return `${text.slice(0, -1)}${text.endsWith('A') ? 'B' : 'A'}`
    return '..'
  })
const token = fc.oneof(
  { weight: 5, arbitrary: goodToken },
  { weight: 2, arbitrary: forgedToken },
  { weight: 2, arbitrary: brokenToken },
)

/**
 * What Envoy reads and we refuse: base64url or JSON that is not written as everybody writes it (spare bits, control characters,
 * members twice), `crit` and `b64`, which nobody here understands, and an `exp` of 0, which to Envoy is none.
 */
function isOdd(text: string): boolean {
  const parts = text.split('.')
  const [head, body] = [memberOf(parts[0] ?? ''), memberOf(parts[1] ?? '')]
  const isCanonical = parts.every(part => encode(Buffer.from(part, 'base64url')) === part)
  return (
    !isCanonical ||
    head === undefined ||
    body === undefined ||
    'crit' in head ||
    'b64' in head ||
    isZero(body)
  )
}

function memberOf(part: string): object | undefined {
  const text = Buffer.from(part, 'base64url').toString()
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return {}
    return JSON.stringify(value) === text ? value : undefined
  } catch {
    return undefined
  }
}

function isZero(payload: object): boolean {
  return 'exp' in payload && payload.exp === 0
}

type Put = (call: JwtCall, text: string) => JwtCall
const header =
  (name: string, prefix = ''): Put =>
  (call, text) => ({ ...call, headers: [...call.headers, [name, (prefix + text).trim()]] })
const param =
  (name: string): Put =>
  (call, text) => ({
    ...call,
    target: `${call.target}${call.target.includes('?') ? '&' : '?'}${name}=${encodeURIComponent(text)}`,
  })
const ANYWHERE: readonly Put[] = [
  ...[header('authorization', 'Bearer '), header('authorization'), header('authorization', 'bearer ')],
  ...[header('authorization', 'Basic '), header('authorization', 'Token Bearer '), header('x-token')],
  ...[header('cookie', 'session='), header('cookie', 'session="')],
  ...[param('access_token'), header('cookie', 'a=b; session='), param('token'), param('t'), param('Token')],
]
/** Where the rules look. */
function ownPlaces(rules: readonly JwtRule[]): readonly Put[] {
  return rules.flatMap(({ fromHeaders = [], fromParams = [], fromCookies = [] }) => {
    const own = [
      ...fromHeaders.map(({ name, prefix }) => header(name, prefix)),
      ...fromParams.map(param),
      ...fromCookies.map(name => header('cookie', `${name}=`)),
    ]
    return own.length === 0 ? [header('authorization', 'Bearer '), param('access_token')] : own
  })
}
const claimed = fc.subarray(['x-payload', 'x-claim-sub', 'x-claim-missing'], { maxLength: 2 })

export function jwtCall(rules: readonly JwtRule[]): fc.Arbitrary<JwtCall> {
  const place = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...ownPlaces(rules)) },
    { weight: 1, arbitrary: fc.constantFrom(...ANYWHERE) },
  )
  const put = fc.tuple(place, token)
  return fc
    .record({
      method: fc.constantFrom('GET', 'GET', 'GET', 'OPTIONS'),
      target: fc.constantFrom('/', '/a/b', '/a?q=1', '/a?q=1&z', `/${'long/'.repeat(80)}`, '/%22x"'),
      forged: claimed,
      preflight: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
      tokens: fc.oneof(
        { weight: 1, arbitrary: fc.array(put, { maxLength: 0 }) },
        { weight: 8, arbitrary: fc.array(put, { minLength: 1, maxLength: 1 }) },
        { weight: 2, arbitrary: fc.array(put, { minLength: 2, maxLength: 3 }) },
      ),
    })
    .map(({ method, target, forged: names, preflight, tokens }) => {
      const origin = [['origin', 'http://o'] as const, ['access-control-request-method', 'GET'] as const]
      const headers = [...(preflight ? origin : []), ...names.map(name => [name, 'forged'] as const)]
      const odd = tokens.length > 1 || tokens.some(([, text]) => isOdd(text))
      return tokens.reduce<JwtCall>((call, [to, text]) => to(call, text), { method, target, headers, odd })
    })
}
