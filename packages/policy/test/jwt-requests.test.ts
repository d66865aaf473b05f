/** Where tokens are found, which rule decides, and what becomes of the request. */
import { describe, expect, it } from 'vitest'
import {
  attachedJwtRules,
  createJwtAuthenticator,
  type JwtOutcome,
  type JwtRequest,
  type JwtRule,
  parsePolicies,
} from '@ambient/policy'
import { allKeys, claims, encode, issuer, jwk, jwks, now, token } from './jwt-tokens.ts'

type Headers = Readonly<Record<string, string | readonly string[]>>

const other = 'https://other.example'
const good = token()
const theirs = token({ ...claims, iss: other })
const expired = token({ iss: issuer, exp: 1 })
const ours: JwtRule = { issuer, jwks: allKeys }
const bearer = { authorization: `Bearer ${good}` }

function requestWith(headers: Headers, more: Partial<JwtRequest> = {}): JwtRequest {
  return {
    method: 'GET',
    scheme: 'http',
    authority: 'web.shop',
    path: '/items',
    header: name => [headers[name] ?? []].flat(),
    ...more,
  }
}

async function ask(
  rules: readonly JwtRule[],
  headers: Headers,
  more: Partial<JwtRequest> = {},
): Promise<JwtOutcome> {
  const authenticator = createJwtAuthenticator(rules, { now: () => now })
  return await authenticator.authenticate(requestWith(headers, more))
}

/** `iss` of who passed, `nobody`, or the failure. */
async function who(rules: readonly JwtRule[], headers: Headers, path = '/items'): Promise<unknown> {
  const outcome = await ask(rules, headers, { path })
  return outcome.kind === 'refused' ? outcome.failure : (outcome.jwt?.payload['iss'] ?? 'nobody')
}

describe('the usual places', () => {
  const cases: readonly (readonly [name: string, headers: Headers, path: string, found: string])[] = [
    ['nothing', {}, '/', 'nobody'],
    ['a bearer', bearer, '/', issuer],
    ['another scheme', { authorization: 'Basic abc' }, '/', 'nobody'],
    ['a scheme in lower case', { authorization: `bearer ${good}` }, '/', 'nobody'],
    ['a scheme alone', { authorization: 'Bearer' }, '/', 'nobody'],
    ['a scheme behind something', { authorization: `x Bearer ${good}` }, '/', issuer],
    ['something that is no token between', { authorization: `Bearer  $$${good}` }, '/', issuer],
    ['something behind the token', { authorization: `Bearer ${good},x` }, '/', 'signature-base64'],
    ['two tokens in one field', { authorization: `Bearer ${good}, Bearer ${good}` }, '/', 'bad-form'],
    ['two fields', { authorization: [`Bearer ${good}`, `Bearer ${good}`] }, '/', 'bad-form'],
    ['a hundred fields', { authorization: Array(100).fill(`Bearer ${good}`) }, '/', 'bad-form'],
    ['a parameter', {}, `/?access_token=${good}`, issuer],
    ['an escaped parameter', {}, `/?access%5Ftoken=${good.replaceAll('.', '%2E')}`, issuer],
    ['a parameter without value', {}, '/?access_token=', 'bad-form'],
    ['a parameter without anything', {}, '/?access_token', 'bad-form'],
    ['a parameter behind a semicolon', {}, `/?a=1;access_token=${good}`, 'nobody'],
    ['a parameter of another name', {}, `/?xaccess_token=${good}`, 'nobody'],
    ['a parameter twice, the first good', {}, `/?access_token=${good}&access_token=x`, issuer],
    ['a parameter twice, the first bad', {}, `/?access_token=x&access_token=${good}`, 'bad-form'],
    ['one token in both places', bearer, `/?access_token=${good}`, issuer],
    ['a bad one beside a good one', bearer, '/?access_token=x', 'bad-form'],
    ['a good one beside a bad one', { authorization: 'Bearer x' }, `/?access_token=${good}`, 'bad-form'],
    [
      'two good ones (stricter)',
      bearer,
      `/?access_token=${token({ ...claims, sub: 'another' })}`,
      'several-tokens',
    ],
  ]
  it.each(cases)('with %s', async (_, headers, path, found) => {
    expect(await who([ours], headers, path)).toBe(found)
  })
})

