/** JWT-SVIDs: every case of the specification, each with the rule that it breaks. */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { inspect } from 'node:util'
import { parseSpiffeId } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import type { SpiffeBundle } from '../src/bundle/spiffe-bundle.ts'
import { createJwtAuthority } from '../src/jwt/authority.ts'
import { type JwtVerdict, verifyJwtSvid } from '../src/jwt/jwt-svid.ts'

const NOW = Date.UTC(2026, 0, 1)
const SECONDS = NOW / 1_000
const ID = 'spiffe://example.org/ns/shop/sa/web'
const keys = {
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  other: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  weak: generateKeyPairSync('rsa', { modulusLength: 1024 }),
}
const header = { alg: 'ES256', kid: 'ec', typ: 'JWT' }
const claims = { sub: ID, aud: ['db'], exp: SECONDS + 300 }

function bundleOf(trustDomain: string, names: readonly (keyof typeof keys)[]): SpiffeBundle {
  return {
    trustDomain,
    x509Authorities: [],
    jwtAuthorities: new Map(names.map(name => [name, keys[name].publicKey.export({ format: 'jwk' })])),
    ignored: [],
  }
}
const bundles = new Map([
  ['example.org', bundleOf('example.org', ['ec', 'rsa', 'weak'])],
  ['other.org', bundleOf('other.org', ['other'])],
])

function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

function token(head: object, body: unknown, key: KeyObject = keys.ec.privateKey, padding?: 'pss'): string {
  const input = `${encode(head)}.${encode(body)}`
  const options =
    key.asymmetricKeyType === 'ec'
      ? { key, dsaEncoding: 'ieee-p1363' as const }
      : padding === 'pss'
        ? { key, padding: 6, saltLength: 32 }
        : { key }
  return `${input}.${sign('sha256', Buffer.from(input), options).toString('base64url')}`
}

/** 64 bytes are 86 characters, the last of which has four bits too many. */
function lastBitFlipped(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return text.slice(0, -1) + alphabet.charAt(alphabet.indexOf(text.slice(-1)) ^ 1)
}

function verify(text: string, audience = 'db', now = NOW): Promise<JwtVerdict> {
  return verifyJwtSvid({ token: text, audience, bundles, now })
}

it('proves its bearer', async () => {
  expect(await verify(token(header, claims))).toMatchObject({
    ok: true,
    svid: { id: { uri: ID }, audience: ['db'], expiresAt: NOW + 300_000, claims },
  })
})

it.each([
  ['without typ', { alg: 'ES256', kid: 'ec' }, claims],
  ['of type JOSE', { ...header, typ: 'JOSE' }, claims],
  ['for one audience as text', header, { ...claims, aud: 'db' }],
  ['for several audiences', header, { ...claims, aud: ['cache', 'db'] }],
  ['from a minute ahead of us', header, { ...claims, nbf: SECONDS + 60 }],
])('%s is good', async (_, head, body) => {
  expect(await verify(token(head, body))).toMatchObject({ ok: true })
})

it('may be signed with RSA', async () => {
  const rsa = { ...header, alg: 'RS256', kid: 'rsa' }
  expect(await verify(token(rsa, claims, keys.rsa.privateKey))).toMatchObject({ ok: true })
  const pss = { ...rsa, alg: 'PS256' }
  expect(await verify(token(pss, claims, keys.rsa.privateKey, 'pss'))).toMatchObject({ ok: true })
})

