/** Tokens against rules: what is accepted, and every refusal word for word. */
import { describe, expect, it } from 'vitest'
import {
  createJwtAuthenticator,
  failureText,
  type JwtFailure,
  type JwtOutcome,
  type JwtRequest,
  type JwtRule,
} from '@ambient/policy'
import {
  allKeys,
  claims,
  encode,
  issuer,
  jwk,
  jwks,
  now,
  nowSeconds,
  publicKey,
  secret,
  token,
  type TokenOptions,
} from './jwt-tokens.ts'

type Headers = Readonly<Record<string, string | readonly string[]>>

function request(headers: Headers, more: Partial<JwtRequest> = {}): JwtRequest {
  return {
    method: 'GET',
    scheme: 'http',
    authority: 'web.shop',
    path: '/items',
    header: name => [headers[name] ?? []].flat(),
    ...more,
  }
}

async function ask(rules: readonly JwtRule[], asked: JwtRequest): Promise<JwtOutcome> {
  return await createJwtAuthenticator(rules, { now: () => now }).authenticate(asked)
}

const rule: JwtRule = { issuer, jwks: allKeys }
const bearer = (text: string): Headers => ({ authorization: `Bearer ${text}` })

async function outcome(text: string, with_: JwtRule = rule): Promise<string> {
  const found = await ask([with_], request(bearer(text)))
  return found.kind === 'passed' ? 'passed' : found.body
}

const claimed = (more: object): object => ({ ...claims, ...more })
const raw = (rawPayload: string | Buffer, options: TokenOptions = {}): string =>
  token(undefined, { ...options, rawPayload })
const nested = (levels: number): string =>
  `{"iss":"${issuer}","x":${'['.repeat(levels)}${']'.repeat(levels)}}`
const good = token()
const [goodHeader = '', goodPayload = '', goodSignature = ''] = good.split('.')