describe('places of a rule', () => {
  const rule: JwtRule = {
    ...ours,
    fromHeaders: [{ name: 'X-Token', prefix: 'Tok ' }, { name: 'x-plain' }],
    fromParams: ['t'],
    fromCookies: ['session'],
  }
  it.each<readonly [name: string, headers: Headers, path: string, found: string]>([
    ['a header with its prefix', { 'x-token': `Tok ${good}` }, '/', issuer],
    ['a header without its prefix', { 'x-token': good }, '/', 'nobody'],
    ['a header without prefix', { 'x-plain': good }, '/', issuer],
    ['an empty header', { 'x-plain': '' }, '/', 'bad-form'],
    ['a header twice, both good', { 'x-plain': [good, good] }, '/', issuer],
    ['a header twice, one bad', { 'x-plain': [good, 'x'] }, '/', 'bad-form'],
    ['a header nine times (stricter)', { 'x-plain': Array(9).fill(good) }, '/', 'several-tokens'],
    ['a parameter', {}, `/?t=${good}`, issuer],
    ['a cookie', { cookie: `a=1; session=${good}; b=2` }, '/', issuer],
    ['a quoted cookie', { cookie: `session="${good}"` }, '/', issuer],
    ['a cookie in another field', { cookie: ['a=1', `session=${good}`] }, '/', issuer],
    ['a cookie twice, the first good', { cookie: `session=${good}; session=x` }, '/', issuer],
    ['a cookie twice, the first bad', { cookie: `session=x; session=${good}` }, '/', 'bad-form'],
    ['an empty cookie', { cookie: 'session=' }, '/', 'bad-form'],
    ['the usual places, which no longer count', bearer, `/?access_token=${good}`, 'nobody'],
  ])('with %s', async (_, headers, path, found) => {
    expect(await who([rule], headers, path)).toBe(found)
  })
})

describe('several rules', () => {
  const two: readonly JwtRule[] = [{ issuer: other, jwks: allKeys }, ours]
  it.each<readonly [name: string, headers: Headers, path: string, found: string]>([
    ['one issuer’s token', bearer, '/', issuer],
    ['the other’s', { authorization: `Bearer ${theirs}` }, '/', other],
    ['both', bearer, `/?access_token=${theirs}`, 'unknown-issuer'],
    ['nobody’s', { authorization: `Bearer ${token({ iss: 'x' })}` }, '/', 'unknown-issuer'],
    ['an expired one', { authorization: `Bearer ${expired}` }, '/', 'expired'],
    ['no token at all', { authorization: 'Bearer x' }, '/', 'bad-form'],
    ['nothing', {}, '/', 'nobody'],
  ])('at the same places: %s', async (_, headers, path, found) => {
    expect(await who(two, headers, path)).toBe(found)
  })

  const apart: readonly JwtRule[] = [
    { ...ours, fromHeaders: [{ name: 'x-a' }] },
    { issuer: other, jwks: allKeys, fromHeaders: [{ name: 'x-b' }] },
  ]
  it.each<readonly [name: string, headers: Headers, found: string]>([
    ['each its own: the first by issuer', { 'x-a': good, 'x-b': theirs }, issuer],
    ['one good, one bad: as Envoy has it', { 'x-a': good, 'x-b': 'x' }, issuer],
    ['the second good', { 'x-a': 'x', 'x-b': theirs }, other],
    ['a token at the other’s place', { 'x-b': good }, 'unknown-issuer'],
    ['an issuer that is unknown, and an expired token', { 'x-a': expired, 'x-b': good }, 'expired'],
    ['both bad: the first is told', { 'x-a': expired, 'x-b': 'x' }, 'expired'],
  ])('at places of their own: %s', async (_, headers, found) => {
    expect(await who(apart, headers)).toBe(found)
    expect(await who([...apart].reverse(), headers)).toBe(found)
  })

  it('without an issuer takes any that its keys have signed', async () => {
    const any: JwtRule = { issuer: '', jwks: jwks(jwk('rsa')) }
    expect(await who([any], { authorization: `Bearer ${theirs}` })).toBe(other)
    expect(await who([any], { authorization: `Bearer ${token({}, { kid: '' })}` })).toBe('nobody')
    expect(await who([any], { authorization: `Bearer ${token(claims, { key: 'stranger' })}` })).toBe(
      'signature',
    )
  })

  it('are none: nothing is looked at', () => {
    const outcome = createJwtAuthenticator([]).authenticate(requestWith(bearer))
    expect(outcome).toEqual({ kind: 'passed', edits: { removeHeaders: [], setHeaders: [] } })
  })
})

