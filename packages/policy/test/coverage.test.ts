/** Which rules, clauses and alternatives no test exercises. */
import { describe, expect, it } from 'vitest'
import {
  addCounts,
  allow,
  coverageItems,
  coverageLcov,
  type CoverageReport,
  coverageReport,
  formatCoverage,
  parsePolicies,
  readPolicyTests,
  runPolicyTests,
} from '../src/index.ts'

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  targetRefs: [{ kind: Service, name: web }]
  rules:
    - from:
        - source: { namespaces: [shop, tools] }
        - source: { ipBlocks: [10.0.0.0/8] }
      to:
        - operation:
            methods: [GET]
      when:
        - key: request.headers[x-team]
          values: [blue, green]
          notValues: [red, black]
    - from: [{ source: { notNamespaces: [other, alien] } }]
`

function cover(tests: string, policy = POLICY): CoverageReport {
  const file = readPolicyTests(`defaults: { to: "web.shop:80", expect: deny }\ntests:\n${tests}`, 'a.yaml')
  expect(file.problems).toEqual([])
  if (file.tests === undefined) throw new Error('no tests')
  const { items, exercised } = runPolicyTests(file.tests, parsePolicies(policy, 'policies/web.yaml'))
  const counts = new Map<string, number>()
  addCounts(counts, exercised)
  return coverageReport(items, counts)
}

const exercised = (report: CoverageReport): string[] =>
  report.policies.flatMap(({ items }) => items.filter(({ count }) => count > 0).map(({ path }) => path))

it('counts rules, clauses, and alternatives where there are several', () => {
  const [policy] = parsePolicies(POLICY, 'web.yaml').authorizationPolicies
  expect(policy && coverageItems(policy).map(({ kind, path, line }) => `${line} ${kind} ${path}`)).toEqual([
    '7 rule rules[0]',
    '7 clause rules[0].from',
    '10 clause rules[0].to',
    '14 clause rules[0].when[0]',
    '8 alternative rules[0].from[0]',
    '8 alternative rules[0].from[0].source.namespaces[0]',
    '8 alternative rules[0].from[0].source.namespaces[1]',
    '9 alternative rules[0].from[1]',
    '15 alternative rules[0].when[0].values[0]',
    '15 alternative rules[0].when[0].values[1]',
    '17 rule rules[1]',
    '17 clause rules[1].from',
  ])
  expect(coverageItems(allow('a/b').nothing().build())).toEqual([])
})

describe('a test exercises', () => {
  it('the rules that it matches, and what they match through', () => {
    const report = cover(
      '  - { from: tools/a, path: /, headers: { x-team: green }, expect: allow, by: "shop/web[rule 0]" }',
    )
    expect(exercised(report)).toEqual([
      'rules[0]',
      'rules[0].from[0]',
      'rules[0].from[0].source.namespaces[1]',
      'rules[0].when[0].values[1]',
      'rules[1]',
    ])
  })

  it('the clause that it fails at, and no later one', () => {
    expect(exercised(cover('  - { from: other/a, path: /, method: PUT }'))).toEqual([
      'rules[0].from',
      'rules[1].from',
    ])
    expect(exercised(cover('  - { from: shop/a, path: /, method: PUT, expect: allow }'))).toEqual([
      'rules[0].to',
      'rules[1]',
    ])
    expect(
      exercised(cover('  - { from: shop/a, path: /, headers: { x-team: red }, expect: allow }')),
    ).toEqual(['rules[0].when[0]', 'rules[1]'])
  })

  it('nothing when it fails, and nothing of policies that do not apply', () => {
    expect(exercised(cover('  - { from: shop/a, path: /, expect: deny }'))).toEqual([])
    expect(exercised(cover('  - { from: shop/a, to: "db.shop:80", path: /, expect: allow }'))).toEqual([])
  })

  it('no rule that is not there: one that a test misses counts as a rule without a test', () => {
    const report = cover('  - { from: shop/a, path: /, expect: allow, by: "shop/web[rule 2]" }')
    expect(report.summary.rules).toEqual({ total: 3, covered: 0, percent: 0 })
    expect(formatCoverage(report)).toContain('a.yaml:3:5: shop/web rules[2]: no test is matched by it\n')
    expect(cover('  - { from: shop/a, path: /, by: "shop/web[rule 1]" }').summary.rules.total).toBe(2)
  })

  it('what a deny rule matches, at ztunnel too', () => {
    const l4 = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: db, namespace: shop }
spec:
  action: DENY
  rules: [{ from: [{ source: { namespaces: [a, b] } }], to: [{ operation: { ports: ["1"] } }] }]
`
    expect(exercised(cover('  - { from: b/x, to: "shop/db:1" }', l4))).toEqual([
      'rules[0]',
      'rules[0].from[0].source.namespaces[1]',
    ])
    expect(exercised(cover('  - { from: b/x, to: "shop/db:2", expect: allow }', l4))).toEqual(['rules[0].to'])
  })
})

