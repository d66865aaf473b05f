/** Symbolic classes: each witness holds by the matchers themselves, and what is called empty is never met. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { classesOf, implies, isSatisfiable } from '@ambient/policy'
import type { PolicyRuleSpec } from '@ambient/policy'
import { addressClasses } from '../src/symbolic/address-classes.ts'
import { Budget } from '../src/symbolic/budget.ts'
import { textClasses, textHolds } from '../src/symbolic/text-automaton.ts'
import { anyChar, charClass, globText, istioText, many, templateText } from '../src/symbolic/text-pattern.ts'
import { globTest, textTest } from '../src/waypoint/text-match.ts'
import { pathTemplateTest } from '../src/waypoint/path-template.ts'
import { compileWaypointPolicy } from '../src/waypoint/compile-policy.ts'
import { WaypointFacts } from '../src/waypoint/facts.ts'
import { document } from './fixtures.ts'
import { call, policies } from './waypoint-arbitraries.ts'
import { createEvaluator } from '../src/evaluator/create-evaluator.ts'

const budget = (): Budget => new Budget(1_000_000)

/** Every text of up to so many of these characters. */
function everyText(chars: string, length: number): readonly string[] {
  let last = ['']
  const all = ['']
  for (let index = 0; index < length; index++) {
    last = last.flatMap(text => [...chars].map(char => text + char))
    all.push(...last)
  }
  return all
}

const shortText = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 4 })

describe('text patterns', () => {
  it('take what the matchers take', () => {
    const texts = everyText('ab*', 5)
    fc.assert(
      fc.property(shortText, fc.constantFrom('present' as const, 'not-empty' as const), (value, star) => {
        const test = textTest([value], { star })
        for (const text of texts)
          expect([text, textHolds([istioText(value, { star })], text)]).toEqual([text, test(text)])
        for (const text of texts)
          expect([text, textHolds([globText(value)], text)]).toEqual([text, globTest(value)(text)])
      }),
      { numRuns: 60 },
    )
  })

  it('take the paths that templates take', () => {
    const texts = everyText('/a[', 6)
    for (const template of [
      '/{*}',
      '/a/{*}',
      '/{*}/a',
      '/{**}',
      '/a/{**}',
      '/{**}/a',
      '/{*}/{**}',
      '/{*}/a/{**}/a/',
    ])
      for (const text of texts)
        expect([template, text, textHolds([templateText(template)], text)]).toEqual([
          template,
          text,
          pathTemplateTest(template)(text),
        ])
  })
})

describe('classes of texts', () => {
  it('are all that exist and none that does not, by brute force', () => {
    const texts = everyText('ab*c', 6)
    const domain = { required: [[many(charClass(/[ab*c]/))]], forbidden: [globText('*cc*')] }
    fc.assert(
      fc.property(fc.uniqueArray(shortText, { minLength: 1, maxLength: 4 }), values => {
        const atoms = values.map((value, id) => ({ id, patterns: [istioText(value, { star: 'not-empty' })] }))
        const found = textClasses({ domain, focus: atoms, keep: () => true, others: [], budget: budget() })
        const split = textClasses({
          domain,
          focus: atoms.slice(0, 1),
          keep: holds => holds.size === 1,
          others: atoms.slice(1),
          budget: budget(),
        })
        const keyOf = (text: string): string =>
          values.flatMap((value, id) => (textTest([value], { star: 'not-empty' })(text) ? [id] : [])).join()
        for (const { text, holds } of [...found, ...split])
          expect([text, [...holds].sort().join(), text.includes('cc')]).toEqual([text, keyOf(text), false])
        const brute = new Set(texts.filter(text => !text.includes('cc')).map(keyOf))
        const keys = found.map(({ holds }) => [...holds].sort().join())
        expect(new Set(keys)).toEqual(brute)
        expect(keys.length).toBe(brute.size)
        expect(new Set(split.map(({ holds }) => [...holds].sort().join()))).toEqual(
          new Set([...brute].filter(key => key.split(',').includes('0'))),
        )
      }),
      { numRuns: 150 },
    )
  })

  it('stop at the budget instead of guessing', () => {
    const atoms = Array.from({ length: 20 }, (_, id) => ({
      id,
      patterns: [globText(`*${'ab'[id % 2]}${'c'.repeat(id)}*`)],
    }))
    const domain = { required: [[many(anyChar)]], forbidden: [] }
    expect(() =>
      textClasses({ domain, focus: atoms, keep: () => true, others: [], budget: new Budget(100) }),
    ).toThrow('more than 100 steps')
  })
})

