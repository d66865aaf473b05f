/**
 * The history of policies that were walked around by another spelling of the same request, replayed: what is denied stays
 * denied under each of them, in each mode of path normalization that promises it, and the proxy forwards what was judged.
 * Vulnerabilities of framing, of schemes and of internal headers are replayed where requests are read, in @ambient/waypoint.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicySpec,
  createEvaluator,
  normalizePath,
  type PathNormalization,
  type PolicyRequest,
  type PolicyRuleSpec,
} from '@ambient/policy'
import { forWeb } from './waypoint-fixtures.ts'

const MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const
/** From the mode on, each mode does what the one before it does. */
const from = (mode: PathNormalization): readonly PathNormalization[] => MODES.slice(MODES.indexOf(mode))

type Http = Partial<NonNullable<PolicyRequest['http']>>
type Answer = 'allow' | 403 | 400

function ask(
  spec: AuthorizationPolicySpec,
  http: Http,
  mode: PathNormalization = 'BASE',
  source: PolicyRequest['source'] = {},
): Answer {
  const evaluator = createEvaluator(
    { authorizationPolicies: [forWeb(spec)] },
    { dialect: 'envoy-http', pathNormalization: mode },
  )
  const verdict = evaluator.decide({
    source: { ip: '10.0.0.1', ...source },
    destination: { namespace: 'shop', service: 'shop/web', ip: '10.96.0.1', port: 80 },
    http: { method: 'GET', authority: 'web', path: '/', ...http },
  })
  if (verdict.verdict === 'allow') return 'allow'
  return verdict.status === 400 ? 400 : 403
}

const deny = (rule: PolicyRuleSpec): AuthorizationPolicySpec => ({ action: 'DENY', rules: [rule] })
const allow = (rule: PolicyRuleSpec): AuthorizationPolicySpec => ({ action: 'ALLOW', rules: [rule] })
const path = (...paths: readonly string[]): PolicyRuleSpec => ({ to: [{ operation: { paths } }] })

/** Id, what is sent, the first mode that sees through it (`never`: Envoy does not), and its answer before that. */
const SPELLINGS: readonly (readonly [
  id: string,
  sent: string,
  seen: PathNormalization | 'never',
  denied?: Answer,
])[] = [
  ['as written', '/admin', 'NONE'],
  ['CVE-2020-8595', '/admin?x', 'NONE'],
  ['CVE-2020-8595', '/admin?', 'NONE'],
  ['CVE-2020-8595, a fragment', '/admin#x', 'NONE', 400],
  ['CVE-2021-39156', '/user#/../admin', 'NONE', 400],
  ['CVE-2021-39156, in the query', '/admin?a#b', 'NONE', 400],
  ['CVE-2021-31920', '//admin', 'MERGE_SLASHES'],
  ['CVE-2021-31920', '///admin', 'MERGE_SLASHES'],
  ['CVE-2021-31920', '/%2Fadmin', 'DECODE_AND_MERGE_SLASHES'],
  ['CVE-2021-31920', '%2Fadmin', 'NONE', 400],
  ['CVE-2021-31920', '/%2fadmin', 'DECODE_AND_MERGE_SLASHES'],
  ['CVE-2021-31920', '/%5Cadmin', 'DECODE_AND_MERGE_SLASHES'],
  ['CVE-2021-31920', '/%5cadmin', 'DECODE_AND_MERGE_SLASHES'],
  ['CVE-2021-31920', '\\admin', 'NONE', 400],
  ['CVE-2021-31920', '/\\admin', 'MERGE_SLASHES'],
  ['CVE-2021-31920', '/x\\..\\admin', 'BASE'],
  ['CVE-2021-31920', '/./admin', 'BASE'],
  ['CVE-2021-31920', '/x/../admin', 'BASE'],
  ['CVE-2021-31920', '/x/%2e%2e/admin', 'BASE'],
  ['CVE-2021-31920', '/x/.%2E/admin', 'BASE'],
  ['CVE-2021-31920', '/x%2f..%2fadmin', 'DECODE_AND_MERGE_SLASHES'],
  ['CVE-2021-31920', '/x%5c..%5Cadmin', 'DECODE_AND_MERGE_SLASHES'],
  ['escaped letters', '/%61dmin', 'BASE'],
  ['escaped letters', '/%61%64%6D%69%6e', 'BASE'],
  ['an escape within an escape', '/%2561dmin', 'never'],
  ['an escape made by another', '/%%36%31dmin', 'never'],
  ['CVE-2026-73551', '/x/..;y/admin', 'BASE'],
  ['CVE-2026-73551', '/.;y/admin', 'BASE'],
  ['CVE-2026-73511', '/x/..;/admin', 'BASE'],
  ['CVE-2026-73553, hidden', '/x/%2e%2e;y/admin', 'never'],
  ['CVE-2026-73553, a parameter of the last segment', '/admin;v=1', 'never'],
  ['NUL', '/admin%00', 'BASE', 400],
  ['a raw NUL', '/admin\0', 'NONE', 400],
  ['a raw byte outside ASCII', '/admin\xff', 'NONE', 400],
  ['an overlong slash', '/x/..%c0%afadmin', 'never'],
  ['an absolute form', 'http://web/admin', 'NONE', 400],
  ['a lone percent sign', '/admin%', 'never'],
]