describe('a token', () => {
  it('passes with its payload, and is gone then', async () => {
    expect(await ask([rule], request(bearer(good)))).toEqual({
      kind: 'passed',
      jwt: { payload: claims },
      edits: { removeHeaders: ['authorization'], setHeaders: [] },
    })
  })

  it('that is not there passes as nobody, at once', () => {
    const answer = createJwtAuthenticator([rule]).authenticate(request({}))
    expect(answer).toEqual({ kind: 'passed', edits: { removeHeaders: [], setHeaders: [] } })
  })

  it('is refused with everything that the caller and the log are told', async () => {
    expect(await ask([rule], request(bearer('a.b'), { path: `/${'p'.repeat(300)}` }))).toEqual({
      kind: 'refused',
      failure: 'bad-form',
      status: 401,
      body: 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
      headers: [
        ['www-authenticate', `Bearer realm="http://web.shop/${'p'.repeat(255)}", error="invalid_token"`],
      ],
      detail:
        'jwt_authn_access_denied{Jwt_is_not_in_the_form_of_Header.Payload.Signature_with_two_dots_and_3_sections}',
    })
    const forOthers = await ask([{ ...rule, audiences: ['web'] }], request(bearer(good)))
    expect(forOthers).toMatchObject({ status: 403, body: 'Audiences in Jwt are not allowed' })
  })

  it.each([
    ['RS256', 'rsa'],
    ['RS384', 'rsa'],
    ['RS512', 'rsa'],
    ['PS256', 'rsa'],
    ['PS384', 'rsa'],
    ['PS512', 'rsa'],
    ['ES256', 'ec'],
    ['ES384', 'ec384'],
    ['ES512', 'ec521'],
    ['EdDSA', 'ed'],
    ['HS256', secret],
    ['HS384', secret],
    ['HS512', secret],
  ] as const)('of %s is verified', async (alg, key) => {
    expect(await outcome(token(claims, { alg, key }))).toBe('passed')
    expect(await outcome(token(claims, { alg, key, kid: '' }))).toBe('passed')
    const other = token(claims, { alg, key }).replace(/\.[^.]+\./, `.${encode(claimed({ sub: 'root' }))}.`)
    expect(await outcome(other)).toBe('Jwt verification fails')
  })

  // Reliability 2.8, and what Envoy 1.40 answered; where we are stricter the name says so.
  it.each<readonly [name: string, text: string, failure: JwtFailure]>([
    ['one part', 'x', 'bad-form'],
    ['empty parts', 'a..b', 'bad-form'],
    ['four parts', 'a.b.c.d', 'bad-form'],
    ['a dot too many (stricter)', `${good}.`, 'bad-form'],
    ['a nested token', token(good), 'payload-json'],
    ['no base64url in the header', '*.b.c', 'bad-form'],
    ['half a byte in the header', 'abcde.b.c', 'header-base64'],
    ['a padded header', `${goodHeader}=.${goodPayload}.${goodSignature}`, 'header-base64'],
    ['a header that is no JSON', `${encode('x')}.b.c`, 'header-json'],
    ['a header that is a list', `${encode('[]')}.b.c`, 'header-json'],
    ['a repeated alg', token(claims, { rawHeader: '{"alg":"none","alg":"RS256"}' }), 'header-json'],
    ['no alg', `${encode({})}.b.c`, 'alg-missing'],
    ['an alg that is a number', `${encode({ alg: 1 })}.b.c`, 'alg-missing'],
    ['alg none', `${encode({ alg: 'none' })}.${goodPayload}.AAAA`, 'alg-unsupported'],
    ['alg none, no signature', `${encode({ alg: 'none' })}.${goodPayload}.`, 'bad-form'],
    ['alg None', `${encode({ alg: 'None' })}.${goodPayload}.AAAA`, 'alg-unsupported'],
    ['alg nOnE', `${encode({ alg: 'nOnE' })}.${goodPayload}.AAAA`, 'alg-unsupported'],
    ['alg in lower case', `${encode({ alg: 'rs256' })}.${goodPayload}.AAAA`, 'alg-unsupported'],
    ['an alg of encryption', `${encode({ alg: 'RSA-OAEP' })}.${goodPayload}.AAAA`, 'alg-unsupported'],
    ['an alg of another curve', `${encode({ alg: 'ES256K' })}.${goodPayload}.AAAA`, 'alg-unsupported'],
    ['a kid that is a number', `${encode({ alg: 'RS256', kid: 1 })}.b.c`, 'kid-type'],
    ['a payload that is no base64url', `${goodHeader}.b+/=.${goodSignature}`, 'payload-base64'],
    ['a payload that is text', raw('"x"'), 'payload-json'],
    ['a payload with more after it', raw(`{"iss":"${issuer}"} x`), 'payload-json'],
    ['a comma too many (stricter)', raw(`{"iss":"${issuer}",}`), 'payload-json'],
    ['other quotes (stricter)', raw(`{'iss':'${issuer}'}`), 'payload-json'],
    ['no quotes (stricter)', raw(`{iss:"${issuer}"}`), 'payload-json'],
    ['a comment', raw(`{"iss":"${issuer}"/**/}`), 'payload-json'],
    ['an octal number', raw(`{"iss":"${issuer}","x":01}`), 'payload-json'],
    ['not a number', raw(`{"iss":"${issuer}","x":NaN}`), 'payload-json'],
    ['a number without end', raw(`{"iss":"${issuer}","x":1e309}`), 'payload-json'],
    ['a control character in text (stricter)', raw(`{"iss":"${issuer}","x":"\t"}`), 'payload-json'],
    ['half a character', raw(`{"iss":"${issuer}","x":"\\ud800"}`), 'payload-json'],
    ['bytes that are no UTF-8', raw(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'payload-json'],
    ['a byte order mark', raw(`\uFEFF{"iss":"${issuer}"}`), 'payload-json'],
    ['a repeated exp, the last good', raw(`{"iss":"${issuer}","exp":1,"exp":9999999999}`), 'payload-json'],
    ['a repeated exp, the last bad', raw(`{"iss":"${issuer}","exp":9999999999,"exp":1}`), 'payload-json'],
    ['a repeated claim inside', raw(`{"iss":"${issuer}","x":{"y":1,"\\u0079":2}}`), 'payload-json'],
    ['32 levels (stricter)', raw(nested(32)), 'payload-json'],
    ['100 000 levels', `${goodHeader}.${encode(nested(5_000))}.AAAA`, 'payload-json'],
    ['iss as a number', token(claimed({ iss: 1 })), 'iss-type'],
    ['iss as null', token(claimed({ iss: null })), 'iss-type'],
    ['sub as a number', token(claimed({ sub: 1 })), 'sub-type'],
    ['jti as a number', token(claimed({ jti: 1 })), 'jti-type'],
    ['aud as a number', token(claimed({ aud: 1 })), 'aud-type'],
    ['aud as a list of numbers', token(claimed({ aud: ['a', 1] })), 'aud-type'],
    ['exp as text', token(claimed({ exp: '9999999999' })), 'exp-type'],
    ['exp as null', token(claimed({ exp: null })), 'exp-type'],
    ['exp as a list', token(claimed({ exp: [1] })), 'exp-type'],
    ['exp below zero', token(claimed({ exp: -1 })), 'exp-range'],
    ['exp 1e308', token(claimed({ exp: 1e308 })), 'exp-range'],
    ['exp of 2^64', raw(`{"iss":"${issuer}","exp":18446744073709551616}`), 'exp-range'],
    ['exp zero (stricter)', token(claimed({ exp: 0 })), 'expired'],
    ['exp with a fraction, long ago', token(claimed({ exp: 1.5 })), 'expired'],
    ['nbf as text', token(claimed({ nbf: '1' })), 'nbf-type'],
    ['nbf below zero', token(claimed({ nbf: -1 })), 'nbf-range'],
    ['iat as text', token(claimed({ iat: '1' })), 'iat-type'],
    ['iat below zero', token(claimed({ iat: -1 })), 'iat-range'],
    ['exp 61 s ago', token(claimed({ exp: nowSeconds - 61 })), 'expired'],
    ['nbf in 61 s', token(claimed({ nbf: nowSeconds + 61 })), 'not-yet-valid'],
    ['no issuer', token({ sub: 'x' }), 'unknown-issuer'],
    ['another issuer', token(claimed({ iss: 'https://other.example' })), 'unknown-issuer'],
    ['almost the issuer', token(claimed({ iss: `${issuer}/` })), 'unknown-issuer'],
    ['a signature that is no base64url', `${goodHeader}.${goodPayload}.!!`, 'signature-base64'],
    ['a padded signature (stricter)', `${good}==`, 'signature-base64'],
    ['a space in the signature (stricter)', `${good.slice(0, -5)} ${good.slice(-5)}`, 'signature-base64'],
    ['bits left over in the signature (stricter)', `${good.slice(0, -1)}${spare(good)}`, 'signature-base64'],
    ['a short signature', `${goodHeader}.${goodPayload}.AAAA`, 'signature'],
    ['somebody else’s signature', token(claims, { key: 'stranger', kid: 'rsa' }), 'signature'],
    ['an unknown kid', token(claims, { kid: 'nope' }), 'no-key'],
    ['a kid that is a path', token(claims, { kid: '../../dev/null' }), 'no-key'],
    ['a kid that is SQL', token(claims, { kid: "' OR 1=1 --" }), 'no-key'],
    ['a kid that is a URL', token(claims, { kid: 'http://127.0.0.1:1/' }), 'no-key'],
    ['a kid of 8 KiB', token(claims, { kid: 'k'.repeat(8192) }), 'no-key'],
    ['a kid of 1 MiB', token(claims, { kid: 'k'.repeat(1024 * 1024) }), 'bad-form'],
    ['a token of 16 KiB and one', token(claimed({ x: 'x'.repeat(16 * 1024) })), 'bad-form'],
    ['HS256 with the RSA key as PEM', hmac('pem', 'rsa'), 'signature'],
    ['HS256 with the RSA key as DER', hmac('der', 'rsa'), 'signature'],
    ['HS256 with the RSA key, no kid', hmac('pem', ''), 'signature'],
    ['ES256 with the kid of an RSA key', token(claims, { alg: 'ES256', key: 'ec', kid: 'rsa' }), 'signature'],
    ['RS256 with the kid of an EC key', token(claims, { kid: 'ec' }), 'signature'],
    ['ES384 by a P-256 key (stricter)', token(claims, { alg: 'ES384', key: 'ec' }), 'signature'],
    ['an RSA key of 1024 bits (stricter)', token(claims, { key: 'rsa1024' }), 'signature'],
    ['crit (stricter)', token(claims, { header: { crit: ['x'], x: 1 } }), 'signature'],
    ['an empty crit (stricter)', token(claims, { header: { crit: [] } }), 'signature'],
    ['b64 false (stricter)', token(claims, { header: { b64: false, crit: ['b64'] } }), 'signature'],
    ['b64 false without crit (stricter)', token(claims, { header: { b64: false } }), 'signature'],
    [
      'EdDSA with a short signature',
      token(claims, { alg: 'EdDSA', key: 'ed' }).replace(/[^.]+$/, 'AAAA'),
      'ed25519-length',
    ],
    [
      'its own key and addresses of keys in the header',
      token(claims, {
        key: 'stranger',
        kid: 'rsa',
        header: { jwk: jwk('stranger'), jku: 'http://127.0.0.1:1/', x5u: 'http://127.0.0.1:1/', x5c: ['x'] },
      }),
      'signature',
    ],
  ])('is refused: %s', async (_, text, failure) => {
    expect(await outcome(text)).toBe(failureText(failure))
  })

  it.each([
    ['31 levels', raw(nested(30))],
    ['exp 60 s ago', token(claimed({ exp: nowSeconds - 60 }))],
    ['exp with a fraction', token(claimed({ exp: nowSeconds + 0.5 }))],
    ['nbf in 60 s', token(claimed({ nbf: nowSeconds + 60 }))],
    ['iat in the future', token(claimed({ iat: nowSeconds + 9_999 }))],
    ['no exp', token({ iss: issuer })],
    ['no sub', token({ iss: issuer, exp: nowSeconds })],
    ['a name of the prototype', raw(`{"iss":"${issuer}","__proto__":{"x":1},"constructor":1}`)],
    ['an empty name', raw(`{"iss":"${issuer}","":1}`)],
    ['spaces around', raw(` \n{"iss":"${issuer}"} `)],
    ['addresses of keys in the header', token(claims, { header: { jku: 'http://127.0.0.1:1/' } })],
  ])('passes: %s', async (_, text) => {
    expect(await outcome(text)).toBe('passed')
  })
})

/** Another last letter that decodes to the same bytes. */
function spare(text: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return letters[letters.indexOf(text.at(-1) ?? '') ^ 1] ?? ''
}

function hmac(form: 'pem' | 'der', kid: string): string {
  const key = publicKey('rsa')
  const bytes =
    form === 'pem'
      ? Buffer.from(key.export({ type: 'spki', format: 'pem' }))
      : key.export({ type: 'spki', format: 'der' })
  return token(claims, { alg: 'HS256', key: bytes, kid })
}

describe('keys', () => {
  it.each<readonly [name: string, keys: string, options: TokenOptions, result: 'passed' | JwtFailure]>([
    ['no JSON', '{', {}, 'jwks-json'],
    ['a name twice', '{"keys":[],"keys":[]}', {}, 'jwks-json'],
    ['no keys', '{}', {}, 'jwks-no-keys'],
    ['a single key', JSON.stringify(jwk('rsa')), {}, 'jwks-no-keys'],
    ['keys that are no list', '{"keys":{}}', {}, 'jwks-bad-keys'],
    ['an empty list', jwks(), {}, 'no-valid-keys'],
    [
      'keys of other kinds only',
      jwks({ kty: 'X' }, { kty: 'OKP', crv: 'X25519', x: 'AA' }),
      {},
      'no-valid-keys',
    ],
    ['one bad key before a good one', jwks({ kty: 'RSA', n: 1 }, jwk('rsa')), {}, 'passed'],
    ['a key that says nothing of itself', jwks(jwk('rsa')), { kid: 'any' }, 'passed'],
    ['two keys of one kid', jwks(jwk('stranger', { kid: 'rsa' }), jwk('rsa', { kid: 'rsa' })), {}, 'passed'],
    ['another alg', jwks(jwk('rsa', { kid: 'rsa', alg: 'RS512' })), {}, 'no-key'],
    ['its alg', jwks(jwk('rsa', { alg: 'PS256' })), { alg: 'PS256' }, 'passed'],
    ['an alg that is not the key’s', jwks(jwk('rsa', { alg: 'HS256' })), {}, 'no-valid-keys'],
    ['a key to encrypt with', jwks(jwk('rsa', { use: 'enc' })), {}, 'no-valid-keys'],
    ['a key to sign with', jwks(jwk('rsa', { key_ops: ['sign'] })), {}, 'no-valid-keys'],
    ['a key to verify with', jwks(jwk('rsa', { use: 'sig', key_ops: ['verify'] })), {}, 'passed'],
    ['101 keys', jwks(...Array.from({ length: 101 }, () => jwk('rsa'))), {}, 'no-valid-keys'],
    [
      '100 keys, the last is it',
      jwks(...Array.from({ length: 99 }, () => jwk('ec')), jwk('rsa')),
      {},
      'passed',
    ],
    [
      'a point that is not on its curve',
      jwks(jwk('ec', { y: encode(Buffer.alloc(32, 1)) })),
      { alg: 'ES256', key: 'ec' },
      'signature',
    ],
    ['a curve that nobody knows', jwks(jwk('k256')), { alg: 'ES256', key: 'k256' }, 'no-valid-keys'],
    ['a modulus of zero', jwks({ kty: 'RSA', n: encode(Buffer.alloc(256)), e: 'AQAB' }), {}, 'signature'],
    ['an empty secret', jwks({ kty: 'oct', k: '' }), {}, 'no-valid-keys'],
  ])('with %s', async (_, keys, options, result) => {
    const body = await outcome(token(claims, options), { issuer, jwks: keys })
    expect(body).toBe(result === 'passed' ? result : failureText(result))
  })

  it('of an issuer that was never asked are none', async () => {
    expect(await outcome(good, { issuer, jwksUri: 'https://issuer.example/keys' })).toBe(
      'Jwks remote fetch is failed',
    )
  })

  it('are not tried for another issuer’s token', async () => {
    const rules = [rule, { issuer: 'https://other.example', jwks: jwks(jwk('stranger', { kid: 'rsa' })) }]
    const crossed = token({ ...claims, iss: 'https://other.example' })
    const found = await ask(rules, request(bearer(crossed)))
    expect(found).toMatchObject({ kind: 'refused', failure: 'signature' })
  })

  it('prove nothing when their source throws', async () => {
    const fails = (): never => {
      throw new Error('broken')
    }
    const jwksSource = { keys: fails, newerKeys: fails }
    const authenticator = createJwtAuthenticator([{ issuer }], { jwks: jwksSource, now: () => now })
    expect(await authenticator.authenticate(request(bearer(good)))).toMatchObject({ failure: 'jwks-fetch' })
  })
})

describe('audiences', () => {
  const audiences = ['https://web.example/', 'plain', ' spaced']
  it.each([
    ['https://web.example', true],
    ['http://web.example/', true],
    ['web.example', true],
    ['web.example//', false],
    ['WEB.example', false],
    ['plain', true],
    ['plain/', true],
    ['/plain', false],
    ['http://plain', true],
    ['https://https://web.example', false],
    ['http://', false],
    ['', false],
    [' spaced', true],
    ['spaced', false],
    [['other', 'plain'], true],
    [['other'], false],
    [[], false],
    [undefined, false],
  ])('%j is among them: %s', async (aud, isAllowed) => {
    const body = await outcome(token(claimed(aud === undefined ? {} : { aud })), { ...rule, audiences })
    expect(body).toBe(isAllowed ? 'passed' : 'Audiences in Jwt are not allowed')
  })
  it('are looked at after the time and before the signature', async () => {
    const forOthers = { ...rule, audiences }
    expect(await outcome(token(claims, { key: 'stranger', kid: 'rsa' }), forOthers)).toMatch(/^Audiences/)
    expect(await outcome(token({ iss: issuer, exp: 1 }), forOthers)).toBe('Jwt is expired')
  })
  it('are any when the rule has none', async () => {
    expect(await outcome(token(claimed({ aud: 'x' })), { ...rule, audiences: [] })).toBe('passed')
  })
})
