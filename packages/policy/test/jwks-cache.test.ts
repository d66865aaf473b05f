/** Keys of issuers in memory: who fetches when, and what counts while nobody answers. */
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import {
  createJwksCache,
  createJwtAuthenticator,
  type FetchText,
  type JwksCacheOptions,
  type JwtKeySet,
} from '@ambient/policy'
import { claims, issuer, jwk, jwks, now, token } from './jwt-tokens.ts'

const reference = { issuer, jwksUri: 'https://issuer.example/keys', timeoutMs: 5_000 }
const minute = 60_000

/** An issuer whose answers the test gives. */
function world(options: Partial<JwksCacheOptions> = {}) {
  const clock = createManualClock(now)
  const asked: string[] = []
  const errors: string[] = []
  let answer: FetchText = () => Promise.reject(new Error('nobody'))
  const cache = createJwksCache({
    fetch: (url, fetchOptions) => {
      asked.push(url)
      return answer(url, fetchOptions)
    },
    clock,
    onError: error => errors.push(error.message),
    ...options,
  })
  return {
    cache,
    clock,
    asked,
    errors,
    answers: (text: string) => {
      answer = () => Promise.resolve(text)
    },
    fails: (message: string) => {
      answer = () => Promise.reject(new Error(message))
    },
    waits: () => {
      const given: { answer: (text: string) => void } = { answer: () => {} }
      answer = (_, { signal }) =>
        new Promise((resolve, reject) => {
          given.answer = resolve
          signal.addEventListener('abort', () => reject(new Error('aborted')))
        })
      return given
    },
  }
}

function idsOf(set: JwtKeySet): readonly string[] | string {
  return set.ok ? set.keys.map(({ keyId }) => keyId) : set.failure
}

const first = jwks(jwk('rsa', { kid: 'one' }))
const second = jwks(jwk('rsa', { kid: 'one' }), jwk('ec', { kid: 'two' }))