it('address blocks part addresses at their ends', () => {
  const blocks = ['10.0.0.0/8', '10.1.0.0/16', '10.1.2.3/32', '0.0.0.0/1', '2001:db8::/32', '::/0']
  const atoms = blocks.map((block, id) => ({ id, values: [block] }))
  const found = addressClasses(atoms, budget()).map(({ holds }) => [...holds].map(id => blocks[id]).join())
  expect(found.sort()).toEqual(
    [
      '',
      '0.0.0.0/1',
      '10.0.0.0/8,0.0.0.0/1',
      '10.0.0.0/8,10.1.0.0/16,0.0.0.0/1',
      '10.0.0.0/8,10.1.0.0/16,10.1.2.3/32,0.0.0.0/1',
      '2001:db8::/32,::/0',
      '::/0',
    ].sort(),
  )
})

const http = { dialect: 'envoy-http' } as const

describe('isSatisfiable', () => {
  const empty: readonly (readonly [string, PolicyRuleSpec, readonly string[]])[] = [
    ['a path and not its prefix', { to: [{ operation: { paths: ['/a/b'], notPaths: ['/a*'] } }] }, ['path']],
    ['a path that normalization resolves', { to: [{ operation: { paths: ['/a/../b'] } }] }, ['path']],
    ['a path with a query', { to: [{ operation: { paths: ['/a?x=1'] } }] }, ['path']],
    ['a path without its slash', { to: [{ operation: { paths: ['a/b'] } }] }, ['path']],
    [
      'a template inside a literal',
      { to: [{ operation: { paths: ['/a/{*}'], notPaths: ['/a/*'] } }] },
      ['path'],
    ],
    ['two methods at once', { to: [{ operation: { methods: ['GET'], notMethods: ['G*'] } }] }, ['method']],
    ['a host in either case', { to: [{ operation: { hosts: ['WEB'], notHosts: ['web'] } }] }, ['host']],
    [
      'a namespace that the principal is not of',
      { from: [{ source: { principals: ['td/ns/a/sa/s'], namespaces: ['b'] } }] },
      ['principal'],
    ],
    [
      'a trust domain that the principal is not of',
      { from: [{ source: { principals: ['td/*'], trustDomains: ['other'] } }] },
      ['principal'],
    ],
    [
      'an identity and none',
      { from: [{ source: { principals: ['*'], notPrincipals: ['*'] } }] },
      ['principal'],
    ],
    [
      'an account in another namespace',
      { from: [{ source: { serviceAccounts: ['a/s'], notNamespaces: ['a'] } }] },
      ['principal'],
    ],
    [
      'blocks that exclude each other',
      { from: [{ source: { ipBlocks: ['10.0.0.0/24'], notIpBlocks: ['10.0.0.0/8'] } }] },
      ['source.ip'],
    ],
    [
      'ports in two clauses',
      { to: [{ operation: { ports: ['80'] } }], when: [{ key: 'destination.port', values: ['443'] }] },
      ['port'],
    ],
    [
      'a header that is there and not',
      { when: [{ key: 'request.headers[x]', values: ['a'], notValues: ['*'] }] },
      ['header:x'],
    ],
    [
      'a method as a pseudo header',
      {
        to: [{ operation: { methods: ['GET'] } }],
        when: [{ key: 'request.headers[:method]', notValues: ['GET'] }],
      },
      ['method'],
    ],
  ]
  it.each(empty)('%s: nothing', (_, rule, dimensions) => {
    expect(isSatisfiable(rule, http)).toEqual({ kind: 'empty', dimensions })
  })

  it('two values of one header are one request', () => {
    const rule: PolicyRuleSpec = {
      when: [
        { key: 'request.headers[x]', values: ['a'] },
        { key: 'request.headers[x]', values: ['b'] },
      ],
    }
    expect(isSatisfiable(rule, http)).toMatchObject({
      kind: 'satisfiable',
      witness: { http: { headers: { x: ['a', 'b'] } } },
    })
  })

  it('a claim cannot be a text and hold others', () => {
    const rule: PolicyRuleSpec = {
      when: [
        { key: 'request.auth.claims[a]', values: ['x'] },
        { key: 'request.auth.claims[a][b]', values: ['y'] },
      ],
    }
    expect(isSatisfiable(rule, http)).toEqual({ kind: 'empty', dimensions: [] })
  })

  it('witnesses hold by the matchers, and what is empty is never met', () => {
    let [satisfiable, nothing] = [0, 0]
    fc.assert(
      fc.property(policies, fc.array(call, { minLength: 30, maxLength: 30 }), (documents, calls) => {
        for (const { metadata, spec } of documents)
          for (const rule of spec.rules ?? []) {
            const options = {
              ...http,
              namespace: metadata.namespace,
              trustDomain: 'td1',
              trustDomainAliases: ['old-td'],
            }
            const alone = document(
              { action: 'ALLOW', rules: [rule] },
              { name: 'p', namespace: metadata.namespace },
            )
            const answer = isSatisfiable(rule, options)
            if (answer.kind === 'satisfiable') {
              satisfiable++
              const issuer = answer.witness.jwt?.payload['iss']
              const requestAuthentications =
                typeof issuer === 'string'
                  ? [
                      {
                        kind: 'RequestAuthentication' as const,
                        metadata: { name: 'r', namespace: metadata.namespace, labels: {}, annotations: {} },
                        spec: { jwtRules: [{ issuer }] },
                      },
                    ]
                  : []
              const evaluator = createEvaluator(
                { authorizationPolicies: [alone], requestAuthentications },
                options,
              )
              const verdict = evaluator.decide(answer.witness, {
                kind: 'workload',
                namespace: metadata.namespace,
              })
              expect([rule, answer.witness, verdict.verdict]).toEqual([rule, answer.witness, 'allow'])
            } else {
              nothing++
              expect(answer.kind).toBe('empty')
              const compiled = compileWaypointPolicy(alone, 'envoy-http', ['td1', 'old-td'])
              for (const one of calls) {
                const met = compiled.rules.some(
                  found =>
                    found.skipped === undefined && found.matches(new WaypointFacts(one.connection, one)),
                )
                expect([rule, met]).toEqual([rule, false])
              }
            }
          }
      }),
      { numRuns: 60 },
    )
    expect(satisfiable).toBeGreaterThan(20)
    expect(nothing).toBeGreaterThan(5)
  })
})