describe('a DENY of /admin', () => {
  const spec = deny(path('/admin'))
  for (const [id, sent, seen, answer = 403] of SPELLINGS)
    it.each(MODES)(`${id}: ${JSON.stringify(sent)} in mode %s`, mode => {
      const isSeen = seen !== 'never' && from(seen).includes(mode)
      expect(ask(spec, { path: sent }, mode)).toBe(isSeen ? answer : 'allow')
    })
})

describe('an ALLOW of anything but /admin fails open for the same spellings, and one of what is meant does not', () => {
  const negative = allow({ to: [{ operation: { notPaths: ['/admin'] } }] })
  const positive = allow(path('/public', '/public/*'))
  for (const [id, sent, seen, answer = 403] of SPELLINGS)
    it.each(MODES)(`${id}: ${JSON.stringify(sent)} in mode %s`, mode => {
      const isSeen = seen !== 'never' && from(seen).includes(mode)
      expect(ask(negative, { path: sent }, mode)).toBe(isSeen ? answer : 'allow')
      expect(ask(positive, { path: sent }, mode)).not.toBe('allow')
    })
})

describe('our own waypoint', () => {
  it.each(['/x/%2e%2e;y/admin', '/x\\..;/admin', '/x\\.;/admin', '/x/.%2e;/admin', '/%2e;/'])(
    'refuses %s, whose dots an application could read',
    target => {
      for (const mode of from('BASE')) {
        expect(normalizePath(target, mode).ok).toBe(true)
        expect(normalizePath(target, mode, { dotParameters: 'refuse' }).ok).toBe(false)
      }
    },
  )
  it('takes parameters elsewhere', () => {
    for (const target of ['/a;x/b', '/a.;x', '/a..;x/b', '/a?b=/..;x', '/...;x'])
      expect(normalizePath(target, 'BASE', { dotParameters: 'refuse' })).toEqual({ ok: true, path: target })
  })
})

describe('hosts', () => {
  const secret = deny({ to: [{ operation: { hosts: ['secret.com'] } }] })
  it.each<[string, string, Answer]>([
    ['as written', 'secret.com', 403],
    ['CVE-2021-39155', 'Secret.COM', 403],
    // Istio compares the whole authority: `secret.com` and `secret.com:*` both belong into the policy.
    ['bulletin 2021-008', 'secret.com:80', 'allow'],
    ['bulletin 2021-008', 'secret.com:0080', 'allow'],
    ['a trailing dot', 'secret.com.', 'allow'],
  ])('%s: %s', (_, authority, answer) => expect(ask(secret, { authority })).toBe(answer))
  it('are held with their ports when the policy says so', () => {
    const both = deny({ to: [{ operation: { hosts: ['secret.com', 'secret.com:*'] } }] })
    for (const authority of ['secret.com', 'SECRET.com:80', 'secret.COM:0080', 'secret.com:'])
      expect(ask(both, { authority })).toBe(403)
  })
})

describe('who is not known', () => {
  // Bulletin 2021-004: only a policy that asks for an identity keeps plaintext out.
  it.each<[PolicyRuleSpec, Answer]>([
    [{ from: [{ source: { notNamespaces: ['evil'] } }] }, 'allow'],
    [{ from: [{ source: { notPrincipals: ['td/ns/evil/sa/x'] } }] }, 'allow'],
    [{ from: [{ source: { notPrincipals: ['td/ns/evil/sa/x'], principals: ['*'] } }] }, 403],
    [{ from: [{ source: { namespaces: ['*'] } }] }, 403],
    [{ from: [{ source: { serviceAccounts: ['shop/web'] } }] }, 403],
    [{ from: [{ source: { trustDomains: ['*'] } }] }, 403],
  ])('ALLOW %j: %s', (rule, answer) => expect(ask(allow(rule), {})).toBe(answer))
  it.each(['axb', 'a-b', 'ab'])('a dot in a policy is a dot (CVE-2026-39350): %s', namespace => {
    const principal = `cluster.local/ns/${namespace}/sa/s`
    for (const source of [
      { namespaces: ['a.b'] },
      { serviceAccounts: ['a.b/s'] },
      { principals: ['*/ns/a.b/sa/s'] },
    ])
      expect(ask(allow({ from: [{ source }] }), {}, 'BASE', { principal })).toBe(403)
  })
})