describe('a request that passed', () => {
  const edits = async (rule: JwtRule, headers: Headers, path = '/items'): Promise<unknown> => {
    const outcome = await ask([rule], headers, { path })
    return outcome.kind === 'passed' ? outcome.edits : outcome.failure
  }
  it('has its token no longer, wherever it was, and all else as it was', async () => {
    expect(await edits(ours, bearer)).toEqual({ removeHeaders: ['authorization'], setHeaders: [] })
    const query = `/items?b=%20x+y&access_token=${good}&a&c=&access%5Ftoken=again&b=%zz`
    expect(await edits(ours, {}, query)).toEqual({
      removeHeaders: [],
      setHeaders: [],
      path: '/items?b=%20x+y&a&c=&b=%zz',
    })
    expect(await edits(ours, {}, `/items?access_token=${good}`)).toMatchObject({ path: '/items' })
    const cookies: JwtRule = { ...ours, fromCookies: ['s'] }
    const sent = { cookie: [`a="1 2"; s=${good}`, 's=again;b=3'] }
    expect(await edits(cookies, sent)).toEqual({
      removeHeaders: ['cookie'],
      setHeaders: [['cookie', 'a="1 2"; b=3']],
    })
    expect(await edits(cookies, { cookie: `s=${good}` })).toEqual({
      removeHeaders: ['cookie'],
      setHeaders: [],
    })
    expect(await edits(ours, bearer, `/items?access_token=${good}`)).toEqual({
      removeHeaders: ['authorization'],
      setHeaders: [],
      path: '/items',
    })
  })

  it('keeps it where the rule says so', async () => {
    const kept: JwtRule = { ...ours, forwardOriginalToken: true }
    expect(await edits(kept, bearer, `/items?access_token=${good}`)).toEqual({
      removeHeaders: [],
      setHeaders: [],
    })
  })

  const outputs: JwtRule = {
    ...ours,
    forwardOriginalToken: true,
    outputPayloadToHeader: 'X-Payload',
    outputClaimToHeaders: [
      { header: 'X-Sub', claim: 'sub' },
      { header: 'x-value', claim: 'value' },
      { header: 'x-nested', claim: 'a.b' },
    ],
  }
  // Envoy 1.40 wrote these.
  it.each([
    ['text', 'plain', 'plain'],
    ['text that is not ASCII, byte by byte', 'é€', 'Ã©â\u0082¬'],
    ['an integer', 5, '5'],
    ['zero', 0, '0'],
    ['a large integer', 9_007_199_254_740_992, '9007199254740992'],
    ['a negative integer', -3, '-3.000000'],
    ['a fraction', 1.5, '1.500000'],
    ['almost nothing', 1e-7, '0.000000'],
    ['more than 64 bits', 1e20, '100000000000000000000.000000'],
    ['far more', 1e300, `${BigInt(1e300)}.000000`],
    ['true', true, 'true'],
    ['false', false, 'false'],
    ['a list', ['x'], 'WyJ4Il0='],
    ['an object', { x: 1 }, 'eyJ4IjoxfQ=='],
    ['nothing', null, undefined],
    ['empty text', '', undefined],
    ['a line break', 'a\r\nx-admin: yes', undefined],
    ['a null byte', 'a\0', undefined],
  ])('tells its claims: %s', async (_, value, text) => {
    const payload = { ...claims, value }
    const outcome = await ask([outputs], { authorization: `Bearer ${token(payload)}` })
    const set = new Map(outcome.kind === 'passed' ? outcome.edits.setHeaders : [])
    expect(set.get('x-payload')).toBe(encode(payload))
    expect(set.get('x-sub')).toBe('someone')
    expect(set.get('x-value')).toBe(text)
    expect(set.has('x-nested')).toBe(false)
  })

  it('tells nested claims', async () => {
    const payload = { ...claims, a: { b: 'deep' }, 'a.b': 'flat' }
    const outcome = await ask([outputs], { authorization: `Bearer ${token(payload)}` })
    expect(outcome).toMatchObject({
      edits: { setHeaders: expect.arrayContaining([['x-nested', 'deep']]) },
    })
  })

  it('has none of what a client claims to be told by us', async () => {
    const spoofed = { 'x-sub': 'root', 'x-payload': 'x', 'x-nested': ['a', 'b'] }
    const removeHeaders = ['x-payload', 'x-sub', 'x-nested']
    expect(await edits(outputs, spoofed)).toEqual({ removeHeaders, setHeaders: [] })
    expect(await edits(outputs, { ...spoofed, ...bearer })).toMatchObject({ removeHeaders })
    const silent: JwtRule = { ...outputs, issuer: other }
    const both = await ask([ours, silent], { ...spoofed, ...bearer })
    expect(both).toMatchObject({
      edits: { removeHeaders: [...removeHeaders, 'authorization'], setHeaders: [] },
    })
  })

  it('was a preflight: without being asked, with nothing of ours in it', () => {
    const preflight = { origin: 'http://o', 'access-control-request-method': 'GET', 'x-sub': 'root' }
    const authenticator = createJwtAuthenticator([outputs])
    const asked = (headers: Headers, method = 'OPTIONS'): unknown =>
      authenticator.authenticate(requestWith({ ...headers, authorization: 'Bearer x' }, { method }))
    expect(asked(preflight)).toEqual({
      kind: 'passed',
      edits: { removeHeaders: ['x-sub'], setHeaders: [] },
    })
    expect(asked(preflight, 'GET')).toBeInstanceOf(Promise)
    expect(asked({ ...preflight, origin: '' })).toBeInstanceOf(Promise)
    expect(asked({ origin: 'http://o' })).toBeInstanceOf(Promise)
  })

  it('gives its payload and how its lists are written to the policies', async () => {
    const rule: JwtRule = { ...ours, spaceDelimitedClaims: ['roles'] }
    expect(await ask([rule], bearer)).toMatchObject({
      jwt: { payload: claims, spaceDelimitedClaims: ['roles'] },
    })
  })
})

