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
