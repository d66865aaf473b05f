/** SPIFFE IDs: the specification's rules as vectors, every byte in both places, the ends of the lengths. */
import {
  CoreError,
  isAmbientError,
  parseSpiffeId,
  parseTrustDomain,
  readSpiffeId,
  readTrustDomain,
  sameSpiffeId,
  type SpiffeIdCode,
  spiffeIdOf,
  spiffeIdWithPath,
  trustDomainProblem,
  workloadIdentityOf,
  workloadSpiffeId,
} from '@ambient/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

/** `istio`: an ID that is also of the form that Istio gives workloads. */
type Rule =
  | 'ok'
  | 'istio'
  | 'empty'
  | 'scheme'
  | 'no td'
  | 'td char'
  | 'path char'
  | 'trail slash'
  | 'empty seg'
  | 'dot seg'
  | 'too long'
  | 'td too long'

type Broken = Exclude<Rule, 'ok' | 'istio'>

const CODES: Readonly<Record<Broken, SpiffeIdCode>> = {
  empty: 'empty',
  scheme: 'scheme',
  'no td': 'trust-domain-missing',
  'td char': 'trust-domain-characters',
  'path char': 'path-characters',
  'trail slash': 'path-trailing-slash',
  'empty seg': 'path-empty-segment',
  'dot seg': 'path-dot-segment',
  'too long': 'too-long',
  'td too long': 'trust-domain-too-long',
}

const WORDS: Readonly<Record<Broken, RegExp>> = {
  empty: /cannot be empty/,
  scheme: /scheme is missing or invalid/,
  'no td': /trust domain is missing/,
  'td char': /trust domain characters are limited/,
  'path char': /path segment characters are limited/,
  'trail slash': /trailing slash/,
  'empty seg': /empty segments/,
  'dot seg': /dot segments/,
  'too long': /^longer than 2048 bytes/,
  'td too long': /trust domain is longer than 255 bytes/,
}