describe('a refusal', () => {
  it('does not show the token to anybody', async () => {
    const path = `/items?a=1&access_token=${expired}`
    const outcome = await ask([ours], {}, { path })
    expect(outcome).toMatchObject({
      failure: 'expired',
      headers: [['www-authenticate', 'Bearer realm="http://web.shop/items?a=1", error="invalid_token"']],
    })
    expect(JSON.stringify(outcome)).not.toContain(expired.slice(0, 20))
  })

  it('has no header that the request could have made', async () => {
    const outcome = await ask([ours], { authorization: 'Bearer x' }, { authority: 'a"\r\n\\é', path: '/"x' })
    expect(outcome).toMatchObject({
      headers: [['www-authenticate', 'Bearer realm="http://a/x", error="invalid_token"']],
    })
  })
})

describe('rules of a waypoint', () => {
  const policies = parsePolicies(
    [
      ['shop', 'service', '{kind: Service, name: web}'],
      ['shop', 'gateway', '{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}'],
      [
        'istio-system',
        'class',
        '{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}',
      ],
      ['other', 'elsewhere', '{kind: Service, name: web}'],
      [
        'shop',
        'class-elsewhere',
        '{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}',
      ],
      ['shop', 'none', ''],
    ]
      .map(
        ([namespace, name, target]) =>
          `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {${target === '' ? '' : `targetRefs: [${target}], `}jwtRules: [{issuer: ${name}}]}\n`,
      )
      .join('---\n'),
    'p.yaml',
  ).requestAuthentications
  const gateway = { namespace: 'shop', name: 'waypoint', className: 'istio-waypoint' }
  const issuersFor = (target: Parameters<typeof attachedJwtRules>[1]): readonly string[] =>
    attachedJwtRules(policies, target, { rootNamespace: 'istio-system' }).map(rule => rule.issuer)

  it('are those of its service, its Gateway and its class, by issuer', () => {
    const service = { namespace: 'shop', name: 'web', hostname: 'web.shop.svc.cluster.local' }
    expect(issuersFor({ gateway, service })).toEqual(['class', 'gateway', 'service'])
    expect(issuersFor({ gateway })).toEqual(['class', 'gateway'])
    expect(issuersFor({ gateway: { ...gateway, name: 'another' }, service })).toEqual(['class', 'service'])
  })
})