describe('a report', () => {
  const report = cover(`  - { from: tools/a, path: /, headers: { x-team: green }, expect: allow }
  - { from: tools/b, path: /, headers: { x-team: green }, expect: allow }
  - { from: other/a, path: / }`)

  it('sums up', () => {
    expect(report.summary).toEqual({
      rules: { total: 2, covered: 2, percent: 100 },
      clauses: { total: 4, covered: 2, percent: 50 },
      alternatives: { total: 6, covered: 3, percent: 50 },
      all: { total: 12, covered: 7, percent: 58.33 },
    })
    expect(coverageReport([], new Map()).summary.all).toEqual({ total: 0, covered: 0, percent: 100 })
  })

  it('is text that names what is missing by its place', () => {
    expect(formatCoverage(report)).toBe(`POLICY    RULES  CLAUSES  ALTERNATIVES  COVERED
shop/web  2/2    2/4      3/6           58.33 %
all       2/2    2/4      3/6           58.33 %

policies/web.yaml:8:34: shop/web rules[0].from[0].source.namespaces[0]: no test matches through it
policies/web.yaml:9:11: shop/web rules[0].from[1]: no test matches through it
policies/web.yaml:10:7: shop/web rules[0].to: no test fails at it
policies/web.yaml:14:11: shop/web rules[0].when[0]: no test fails at it
policies/web.yaml:15:20: shop/web rules[0].when[0].values[0]: no test matches through it
`)
  })

  it('is lcov: a line counts as its least exercised part', () => {
    expect(coverageLcov(report)).toBe(`TN:
SF:policies/web.yaml
FN:7,shop/web[rule 0]
FN:17,shop/web[rule 1]
FNDA:2,shop/web[rule 0]
FNDA:2,shop/web[rule 1]
FNF:2
FNH:2
BRDA:8,0,0,2
BRDA:8,0,1,0
BRDA:8,0,2,2
BRDA:9,0,3,0
BRDA:15,0,4,0
BRDA:15,0,5,2
BRF:6
BRH:3
DA:7,1
DA:8,0
DA:9,0
DA:10,0
DA:14,0
DA:15,0
DA:17,1
LF:7
LH:2
end_of_record
`)
  })

  it('counts a place once, whoever read it', () => {
    const items = [...coverageItemsOf('a.yaml'), ...coverageItemsOf('a.yaml'), ...coverageItemsOf('b.yaml')]
    expect(
      coverageReport(items, new Map()).policies.map(({ file, items: { length } }) => [file, length]),
    ).toEqual([
      ['a.yaml', 12],
      ['b.yaml', 12],
    ])
  })
})

function coverageItemsOf(file: string): ReturnType<typeof coverageItems> {
  return parsePolicies(POLICY, file).authorizationPolicies.flatMap(coverageItems)
}
