/** `ambient policy test` and `ambient policy coverage`, on files as a user has them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { junitXml } from '../src/policy/junit.ts'
import { run } from './host.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-policy-test-'))
  write('policies/web.yaml', POLICY)
  write('tests/web.policy-test.yaml', TESTS)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  targetRefs: [{ kind: Service, name: web }]
  rules:
    - from: [{ source: { serviceAccounts: [client] } }]
      to: [{ operation: { methods: [GET] } }]
    - from: [{ source: { serviceAccounts: [admin] } }]
`
const TESTS = `policies: [../policies]
defaults: { to: "web.shop:80", path: / }
tests:
  - { name: clients read, from: shop/client, expect: allow, by: "shop/web[rule 0]" }
  - { name: clients write, from: shop/client, method: POST, expect: deny, by: none }
  - { name: admins write, from: shop/admin, method: POST, expect: allow, by: "shop/web[rule 1]" }
`

function write(name: string, text: string): string {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

/** Without the folder of this run. */
async function ambient(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, out, err } = await run('policy', ...args)
  const plain = (text: string): string => text.replaceAll(`${folder}/`, '')
  return { code, out: plain(out), err: plain(err) }
}

describe('ambient policy test', () => {
  it('passes, test by test', async () => {
    expect(await ambient('test', folder)).toEqual({
      code: 0,
      err: '',
      out: `tests/web.policy-test.yaml
  ok    clients read
  ok    clients write
  ok    admins write

3 passed, 0 failed, in 1 file
`,
    })
  })

  it('fails with the place, the request, what was expected and found, and why', async () => {
    write('tests/web.policy-test.yaml', TESTS.replace('method: POST, expect: deny, by: none', 'expect: deny'))
    const { code, out } = await ambient('test', folder)
    expect(code).toBe(1)
    expect(out).toContain(`  FAIL  clients write
        at tests/web.policy-test.yaml:5:5
        shop/client → web.shop:80 GET / (envoy-http)
          expected: deny
          found:    allow by shop/web[rule 0]
`)
    expect(out).toContain(
      'rules[1] fails in from: serviceAccounts: wanted admin, found cluster.local/ns/shop/sa/client',
    )
    expect(out).toContain('\n2 passed, 1 failed, in 1 file\n')
  })

  it.each([
    ['first', 'clients read', / {4}- from: .*client.*\n.*\n/],
    ['last', 'admins write', / {4}- from: .*admin.*\n/],
  ])('fails when the %s rule is deleted, and so does the coverage', async (_, test, rule) => {
    const strict = ['test', folder, '--coverage', '--coverage-threshold', '100']
    expect(await ambient(...strict)).toMatchObject({ code: 0, err: '' })
    write('policies/web.yaml', POLICY.replace(rule, ''))
    const { code, out, err } = await ambient(...strict)
    expect(code).toBe(1)
    expect(out).toContain(`FAIL  ${test}\n`)
    // The last rule is not there to be covered, but a test names it.
    expect(out).toContain('tests/web.policy-test.yaml:6:5: shop/web rules[1]: no test is matched by it\n')
    expect(err).toMatch(/^coverage is [\d.]+ %, less than the threshold of 100 %\n$/)
  })

  it('notices that a test was deleted', async () => {
    write('tests/web.policy-test.yaml', TESTS.replace(/.*clients write.*\n/, ''))
    const { code, out, err } = await ambient('test', folder, '--coverage', '--coverage-threshold', '100')
    expect(code).toBe(1)
    expect(out).toContain('policies/web.yaml:8:7: shop/web rules[0].to: no test fails at it\n')
    expect(err).toBe('coverage is 80 %, less than the threshold of 100 %\n')
  })

  it('takes policies from -f, and single files', async () => {
    const tests = write('alone.policy-test.yml', TESTS.replace(/policies: .*\n/, ''))
    expect(await ambient('test', '-f', join(folder, 'policies/web.yaml'), tests)).toMatchObject({ code: 0 })
    expect(await ambient('test', tests)).toMatchObject({
      code: 2,
      err: expect.stringContaining('is about no policies: name them under `policies:`, or with -f'),
    })
  })

  it('prints JSON and YAML, coverage with them', async () => {
    const { code, out } = await ambient(
      'test',
      folder,
      '-o',
      'json',
      '--coverage=json',
      '--coverage-file',
      join(folder, 'c.json'),
    )
    expect(code).toBe(0)
    const facts: unknown = JSON.parse(out)
    expect(facts).toMatchObject({
      passed: 3,
      failed: 0,
      files: [
        {
          file: 'tests/web.policy-test.yaml',
          tests: [
            {
              name: 'clients read',
              line: 4,
              passed: true,
              dialect: 'envoy-http',
              expected: { verdict: 'allow', by: 'shop/web[rule 0]' },
              found: { verdict: 'allow', policy: 'shop/web', rule: 0 },
            },
            {},
            {},
          ],
        },
      ],
      coverage: { summary: { all: { total: 5, covered: 5, percent: 100 } } },
    })
    expect(JSON.parse(readFileSync(join(folder, 'c.json'), 'utf8'))).toMatchObject({
      summary: { rules: { total: 2, covered: 2 } },
    })
    expect((await ambient('test', folder, '-o', 'yaml')).out).toContain('passed: 3\nfailed: 0\n')
  })

  it('prints JUnit, and nothing else on standard output', async () => {
    write(
      'tests/web.policy-test.yaml',
      TESTS.replace('name: admins write', 'name: "<admins> & \\"co\\""').replace('rule 1', 'rule 0'),
    )
    const { code, out, err } = await ambient('test', folder, '-o', 'junit', '--coverage')
    expect(code).toBe(1)
    expect(out).toContain(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="ambient policy test" tests="3" failures="1" errors="0" skipped="0" time="0">
  <testsuite name="tests/web.policy-test.yaml" file="tests/web.policy-test.yaml" tests="3" failures="1" errors="0" skipped="0" time="0">
    <testcase classname="tests/web.policy-test.yaml" name="clients read" file="tests/web.policy-test.yaml" line="4" time="0"/>
`)
    expect(out).toContain(
      'name="&lt;admins&gt; &amp; &quot;co&quot;" file="tests/web.policy-test.yaml" line="6" time="0">\n      <failure message="shop/admin → web.shop:80 POST / (envoy-http)" type="PolicyTestFailure">',
    )
    expect(out).toMatch(/<\/failure>\n {4}<\/testcase>\n {2}<\/testsuite>\n<\/testsuites>\n$/)
    expect(err).toContain('POLICY')
  })

  it.each([
    ['no tests', ['test', 'EMPTY'], /no tests: no \*\.policy-test\.yaml in /],
    ['an absent path', ['test', 'ABSENT'], /cannot be read/],
    ['a threshold', ['test', 'EMPTY', '--coverage-threshold', '101'], /expected a percentage from 0 to 100/],
    [
      'a mistake in tests',
      ['test', 'BAD'],
      /^BAD\/a\.policy-test\.yaml:1:9: tests\[0\]: the field "expect" is required/m,
    ],
    [
      'a mistake in policies',
      ['test', '-f', 'BROKEN', 'tests'],
      /^BROKEN\/a\.yaml:3:11: metadata: the field "name" is required$/m,
    ],
  ])('ends with 2 for %s', async (_, args, message) => {
    mkdirSync(join(folder, 'EMPTY'))
    write('BAD/a.policy-test.yaml', 'tests: [{ from: a/b, to: "a/b:1" }]')
    write('BROKEN/a.yaml', 'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {}\n')
    const paths = args.map(arg => (/^[A-Z]+$|^tests$/.test(arg) ? join(folder, arg) : arg))
    const { code, err } = await ambient(...paths)
    expect(err).toMatch(message)
    expect(code).toBe(2)
  })
})

describe('ambient policy coverage', () => {
  it('prints what is covered, and fails below the threshold', async () => {
    write('tests/web.policy-test.yaml', TESTS.replace(/.*admins write.*\n/, ''))
    const text = await ambient('coverage', folder)
    expect(text).toEqual({
      code: 0,
      err: '',
      out: `POLICY    RULES  CLAUSES  ALTERNATIVES  COVERED
shop/web  1/2    2/3      0/0           60 %
all       1/2    2/3      0/0           60 %

policies/web.yaml:7:7: shop/web rules[0].from: no test fails at it
policies/web.yaml:9:7: shop/web rules[1]: no test is matched by it
`,
    })
    const lcov = await ambient('coverage', folder, '-o', 'lcov', '--coverage-threshold', '80')
    expect(lcov.out).toContain('SF:policies/web.yaml\nFN:7,shop/web[rule 0]\n')
    expect(lcov).toMatchObject({ code: 1, err: 'coverage is 60 %, less than the threshold of 80 %\n' })
  })

  it('counts nothing for a test that fails, and says so', async () => {
    write('tests/web.policy-test.yaml', TESTS.replace('rule 1', 'rule 0'))
    const { code, out, err } = await ambient('coverage', folder)
    expect({ code, err }).toEqual({ code: 1, err: '1 test failed: `ambient policy test` says why\n' })
    expect(out).toContain('rules[1]: no test is matched by it')
  })
})

it('JUnit has no character that XML has not', () => {
  const xml = junitXml('a', [
    { name: 'b\u0000\u001b', file: 'f', cases: [{ name: '\ud800', line: 1, failure: ']]>\u0008' }] },
  ])
  expect(xml).toContain('<testsuite name="b\ufffd\ufffd"')
  expect(xml).toContain('name="\ufffd"')
  expect(xml).toContain(']]&gt;\ufffd</failure>')
})
