/** Tokens that nobody would write: whatever comes is passed as nobody or refused, and nothing breaks. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createJwtAuthenticator, type JwtRequest, type JwtRule, readKeySet } from '@ambient/policy'
import { allKeys, claims, encode, issuer, now, nowSeconds, token } from './jwt-tokens.ts'

const good = token()
const ours: JwtRule = { issuer, jwks: allKeys }

function requestWith(headers: Readonly<Record<string, string>>, path = '/items'): JwtRequest {
  const header = (name: string): readonly string[] => [headers[name] ?? []].flat()
  return { method: 'GET', scheme: 'http', authority: 'web.shop', path, header }
}

describe('anything at all', () => {
  const authenticator = createJwtAuthenticator(
    [{ ...ours, fromCookies: ['c'], fromParams: ['t'], fromHeaders: [{ name: 'x', prefix: 'T' }] }, ours],
    { now: () => now },
  )
  const section = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.base64String({ maxLength: 40 }),
    fc.jsonValue().map(encode),
    fc.constantFrom(...good.split('.')),
  )
  const text = fc.oneof(
    fc.array(section, { maxLength: 5 }).map(parts => parts.join('.')),
    fc
      .tuple(fc.nat({ max: good.length }), fc.string({ maxLength: 3 }))
      .map(([at, change]) => good.slice(0, at) + change + good.slice(at + change.length)),
  )
  it('is passed as nobody or refused, and never breaks', async () => {
    await fc.assert(
      fc.asyncProperty(text, text, text, async (header, cookie, param) => {
        const headers = { x: `T${header}`, authorization: `Bearer ${header}`, cookie: `c=${cookie}; a` }
        const outcome = await authenticator.authenticate(
          requestWith(headers, `/?t=${param}&access_token=${encodeURIComponent(param)}`),
        )
        if (outcome.kind === 'passed') expect(outcome.jwt?.payload ?? claims).toEqual(claims)
        else expect([401, 403]).toContain(outcome.status)
      }),
      { numRuns: 300 },
    )
  })

  it('a token whose bytes were changed is never accepted', async () => {
    const parts = good.split('.')
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 2 }),
        fc.nat(),
        fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'),
        async (part, seed, letter) => {
          const chosen = parts[part] ?? ''
          const at = seed % chosen.length
          fc.pre(chosen[at] !== letter)
          const other = chosen.slice(0, at) + letter + chosen.slice(at + 1)
          const changed = parts.map((section, index) => (index === part ? other : section)).join('.')
          const outcome = await authenticator.authenticate(
            requestWith({ authorization: `Bearer ${changed}` }),
          )
          expect(outcome.kind).toBe('refused')
        },
      ),
      { numRuns: 300 },
    )
  })

  it('times are compared as numbers, whatever they are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.double({ noNaN: true, noDefaultInfinity: true }), async exp => {
        const outcome = await authenticator.authenticate(
          requestWith({ authorization: `Bearer ${token({ iss: issuer, exp })}` }),
        )
        const isGood = exp >= 0 && exp < 2 ** 64 && nowSeconds <= Math.floor(exp) + 60
        expect([exp, outcome.kind]).toEqual([exp, isGood ? 'passed' : 'refused'])
      }),
      { numRuns: 200 },
    )
  })

  it('a key set is read or not, and never breaks', async () => {
    const member = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom('RSA', 'EC', 'OKP', 'oct', 'P-256', 'Ed25519', 'AQAB', 'sig'),
    )
    const key = fc.record(
      {
        kty: member,
        crv: member,
        n: member,
        e: member,
        x: member,
        y: member,
        k: member,
        alg: member,
        use: member,
      },
      { requiredKeys: [] },
    )
    const written = fc.oneof(
      fc.array(key, { maxLength: 4 }).map(keys => JSON.stringify({ keys })),
      fc.jsonValue().map(value => JSON.stringify(value)),
      fc.string(),
    )
    await fc.assert(
      fc.asyncProperty(written, async jwks => {
        const set = readKeySet(jwks)
        if (set.ok) for (const { hasSigned } of set.keys) await hasSigned(good, 'RS256')
        const authenticator = createJwtAuthenticator([{ issuer, jwks }], { now: () => now })
        const outcome = await authenticator.authenticate(requestWith({ authorization: `Bearer ${good}` }))
        expect(outcome.kind).toBe('refused')
      }),
      { numRuns: 300 },
    )
  })
})