describe('implies', () => {
  it('sees through forms', () => {
    const narrow: PolicyRuleSpec = { to: [{ operation: { paths: ['/a/{*}'], methods: ['GET'] } }] }
    const wide: PolicyRuleSpec = { to: [{ operation: { paths: ['/a/*'] } }] }
    expect(implies(narrow, wide, http)).toEqual({ kind: 'implied' })
    const back = implies(wide, narrow, http)
    expect(back.kind).toBe('not-implied')
  })

  it('knows that a caller in plaintext fulfils what is not', () => {
    const answer = implies({}, { from: [{ source: { principals: ['*'] } }] }, http)
    expect(answer).toMatchObject({ kind: 'not-implied' })
    if (answer.kind === 'not-implied') expect(answer.witness.source).not.toHaveProperty('principal')
  })
})

it('classesOf names each class by a value and the groups that take it', () => {
  const policy = document(
    { rules: [{ to: [{ operation: { paths: ['/a*'], notPaths: ['/ab'] } }] }] },
    { name: 'p', namespace: 'shop' },
  )
  expect(classesOf([policy], http)).toEqual([
    {
      kind: 'classes',
      dimension: 'path',
      classes: [
        { value: '/', takenBy: [] },
        { value: '/a', takenBy: [{ form: 'path', values: ['/a*'] }] },
        {
          value: '/ab',
          takenBy: [
            { form: 'path', values: ['/a*'] },
            { form: 'path', values: ['/ab'] },
          ],
        },
      ],
    },
  ])
})
