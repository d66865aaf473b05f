/** Coverage of a run of tests: collected by whoever runs them, reported once. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import {
  loadPolicies,
  policyCoverage,
  policyMatchers,
  type PolicyCoverageOptions,
} from '../src/vitest/index.ts'

expect.extend(policyMatchers)

let folder: string
let printed: string
const exitCode = process.exitCode
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-policy-coverage-'))
  printed = ''
  writeFileSync(join(folder, 'web.yaml'), POLICY)
})
afterEach(() => {
  process.exitCode = exitCode
  rmSync(folder, { recursive: true, force: true })
})

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  rules:
    - from: [{ source: { serviceAccounts: [client] } }]
    - from: [{ source: { serviceAccounts: [admin] } }]
`

const reporterOf = (options: PolicyCoverageOptions = {}) =>
  policyCoverage({ folder, write: text => (printed += text), ...options })
const policiesOf = () => loadPolicies(join(folder, 'web.yaml'), { coverageFolder: folder })

it('is collected from all who load policies while a reporter waits, and printed once', () => {
  const reporter = reporterOf({ reports: ['text', 'json', 'lcov'] })
  reporter.onInit()
  expect(policiesOf()).toAllow({ from: 'shop/client', to: 'shop/web:80' })
  expect(policiesOf()).toDeny({ from: 'shop/other', to: 'shop/web:80' })
  reporter.onTestRunEnd()
  expect(printed).toContain('shop/web  1/2    2/2      0/0           75 %\n')
  expect(printed).toMatch(/web\.yaml:7:7: shop\/web rules\[1\]: no test is matched by it\n$/)
  expect(JSON.parse(readFileSync(join(folder, 'coverage.json'), 'utf8'))).toMatchObject({
    summary: { all: { total: 4, covered: 3 } },
  })
  expect(readFileSync(join(folder, 'lcov.info'), 'utf8')).toContain('FNDA:1,shop/web[rule 0]\n')
  expect(existsSync(join(folder, '.exercised'))).toBe(false)
  expect(process.exitCode).toBe(exitCode)
})

it('counts what passes only, and misses a rule that is gone', () => {
  const reporter = reporterOf({ threshold: 100 })
  reporter.onTestRunStart()
  const policies = policiesOf()
  expect(() => expect(policies).toDeny({ from: 'shop/client', to: 'shop/web:80' })).toThrow()
  expect(() => expect(policies).not.toAllow({ from: 'shop/client', to: 'shop/web:80' })).toThrow()
  expect(() =>
    expect(policies).toBeDecidedBy('shop/web[rule 2]', { from: 'shop/admin', to: 'shop/web:80' }),
  ).toThrow()
  reporter.onTestRunEnd()
  expect(printed).toContain('all       0/3    0/2      0/0           0 %\n')
  expect(printed).toContain('ERROR: policy coverage (0 %) does not meet the threshold (100 %)')
  expect(process.exitCode).toBe(1)
})

it('counts policies that no test loads when they are included', () => {
  const reporter = reporterOf({ include: [join(folder, 'web.yaml')] })
  reporter.onInit()
  reporter.onTestRunEnd()
  expect(printed).toContain('shop/web  0/2    0/2      0/0           0 %\n')
})

it('costs nothing when nobody collects', () => {
  expect(policiesOf()).toAllow({ from: 'shop/client', to: 'shop/web:80' })
  expect(existsSync(join(folder, '.exercised'))).toBe(false)
})
