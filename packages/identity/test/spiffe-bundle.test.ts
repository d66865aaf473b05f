/** Bundles as documents: what is taken, what is passed over, what is refused. */
import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bundlePem, formatSpiffeBundle, readSpiffeBundle } from '../src/bundle/spiffe-bundle.ts'
import { bundleLimits } from '../src/defaults.ts'
import { createJwtAuthority } from '../src/jwt/authority.ts'
import { createTestIdentities } from '../src/testing/index.ts'
import { readPemCertificates } from '../src/x509/pem.ts'

const { ca } = await createTestIdentities({ trustDomain: 'example.org' })
const [root] = readPemCertificates(ca.rootPem)
if (root === undefined) throw new Error('no root')
const x5c = Buffer.from(root).toString('base64')
const jwt = await createJwtAuthority({ trustDomain: 'example.org' })
const bundle = {
  trustDomain: 'example.org',
  x509Authorities: [root],
  jwtAuthorities: jwt.authorities(),
  sequenceNumber: 7,
  refreshHintMs: 120_000,
  ignored: [],
}

function read(document: unknown): ReturnType<typeof readSpiffeBundle> {
  return readSpiffeBundle('example.org', JSON.stringify(document))
}

it('comes back as it was written', () => {
  const again = readSpiffeBundle('example.org', formatSpiffeBundle(bundle))
  expect(again).toEqual({ ...bundle, x509Authorities: [Buffer.from(root)] })
  expect(bundlePem(again)).toBe(ca.rootPem)
})

it('is written with the parameters of each key, as RFC 7517 asks', () => {
  const { keys } = JSON.parse(formatSpiffeBundle(bundle))
  expect(keys[0]).toMatchObject({ kty: 'EC', crv: 'P-256', use: 'x509-svid', x5c: [x5c] })
  expect(keys[0]).not.toHaveProperty('kid')
  expect(keys[1]).toMatchObject({ kty: 'EC', crv: 'P-256', use: 'jwt-svid', kid: expect.any(String) })
})

describe('an entry', () => {
  const key = { ...[...bundle.jwtAuthorities.values()][0] }
  it.each([
    ['of another use', { use: 'enc', kid: 'a', ...key }, 'use "enc" is neither x509-svid nor jwt-svid'],
    ['without use', { kid: 'a', ...key }, 'use undefined is neither'],
    ['without certificate', { use: 'x509-svid' }, 'x5c holds no certificate'],
    ['with an empty chain', { use: 'x509-svid', x5c: [] }, 'x5c holds no certificate'],
    ['with a certificate that is none', { use: 'x509-svid', x5c: ['AAAA'] }, 'x5c: '],
    ['without kid', { use: 'jwt-svid', ...key }, 'a jwt-svid key without kid'],
    ['with an empty kid', { use: 'jwt-svid', kid: '', ...key }, 'a jwt-svid key without kid'],
    ['that is a secret', { use: 'jwt-svid', kid: 'a', kty: 'oct', k: 'c2VjcmV0' }, 'is no public key'],
    ['that is no object', 7, 'not an object'],
  ])('%s is passed over, and its neighbours count', (_, entry, reason) => {
    const taken = read({ keys: [entry, { use: 'x509-svid', x5c: [x5c, 'ignored'] }] })
    expect(taken.x509Authorities).toHaveLength(1)
    expect(taken.jwtAuthorities.size).toBe(0)
    expect(taken.ignored).toEqual([expect.stringContaining(reason)])
    expect(taken.ignored[0]).toMatch(/^keys\[0\]: /)
  })

  it('with a key ID that was there before is passed over', () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' })
    const taken = read({
      keys: [
        { use: 'jwt-svid', kid: 'a', ...key },
        { use: 'jwt-svid', kid: 'a', ...other },
      ],
    })
    expect(taken.jwtAuthorities.get('a')).toEqual(key)
    expect(taken.ignored).toEqual([expect.stringContaining('given twice')])
  })

  it('never brings a private part along', () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
    const taken = read({ keys: [{ use: 'jwt-svid', kid: 'a', ...pair }] })
    expect(pair).toHaveProperty('d')
    expect(taken.jwtAuthorities.get('a')).not.toHaveProperty('d')
  })
})

describe('a document is refused', () => {
  it.each([
    ['that is no JSON', '{', /not JSON/],
    ['that is a list', '[]', /not a JSON object/],
    ['that is null', 'null', /not a JSON object/],
    ['without keys', '{}', /"keys" is not an array/],
    ['with a sequence that is no number', '{"keys":[],"spiffe_sequence":"1"}', /"spiffe_sequence"/],
    ['with half a sequence', '{"keys":[],"spiffe_sequence":1.5}', /"spiffe_sequence"/],
    ['with a negative hint', '{"keys":[],"spiffe_refresh_hint":-1}', /"spiffe_refresh_hint"/],
    [
      'with too many keys',
      JSON.stringify({ keys: Array.from({ length: bundleLimits.maxAuthorities + 1 }, () => ({})) }),
      /101 keys, at most 100/,
    ],
    ['that is too large', `{"keys":[]${' '.repeat(bundleLimits.maxDocumentBytes)}}`, /larger than/],
  ])('%s', (_, text, message) => {
    expect(() => readSpiffeBundle('example.org', text)).toThrow(
      expect.objectContaining({
        code: 'AMBIENT_E_TRUST_BUNDLE',
        message: expect.stringMatching(message),
      }),
    )
  })

  it('for a name that is no trust domain, whatever it says', () => {
    expect(() => readSpiffeBundle('Example.org', '{"keys":[]}')).toThrow(/trust domain characters/)
  })
})

it('never throws anything else, whatever it is given', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), text => {
      try {
        readSpiffeBundle('example.org', text)
      } catch (error) {
        expect(error).toMatchObject({ code: 'AMBIENT_E_TRUST_BUNDLE' })
      }
    }),
  )
})