describe('keys of an issuer', () => {
  it('are fetched once for all who wait, and are there at once for who comes later', async () => {
    const { cache, asked, waits } = world()
    const issuerKeys = waits()
    const waiting = [cache.keys(reference), cache.keys(reference), cache.newerKeys(reference)]
    issuerKeys.answer(first)
    expect((await Promise.all(waiting)).map(idsOf)).toEqual([['one'], ['one'], ['one']])
    const later = cache.keys(reference)
    expect(later).not.toBeInstanceOf(Promise)
    expect(asked).toEqual(['https://issuer.example/keys'])
  })

  it('are fetched again in the background when they are old', async () => {
    const { cache, clock, asked, answers } = world()
    answers(first)
    await cache.keys(reference)
    answers(second)
    clock.advance(20 * minute)
    expect(idsOf(await cache.keys(reference))).toEqual(['one'])
    await Promise.resolve()
    expect(asked).toHaveLength(2)
    await cache.newerKeys(reference)
    expect(idsOf(await cache.keys(reference))).toEqual(['one', 'two'])
  })

  it('serve for a day while the issuer does not answer, and no longer', async () => {
    const { cache, clock, asked, errors, answers, fails } = world()
    answers(first)
    await cache.keys(reference)
    fails('down')
    clock.advance(23 * 60 * minute)
    expect(idsOf(await cache.keys(reference))).toEqual(['one'])
    expect(idsOf(await cache.keys(reference))).toEqual(['one'])
    await cache.newerKeys(reference)
    expect(asked).toHaveLength(2)
    clock.advance(60 * minute)
    expect(idsOf(await cache.keys(reference))).toBe('jwks-fetch')
    expect(errors).toEqual(['down', 'down'])
    answers(second)
    clock.advance(10_000)
    expect(idsOf(await cache.keys(reference))).toEqual(['one', 'two'])
  })

  it('are none when they never came, and are not asked for with every token', async () => {
    const { cache, clock, asked, fails, answers } = world()
    fails('down')
    for (let attempt = 0; attempt < 5; attempt++)
      expect(idsOf(await cache.keys(reference))).toBe('jwks-fetch')
    expect(asked).toHaveLength(1)
    answers(first)
    clock.advance(9_999)
    expect(idsOf(await cache.keys(reference))).toBe('jwks-fetch')
    clock.advance(1)
    expect(idsOf(await cache.keys(reference))).toEqual(['one'])
  })

  it.each([
    ['no JSON', '<html>'],
    ['no key set', '{"jwks":[]}'],
    ['a set without usable keys', '{"keys":[{"kty":"X"}]}'],
    ['a name twice', '{"keys":[],"keys":[{}]}'],
    ['too many levels', `{"keys":${'['.repeat(5_000)}${']'.repeat(5_000)}}`],
    ['too much', `{"keys":[],"x":"${'x'.repeat(1024 * 1024)}"}`],
    ['a hundred and one keys', jwks(...Array.from({ length: 101 }, () => jwk('rsa')))],
  ])('stay when what comes is %s', async (_, text) => {
    const { cache, clock, errors, answers } = world()
    answers(first)
    await cache.keys(reference)
    answers(text)
    clock.advance(20 * minute)
    await cache.keys(reference)
    await cache.newerKeys(reference)
    expect(idsOf(await cache.keys(reference))).toEqual(['one'])
    expect(errors).toEqual(['no key set at https://issuer.example/keys'])
  })

  it('that a token names and nobody knows are fetched once in 30 seconds', async () => {
    const { cache, clock, asked, answers } = world()
    answers(first)
    const authenticator = createJwtAuthenticator([{ issuer, jwksUri: reference.jwksUri }], {
      jwks: cache,
      now: () => now,
    })
    const ask = async (kid: string, key: 'rsa' | 'ec'): Promise<string> => {
      const text = token(claims, { kid, key, alg: key === 'rsa' ? 'RS256' : 'ES256' })
      const header = (name: string): readonly string[] => (name === 'authorization' ? [`Bearer ${text}`] : [])
      const outcome = await authenticator.authenticate({
        method: 'GET',
        scheme: 'http',
        authority: 'a',
        path: '/',
        header,
      })
      return outcome.kind === 'passed' ? 'passed' : outcome.failure
    }
    expect(await ask('one', 'rsa')).toBe('passed')
    // The issuer begins to sign with a new key while the old one still counts.
    answers(second)
    expect(await ask('two', 'ec')).toBe('no-key')
    expect(asked).toHaveLength(1)
    clock.advance(30_000)
    expect(await ask('two', 'ec')).toBe('passed')
    expect(await ask('one', 'rsa')).toBe('passed')
    expect(asked).toHaveLength(2)
    for (const kid of ['x', 'y', 'z']) expect(await ask(kid, 'rsa')).toBe('no-key')
    expect(asked).toHaveLength(2)
    clock.advance(30_000)
    await Promise.all(['x', 'y', 'z'].map(kid => ask(kid, 'rsa')))
    expect(asked).toHaveLength(3)
    // The old key is taken back.
    answers(jwks(jwk('ec', { kid: 'two' })))
    clock.advance(20 * minute)
    await cache.keys(reference)
    await cache.newerKeys(reference)
    expect(await ask('one', 'rsa')).toBe('no-key')
  })
})

describe('an issuer without an address of keys', () => {
  const discovered = { issuer: 'https://issuer.example/', timeoutMs: 5_000 }
  it('says it in its OpenID configuration', async () => {
    const { cache, asked } = world({
      fetch: url => {
        asked.push(url)
        return Promise.resolve(
          url.endsWith('openid-configuration')
            ? JSON.stringify({ issuer: 'https://issuer.example/', jwks_uri: 'https://keys.example/set' })
            : first,
        )
      },
    })
    expect(idsOf(await cache.keys(discovered))).toEqual(['one'])
    expect(asked).toEqual([
      'https://issuer.example/.well-known/openid-configuration',
      'https://keys.example/set',
    ])
  })
  it.each([['{}'], ['{"jwks_uri":1}'], ['[]'], ['x']])('that says %s has no keys', async text => {
    const { cache, errors, answers } = world()
    answers(text)
    expect(idsOf(await cache.keys(discovered))).toBe('jwks-fetch')
    expect(errors).toEqual(['no jwks_uri in https://issuer.example/.well-known/openid-configuration'])
  })
})

describe('the cache', () => {
  it('keeps a bounded number of issuers', async () => {
    const { cache, answers } = world()
    answers(first)
    for (let n = 0; n < 1_100; n++) await cache.keys({ ...reference, issuer: `i${n}` })
    expect(cache.size).toBe(1_024)
  })
  it('gives up what it waits for when it is closed', async () => {
    const { cache, errors, waits } = world()
    waits()
    const waiting = cache.keys(reference)
    cache.close()
    expect(idsOf(await waiting)).toBe('jwks-fetch')
    expect(idsOf(await cache.keys(reference))).toBe('jwks-fetch')
    expect(idsOf(await cache.newerKeys(reference))).toBe('jwks-fetch')
    expect([cache.size, errors]).toEqual([0, []])
  })
})