describe('is refused', () => {
  const none = `${encode({ ...header, alg: 'none' })}.${encode(claims)}.`
  const hmacInput = `${encode({ alg: 'HS256', kid: 'rsa' })}.${encode(claims)}`
  const publicPem = keys.rsa.publicKey.export({ type: 'spki', format: 'pem' })
  const hmac = `${hmacInput}.${createHmac('sha256', publicPem).update(hmacInput).digest('base64url')}`
  const good = token(header, claims)
  it.each<[string, string, string]>([
    ['an empty text', '', 'malformed'],
    ['two parts', good.split('.').slice(0, 2).join('.'), 'malformed'],
    ['four parts', `${good}.x`, 'malformed'],
    ['a line break at its end', `${good}\n`, 'malformed'],
    ['a blank in it', good.replace('.', '. '), 'malformed'],
    ['padding', `${good}==`, 'malformed'],
    ['bits that count for nothing', lastBitFlipped(good), 'malformed'],
    ['a header that is no JSON', `${encode('{')}.${encode(claims)}.x`, 'malformed'],
    ['claims that are a list', token(header, []), 'malformed'],
    ['more than 16 KiB', token(header, { ...claims, pad: 'x'.repeat(16_384) }), 'malformed'],
    ['alg none', none, 'algorithm'],
    ['no alg', token({ kid: 'ec' }, claims), 'algorithm'],
    ['HS256 with the public key as secret', hmac, 'algorithm'],
    ['EdDSA', token({ ...header, alg: 'EdDSA' }, claims), 'algorithm'],
    ['another typ', token({ ...header, typ: 'at+jwt' }, claims), 'type'],
    ['crit', token({ ...header, crit: ['b64'], b64: false }, claims), 'malformed'],
    ['no kid', token({ alg: 'ES256' }, claims), 'key-id'],
    ['an empty kid', token({ ...header, kid: '' }, claims), 'key-id'],
    ['a kid of 2 KiB', token({ ...header, kid: 'k'.repeat(2_048) }, claims), 'key-id'],
    ['no sub', token(header, { ...claims, sub: undefined }), 'spiffe-id'],
    ['a sub that is no SPIFFE ID', token(header, { ...claims, sub: 'web' }), 'spiffe-id'],
    ['a sub without path', token(header, { ...claims, sub: 'spiffe://example.org' }), 'spiffe-id'],
    ['an unknown trust domain', token(header, { ...claims, sub: 'spiffe://far.org/web' }), 'trust-domain'],
    ['an unknown key', token({ ...header, kid: 'gone' }, claims), 'unknown-key'],
    ['a key named __proto__', token({ ...header, kid: '__proto__' }, claims), 'unknown-key'],
    ['the key of another domain', token({ ...header, kid: 'other' }, claims), 'unknown-key'],
    ['another key under the right name', token(header, claims, keys.other.privateKey), 'signature'],
    ['an algorithm that is not its key’s', token({ ...header, alg: 'RS256' }, claims), 'signature'],
    [
      'an RSA key of 1024 bits',
      token({ ...header, alg: 'RS256', kid: 'weak' }, claims, keys.weak.privateKey),
      'signature',
    ],
    ['claims that were changed', good.replace(/\..*\./, `.${encode({ ...claims, aud: 'x' })}.`), 'signature'],
    ['no aud', token(header, { ...claims, aud: undefined }), 'audience'],
    ['an empty aud', token(header, { ...claims, aud: [] }), 'audience'],
    ['another aud', token(header, { ...claims, aud: ['cache'] }), 'audience'],
    ['an aud of numbers', token(header, { ...claims, aud: [1, 'db'] }), 'audience'],
    ['no exp', token(header, { ...claims, exp: undefined }), 'expired'],
    ['exp as text', token(header, { ...claims, exp: '99999999999' }), 'expired'],
    ['an exp that no calendar has', token(header, { ...claims, exp: 1e308 }), 'expired'],
    ['an exp that is now', token(header, { ...claims, exp: SECONDS }), 'expired'],
    ['an nbf far ahead', token(header, { ...claims, nbf: SECONDS + 61 }), 'not-yet-valid'],
    ['an nbf as text', token(header, { ...claims, nbf: 'soon' }), 'not-yet-valid'],
  ])('%s', async (_, text, problem) => {
    const verdict = await verify(text)
    expect(verdict).toMatchObject({ ok: false, problem })
    if (!verdict.ok && text.length > 40) expect(verdict.reason).not.toContain(text.slice(0, 40))
  })

  it('for nobody', async () => {
    expect(await verify(token(header, { ...claims, aud: [''] }), '')).toMatchObject({ problem: 'audience' })
  })
})

describe('an authority', () => {
  const id = parseSpiffeId(ID)
  let clock: ReturnType<typeof createManualClock>
  beforeAll(() => {
    clock = createManualClock(NOW)
  })

  it('signs what its own keys prove, and keeps the old key while its tokens live', async () => {
    const authority = await createJwtAuthority({ trustDomain: 'example.org', ttlMs: 60_000, clock })
    const issued = await authority.sign({ id, audience: ['db'] })
    await authority.rotate()
    expect(authority.authorities().size).toBe(2)
    const published = (): ReadonlyMap<string, SpiffeBundle> =>
      new Map([['example.org', { ...bundleOf('example.org', []), jwtAuthorities: authority.authorities() }]])
    const check = (now: number): Promise<JwtVerdict> =>
      verifyJwtSvid({ token: issued.token, audience: 'db', bundles: published(), now })
    expect(await check(clock.now())).toMatchObject({ ok: true })
    clock.advance(60_000)
    expect(authority.authorities().size).toBe(1)
    expect(await check(NOW)).toMatchObject({ problem: 'unknown-key' })
  })

  it('refuses who is not its own, and tokens for nobody', async () => {
    const authority = await createJwtAuthority({ trustDomain: 'example.org', clock })
    const foreign = parseSpiffeId('spiffe://other.org/web')
    await expect(authority.sign({ id: foreign, audience: ['db'] })).rejects.toMatchObject({
      code: 'AMBIENT_E_CA_IDENTITY',
    })
    await expect(authority.sign({ id, audience: [] })).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_OPTION',
    })
  })

  it('shows neither keys nor tokens', async () => {
    const authority = await createJwtAuthority({ trustDomain: 'example.org', clock })
    const issued = await authority.sign({ id, audience: ['db'] })
    const dump = [
      inspect(issued),
      JSON.stringify(issued),
      inspect(authority),
      JSON.stringify(authority),
    ].join()
    expect(dump).not.toContain(issued.token)
    expect(dump).toContain('[redacted]')
    expect(authority.authorities().values().next().value).not.toHaveProperty('d')
  })
})
