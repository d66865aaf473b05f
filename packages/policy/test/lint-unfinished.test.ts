/** Where lint stops looking it says so: silence would be taken for "there is none". */
import { expect, it } from 'vitest'
import { lintPolicies, parsePolicies } from '@ambient/policy'
import { limits } from '../src/limits.ts'

it('says that it did not compare all rules', () => {
  const told: string[] = []
  lintPolicies(manyRules(80), undefined, { onUnfinished: what => told.push(what) })
  expect(told).toEqual([expect.stringContaining(`more than ${limits.maxLintPairs} pairs of rules`)])
})

it('says that it did not look at all rules', () => {
  const told: string[] = []
  lintPolicies(
    manyRules(1_200, index => `when: [{ key: "request.headers[h${index}]", values: [x] }]`),
    undefined,
    { onUnfinished: what => told.push(what) },
  )
  expect(told).toEqual([expect.stringContaining(`more than ${limits.maxLintLooks} pairs of rules in one`)])
})

it('says that values are too long to compare, and takes no seconds for them', () => {
  const told: string[] = []
  const long = 'x'.repeat(8_000)
  lintPolicies(
    manyRules(1, () => `to: [{ operation: { paths: ["/${long}/*"], notPaths: ["/${long}/{**}"] } }]`),
    undefined,
    { onUnfinished: what => told.push(what) },
  )
  expect(told).toEqual([expect.stringContaining(`takes more than ${limits.maxLintSteps} steps`)])
})

it('says that all rules together take too long', () => {
  const told: string[] = []
  const rule = (index: number): string =>
    `to: [{ operation: { paths: ["/a${index}*"], notPaths: ["*${'b'.repeat(3_000)}${index}"] } }]`
  lintPolicies(manyRules(400, rule), undefined, { onUnfinished: what => told.push(what) })
  expect(told).toContainEqual(expect.stringContaining(`more than ${limits.maxLintTotalSteps} steps`))
})

it.each([
  [
    'characters that are all different',
    `when: [{ key: "request.headers[x]", values: ["${String.fromCodePoint(
      ...Array.from({ length: 10_000 }, (_, index) => 0x4e00 + index),
    )}"] }, { key: "request.headers[x]", values: ["b*"] }]`,
  ],
  [
    'thousands of claims',
    `when: [${Array.from(
      { length: 3_000 },
      (_, index) => `{ key: "request.auth.claims[c${index}]", values: [x] }`,
    ).join()}, { key: "request.auth.claims[c0]", values: [y] }]`,
  ],
])('says that it does not know of %s', (_, rule) => {
  const told: string[] = []
  lintPolicies(
    manyRules(1, () => rule),
    undefined,
    { onUnfinished: what => told.push(what) },
  )
  expect(told).toEqual([expect.stringContaining('steps to say: left open')])
})

it('knows of thousands of blocks', () => {
  const blocks = Array.from({ length: 9_000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/25`)
  const told: string[] = []
  const findings = lintPolicies(
    manyRules(1, () => `from: [{ source: { ipBlocks: [${blocks.join()}], notIpBlocks: [10.0.0.0/9] } }]`),
    undefined,
    { onUnfinished: what => told.push(what) },
  )
  expect(told).toEqual([])
  expect(findings.map(({ id }) => id)).toContain('never-matches')
})

it('finds thousands of places and looks through thousands of values without going back', () => {
  const names = Array.from({ length: 20_000 }, (_, index) => `h${index}.example`)
  const text = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: hosts, namespace: shop }
spec:
  action: DENY
  targetRefs: [{ kind: Service, group: "", name: web }]
  rules: [{ to: [{ operation: { hosts: [${names.join()}] } }] }]
`
  const started = performance.now()
  const findings = lintPolicies(parsePolicies(text, 'hosts.yaml'), undefined, {
    files: [{ path: 'hosts.yaml', text }],
  })
  expect(findings.filter(({ id }) => id === 'host-without-port')).toHaveLength(names.length)
  expect(new Set(findings.map(({ position }) => position?.column)).size).toBeGreaterThan(names.length / 2)
  // Each with all others it was minutes.
  expect(performance.now() - started).toBeLessThan(20_000)
})

it('says nothing when it has', () => {
  const told: string[] = []
  lintPolicies(manyRules(5), undefined, { onUnfinished: what => told.push(what) })
  expect(told).toEqual([])
})

/** No example refutes that one of these shadows another, so that every pair is a question. */
function manyRules(
  count: number,
  rule = (index: number) => `to: [{ operation: { notPorts: ["${index + 1}"] } }]`,
): ReturnType<typeof parsePolicies> {
  const rules = Array.from({ length: count }, (_, index) => `  - ${rule(index)}`)
  return parsePolicies(
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: many, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: web }]
  rules:
${rules.join('\n')}
`,
    'many.yaml',
  )
}