describe('headers', () => {
  const header = (name: string, ...values: readonly string[]): PolicyRuleSpec => ({
    when: [{ key: `request.headers[${name}]`, values }],
  })
  const notHeader = (name: string, ...notValues: readonly string[]): PolicyRuleSpec => ({
    when: [{ key: `request.headers[${name}]`, notValues }],
  })
  it.each<[string, Http['headers'], Answer]>([
    ['alone', { x: 'admin' }, 403],
    ['CVE-2026-26308, repeated', { x: ['a', 'admin'] }, 403],
    ['CVE-2026-26308, repeated the other way round', { x: ['admin', 'a'] }, 403],
    ['CVE-2026-26308, in two cases of its name', { x: 'a', X: 'admin' }, 403],
    ['one line that is another value', { x: 'a,admin' }, 'allow'],
    ['CVE-2023-27488, bytes that are not UTF-8', { x: ['\x80\xff', 'admin'] }, 403],
    ['absent', {}, 'allow'],
  ])('DENY of a value: %s', (_, headers, answer) =>
    expect(ask(deny(header('x', 'admin')), headers === undefined ? {} : { headers })).toBe(answer),
  )
  it.each<[string, Http['headers']]>([
    ['alone', { x: 'guest' }],
    ['repeated', { x: ['user', 'guest'] }],
    ['with bytes that are not UTF-8 (CVE-2026-73552)', { x: ['\x80', 'guest', '\xff'] }],
  ])('ALLOW of what is not the value is not for it %s', (_, headers) =>
    expect(ask(allow(notHeader('x', 'guest')), headers === undefined ? {} : { headers })).toBe(403),
  )
  it.each([
    ['é', '\xc3\xa9', true],
    ['é*', '\xc3\xa9x', true],
    ['日本', '\xe6\x97\xa5\xe6\x9c\xac', true],
    ['日本', '日本', true],
    ['日本', '\xe6\x97\xa5\xe6\x9c', false],
  ])('what a policy calls %s is the bytes %j of the wire: %s', (written, wire, matches) => {
    const answer = matches ? 403 : 'allow'
    expect(ask(deny(header('x', written)), { headers: { x: wire } })).toBe(answer)
    expect(ask(allow(notHeader('x', written)), { headers: { x: wire } })).toBe(answer)
  })
  it('a value that is not UTF-8 is itself', () => {
    expect(ask(deny(header('x', '\x80*')), { headers: { x: '\x80\xff' } })).toBe(403)
    expect(ask(deny(header('x', '*')), { headers: { x: '\x80\xff' } })).toBe(403)
    expect(ask(deny(header('x', '\ufffd*')), { headers: { x: '\x80\xff' } })).toBe('allow')
  })
  it('client-sent names of rules and of prototypes are only names', () => {
    for (const name of ['__proto__', 'constructor', 'toString'])
      expect(ask(deny(header(name, '*')), { headers: {} })).toBe('allow')
  })
})

describe('whatever is equivalent for the mode', () => {
  /** Spellings of one path that the mode promises to see as one. */
  const letter = (character: string): fc.Arbitrary<string> => {
    const hex = character.charCodeAt(0).toString(16)
    return fc.constantFrom(character, character, `%${hex}`, `%${hex.toUpperCase()}`)
  }
  const separators: Readonly<Record<PathNormalization, readonly string[]>> = {
    NONE: ['/'],
    BASE: ['/', '/./', '/x/../', '/x/%2e%2E/', '/x/..;p/', '/.;p=1/'],
    MERGE_SLASHES: ['/', '//', '///', '/./', '/.//', '/x/..//', '\\\\', '/\\'],
    DECODE_AND_MERGE_SLASHES: ['/', '%2f', '%2F/', '%5c', '/%5C', '/%2f%2E%2e%2fx%2F'],
  }
  const spelling = (mode: PathNormalization): fc.Arbitrary<string> =>
    fc
      .tuple(
        fc.constantFrom(
          ...separators[mode].filter(text => mode !== 'DECODE_AND_MERGE_SLASHES' || !text.includes('x')),
        ),
        fc.tuple(...[...'admin'].map(mode === 'NONE' ? character => fc.constant(character) : letter)),
        fc.constantFrom('', '?', '?a=b', '?/../x'),
      )
      .map(([separator, letters, query]) =>
        `/${separator}${letters.join('')}${query}`.replace(
          /^\/\//,
          mode === 'BASE' || mode === 'NONE' ? '/' : '//',
        ),
      )

  it.each(MODES)('what is denied stays denied in mode %s', mode => {
    fc.assert(
      fc.property(spelling(mode), sent => {
        expect([sent, ask(deny(path('/admin')), { path: sent }, mode)]).toEqual([sent, 403])
        expect([sent, ask(allow(path('/public*')), { path: sent }, mode)]).toEqual([sent, 403])
      }),
      { numRuns: 500 },
    )
  })

  it('what was judged is what is judged again behind us', () => {
    const piece = fc.constantFrom(
      '/',
      '.',
      '..',
      '%2e',
      '\\',
      '%2f',
      '%5C',
      'admin',
      '%61',
      ';',
      '%',
      '%25',
      '//',
      '?',
      '%36',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), fc.constantFrom(...MODES), (pieces, mode) => {
        const sent = `/${pieces.join('')}`
        const once = normalizePath(sent, mode, { dotParameters: 'refuse' })
        if (!once.ok) return
        expect(normalizePath(once.path, mode, { dotParameters: 'refuse' })).toEqual(once)
        const spec = deny(path('/admin', '/admin/*', '*/admin'))
        expect(ask(spec, { path: once.path }, mode)).toBe(ask(spec, { path: sent }, mode))
      }),
      { numRuns: 2000 },
    )
  })
})