const VECTORS: readonly (readonly [input: string, rule: Rule])[] = [
  ['', 'empty'],
  ['s', 'scheme'],
  ['spiffe:/', 'scheme'],
  ['spiffe://', 'no td'],
  ['spiffe:///', 'no td'],
  ['spiffe:///path', 'no td'],
  ['Spiffe://td', 'scheme'],
  ['SPIFFE://td/ns/n/sa/s', 'scheme'],
  ['https://td/path', 'scheme'],
  ['spiffe:td/path', 'scheme'],
  [' spiffe://td/path', 'scheme'],
  ['spiffe://td/path ', 'path char'],
  ['spiffe://td', 'ok'],
  ['spiffe://td/path', 'ok'],
  ['spiffe://td/', 'trail slash'],
  ['spiffe://td//', 'empty seg'],
  ['spiffe://td//path', 'empty seg'],
  ['spiffe://td/path/', 'trail slash'],
  ['spiffe://td/a//b', 'empty seg'],
  ['spiffe://td/.', 'dot seg'],
  ['spiffe://td/..', 'dot seg'],
  ['spiffe://td/./path', 'dot seg'],
  ['spiffe://td/../path', 'dot seg'],
  ['spiffe://td/path/.', 'dot seg'],
  ['spiffe://td/path/..', 'dot seg'],
  ['spiffe://td/path/./other', 'dot seg'],
  ['spiffe://td/path/../other', 'dot seg'],
  ['spiffe://td/.path', 'ok'],
  ['spiffe://td/..path', 'ok'],
  ['spiffe://td/...', 'ok'],
  ['spiffe://td/path..', 'ok'],
  ['spiffe://td/a.b_c-D9', 'ok'],
  ['spiffe://TD/path', 'td char'],
  ['spiffe://Td.example/path', 'td char'],
  ['spiffe://td.example/Path', 'ok'],
  ['spiffe://td_x-1.example/path', 'ok'],
  ['spiffe://1.2.3.4/path', 'ok'],
  ['spiffe://-td/path', 'ok'],
  ['spiffe://.td/path', 'ok'],
  ['spiffe://td./path', 'ok'],
  ['spiffe://td..x/path', 'ok'],
  ['spiffe://_/p', 'ok'],
  ['spiffe://[::1]/path', 'td char'],
  ['spiffe://td:80/path', 'td char'],
  ['spiffe://td:/path', 'td char'],
  ['spiffe://user@td/path', 'td char'],
  ['spiffe://user:pw@td/path', 'td char'],
  ['spiffe://td@evil/path', 'td char'],
  ['spiffe://td?x=1', 'td char'],
  ['spiffe://td/path?x=1', 'path char'],
  ['spiffe://td#f', 'td char'],
  ['spiffe://td/path#f', 'path char'],
  ['spiffe://td/path?', 'path char'],
  ['spiffe://td/path#', 'path char'],
  ['spiffe://%74d/path', 'td char'],
  ['spiffe://td/%70ath', 'path char'],
  ['spiffe://td/a%2Fb', 'path char'],
  ['spiffe://td/a%2e%2e/b', 'path char'],
  ['spiffe://%F0%9F%A4%AF/p', 'td char'],
  ['spiffe://td/%F0%9F%A4%AF', 'path char'],
  ['spiffe://td/%', 'path char'],
  ['spiffe://t\u00e9/path', 'td char'],
  ['spiffe://td/p\u00e4th', 'path char'],
  ['spiffe://t\u0430/path', 'td char'],
  ['spiffe://td/p\u200bath', 'path char'],
  ['spiffe://td/a\u0000b', 'path char'],
  ['spiffe://td\u0000/path', 'td char'],
  ['spiffe://td/a\nb', 'path char'],
  ['spiffe://td/a\tb', 'path char'],
  ['spiffe://td/a b', 'path char'],
  ['spiffe://td/*', 'path char'],
  ['spiffe://*/path', 'td char'],
  ['spiffe://td/a,b', 'path char'],
  ['spiffe://td/a+b', 'path char'],
  ['spiffe://td/a~b', 'path char'],
  ['spiffe://td/a:b', 'path char'],
  ['spiffe://td/a@b', 'path char'],
  ['spiffe://td/a=b', 'path char'],
  ['spiffe://td/a;b=c', 'path char'],
  ['spiffe://td/a"b', 'path char'],
  ['spiffe://td/a\\b', 'path char'],
  ['spiffe://td/a|b', 'path char'],
  ['spiffe://td/a$b', 'path char'],
  ['spiffe://td/[a]', 'path char'],
  ['spiffe://td/{a}', 'path char'],
  ['spiffe://cluster.local/ns/default/sa/default', 'istio'],
  ['spiffe://td/ns/n/sa/cert-manager.io', 'istio'],
  ['spiffe://td/ns/n/sa/s/extra', 'ok'],
  ['spiffe://td/NS/n/sa/s', 'ok'],
  ['spiffe:///ns/n/sa/s', 'no td'],
  ['spiffe://td/ns//sa/x', 'empty seg'],
  ['spiffe://td/ns/n/sa/', 'trail slash'],
  ['spiffe://TD/ns/n/sa/s', 'td char'],
  ['spiffe://td/ns/n/sa/s%2Fadmin', 'path char'],
  ['spiffe://td/ns/../sa/s', 'dot seg'],
  ['spiffe://td/ns/n/sa/*', 'path char'],
  ['spiffe://td:443/ns/n/sa/s', 'td char'],
  ['spiffe://u@td/ns/n/sa/s', 'td char'],
  ['spiffe://td/ns/n/sa/s?x', 'path char'],
  ['spiffe://td/ns/n/sa/a b', 'path char'],
  [`spiffe://td/${'a'.repeat(2048 - 12)}`, 'ok'],
  [`spiffe://td/${'a'.repeat(2049 - 12)}`, 'too long'],
  [`spiffe://${'t'.repeat(255)}/p`, 'ok'],
  [`spiffe://${'t'.repeat(256)}/p`, 'td too long'],
  // Bytes are counted, not characters; no such character would be right anyway.
  [`spiffe://td/${'\u00e9'.repeat(1018)}`, 'path char'],
  [`spiffe://td/${'\u00e9'.repeat(1019)}`, 'too long'],
  [`spiffe://td/${'\u{1f92f}'.repeat(510)}`, 'too long'],
  [`spiffe://${'\u00e9'.repeat(127)}/p`, 'td char'],
  [`spiffe://${'\u00e9'.repeat(128)}/p`, 'td too long'],
]

function expectRule(input: string, rule: Rule): void {
  const result = readSpiffeId(input)
  if (rule === 'ok' || rule === 'istio') {
    expect(result).toMatchObject({ ok: true, id: { uri: input } })
    expect(result.ok && workloadIdentityOf(result.id) !== undefined).toBe(rule === 'istio')
  } else {
    expect(result).toEqual({ ok: false, code: CODES[rule], reason: expect.stringMatching(WORDS[rule]) })
  }
}

describe('readSpiffeId', () => {
  it.each(VECTORS.map(([input, rule]) => [printable(input), rule, input] as const))(
    '%s → %s',
    (_, rule, input) => expectRule(input, rule),
  )

  const char = (code: number): string => String.fromCharCode(code)
  const inSet = (code: number, set: RegExp): boolean => set.test(char(code))

  it('takes exactly a-z 0-9 . - _ in a trust domain: all 256 values, with a path behind them and without', () => {
    for (let code = 0; code < 256; code++) {
      // A slash begins the path, which then is a trailing slash.
      const rule = char(code) === '/' ? 'trail slash' : inSet(code, /[a-z0-9._-]/) ? 'ok' : 'td char'
      expectRule(`spiffe://td${char(code)}`, rule)
      expectRule(`spiffe://td${char(code)}/path`, char(code) === '/' ? 'empty seg' : rule)
    }
  })

  it('takes exactly a-z A-Z 0-9 . - _ in a path: all 256 values', () => {
    for (let code = 0; code < 256; code++) {
      const rule = char(code) === '/' ? 'trail slash' : inSet(code, /[a-zA-Z0-9._-]/) ? 'ok' : 'path char'
      expectRule(`spiffe://td/path${char(code)}`, rule)
      expectRule(`spiffe://td/path${char(code)}/more`, char(code) === '/' ? 'empty seg' : rule)
    }
  })

  it('splits what it accepts, and gives the same text back', () => {
    const domain = fc.stringMatching(/^[a-z0-9._-]{1,40}$/)
    const segment = fc.stringMatching(/^[a-zA-Z0-9._-]{1,20}$/).filter(text => text !== '.' && text !== '..')
    fc.assert(
      fc.property(domain, fc.array(segment, { maxLength: 6 }), (trustDomain, segments) => {
        const path = segments.map(text => `/${text}`).join('')
        expect(parseSpiffeId(`spiffe://${trustDomain}${path}`)).toEqual({
          trustDomain,
          path,
          uri: `spiffe://${trustDomain}${path}`,
        })
      }),
      { numRuns: 200 },
    )
  })

  it('gives an ID that nobody can change', () => {
    expect(Object.isFrozen(parseSpiffeId('spiffe://td/path'))).toBe(true)
  })
})

describe('parseSpiffeId', () => {
  it('throws a coded error with the broken rule, and not a kilobyte of input', () => {
    const thrown = thrownBy(() => parseSpiffeId(`spiffe://TD/${'x'.repeat(1000)}`))
    expect(thrown).toBeInstanceOf(CoreError)
    expect(isAmbientError(thrown)).toBe(true)
    expect(thrown).toMatchObject({ code: 'AMBIENT_E_SPIFFE_ID', layer: 'identity', name: 'CoreError' })
    expect(String(thrown)).toMatch(/trust domain characters/)
    expect(String(thrown).length).toBeLessThan(500)
  })
})

describe('trustDomainProblem', () => {
  it.each([
    ['td', undefined],
    ['cluster.local', undefined],
    ['', /missing/],
    ['TD', /characters/],
    ['td/x', /characters/],
    ['spiffe:/td/x', /characters/],
    ['t'.repeat(255), undefined],
    ['t'.repeat(256), /longer than 255/],
  ])('%s', (name, problem) => {
    if (problem === undefined) expect(trustDomainProblem(name)).toBeUndefined()
    else expect(trustDomainProblem(name)).toMatch(problem)
  })
})

describe('parseTrustDomain', () => {
  it.each([
    ['td', 'td'],
    ['cluster.local', 'cluster.local'],
    ['spiffe://td', 'td'],
    ['spiffe://td/x', 'td'],
    ['spiffe://td/ns/n/sa/s', 'td'],
  ])('%s is of %s', (text, trustDomain) => {
    expect(parseTrustDomain(text)).toBe(trustDomain)
    expect(readTrustDomain(text)).toEqual({ ok: true, trustDomain })
  })

  it.each([
    ['', 'trust-domain-missing'],
    ['TD', 'trust-domain-characters'],
    ['td/x', 'trust-domain-characters'],
    ['td:80', 'trust-domain-characters'],
    ['spiffe:td', 'trust-domain-characters'],
    ['spiffe:/td/x', 'scheme'],
    ['https://td', 'scheme'],
    ['spiffe://', 'trust-domain-missing'],
    ['spiffe:///x', 'trust-domain-missing'],
    ['spiffe://TD/x', 'trust-domain-characters'],
    ['spiffe://td/', 'path-trailing-slash'],
    ['spiffe://td/a b', 'path-characters'],
    [' td', 'trust-domain-characters'],
    ['t'.repeat(256), 'trust-domain-too-long'],
    [`spiffe://${'t'.repeat(256)}/x`, 'trust-domain-too-long'],
  ])('%s is refused: %s', (text, code) => {
    expect(readTrustDomain(text)).toMatchObject({ ok: false, code })
    expect(thrownBy(() => parseTrustDomain(text))).toMatchObject({
      code: 'AMBIENT_E_SPIFFE_ID',
      message: expect.stringMatching(/^invalid trust domain "/),
    })
  })
})

describe('IDs from parts', () => {
  it('are put together from segments, or from a path', () => {
    expect(spiffeIdOf('td').uri).toBe('spiffe://td')
    expect(spiffeIdOf('td', 'ns', 'n', 'sa', 's').uri).toBe('spiffe://td/ns/n/sa/s')
    expect(spiffeIdWithPath('td', '').uri).toBe('spiffe://td')
    expect(spiffeIdWithPath('td', '/a/b')).toEqual(parseSpiffeId('spiffe://td/a/b'))
  })

  it.each(['', '.', '..', '/', '/foo', 'foo/', 'a/b', '$', 'a b', '%41', '\u0000', '\u00e9'])(
    'refuse the segment %j wherever it stands',
    segment => {
      for (const segments of [[segment], ['a', segment], [segment, 'b']])
        expect(thrownBy(() => spiffeIdOf('td', ...segments))).toMatchObject({
          code: 'AMBIENT_E_SPIFFE_ID',
          message: expect.stringMatching(/^invalid SPIFFE ID segment "/),
        })
    },
  )

  it('refuse a trust domain that is more than a name, and what is too long together', () => {
    for (const trustDomain of ['', 'TD', 'td/x', 'spiffe://td', 'td?'])
      for (const make of [() => spiffeIdOf(trustDomain, 'a'), () => spiffeIdWithPath(trustDomain, '/a')])
        expect(thrownBy(make)).toMatchObject({ message: expect.stringMatching(/^invalid trust domain/) })
    expect(spiffeIdOf('td', 'a'.repeat(2048 - 12)).uri).toHaveLength(2048)
    expect(() => spiffeIdOf('td', 'a'.repeat(2049 - 12))).toThrow(/longer than 2048 bytes/)
  })

  it.each([
    ['a', /leading slash/],
    ['a/b', /leading slash/],
    ['/', /trailing slash/],
    ['//', /empty segments/],
    ['/a/', /trailing slash/],
    ['/../a', /dot segments/],
    ['/a?b', /characters/],
  ])('refuse the path %s', (path, reason) => expect(() => spiffeIdWithPath('td', path)).toThrow(reason))

  it('are taken apart as they were put together, and only what keeps every rule is', () => {
    const any = fc.string({ maxLength: 8, unit: fc.constantFrom(...'ab.-_/Z0 %\u00e9') })
    fc.assert(
      fc.property(any, fc.array(any, { maxLength: 3 }), (trustDomain, segments) => {
        let id: ReturnType<typeof spiffeIdOf> | undefined
        try {
          id = spiffeIdOf(trustDomain, ...segments)
        } catch {
          id = undefined
        }
        const isRight =
          /^[a-z0-9._-]+$/.test(trustDomain) &&
          segments.every(text => /^[a-zA-Z0-9._-]+$/.test(text) && text !== '.' && text !== '..')
        expect(id !== undefined).toBe(isRight)
        if (id === undefined) return
        expect(id.trustDomain).toBe(trustDomain)
        expect(id.path.split('/').slice(1)).toEqual(segments)
      }),
      { numRuns: 500 },
    )
  })
})

describe('Istio workload identities', () => {
  it('go to an ID and back', () => {
    const identity = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'web' }
    const id = workloadSpiffeId(identity)
    expect(id.uri).toBe('spiffe://cluster.local/ns/shop/sa/web')
    expect(workloadIdentityOf(id)).toEqual(identity)
    expect(sameSpiffeId(id, parseSpiffeId(id.uri))).toBe(true)
    expect(sameSpiffeId(id, parseSpiffeId('spiffe://cluster.local/ns/shop/sa/other'))).toBe(false)
  })

  it.each([
    { trustDomain: 'td', namespace: '', serviceAccount: 's' },
    { trustDomain: 'td', namespace: 'n', serviceAccount: '' },
    { trustDomain: '', namespace: 'n', serviceAccount: 's' },
    { trustDomain: 'td', namespace: '..', serviceAccount: 's' },
    { trustDomain: 'td', namespace: 'n', serviceAccount: 's?x' },
  ])('refuse a part that an ID cannot hold: $trustDomain $namespace $serviceAccount', parts => {
    expect(thrownBy(() => workloadSpiffeId(parts))).toMatchObject({ code: 'AMBIENT_E_SPIFFE_ID' })
  })

  it.each(['spiffe://td', 'spiffe://td/ns/n/sa/s/extra', 'spiffe://td/NS/n/sa/s', 'spiffe://td/ns/n/sb/s'])(
    'are not read out of %s',
    uri => expect(workloadIdentityOf(parseSpiffeId(uri))).toBeUndefined(),
  )

  it('a namespace with a slash in it would move the parts: such an ID is no workload identity', () => {
    const id = workloadSpiffeId({ trustDomain: 'td', namespace: 'a/sa/b', serviceAccount: 's' })
    expect(workloadIdentityOf(id)).toBeUndefined()
  })
})

function printable(text: string): string {
  const quoted = JSON.stringify(text)
  return quoted.length > 60 ? `${quoted.slice(0, 30)}… (${text.length})` : quoted
}

function thrownBy(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}
