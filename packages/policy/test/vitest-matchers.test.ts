/** The matchers and helpers of `@ambient/policy/vitest`, in the Vitest that runs this. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, expectTypeOf, it } from 'vitest'
import { allow, deny, peerAuthentication } from '../src/index.ts'
import { type DecidedBy, loadPolicies, policyMatchers, testPolicies } from '../src/vitest/index.ts'

expect.extend(policyMatchers)

const folder = mkdtempSync(join(tmpdir(), 'ambient-policy-vitest-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const web = allow('shop/web')
  .at({ kind: 'Service', name: 'web' })
  .from({ serviceAccounts: 'client' })
  .to({ methods: 'GET' })
  .build()
const db = deny('shop/db').select({ app: 'db' }).from({ notPrincipals: '*' }).build()
const policies = testPolicies([web, db, peerAuthentication('shop/x').mode('PERMISSIVE').build()], {
  workloads: { 'shop/db': { labels: { app: 'db' } } },
})
const read = { from: 'shop/client', to: 'web.shop:80', method: 'GET', path: '/' } as const

/** What a matcher that fails says. */
function messageOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return 'passed'
}

describe('matchers', () => {
  it('take no field that they do not know', () => {
    // As JavaScript has it, where nothing is checked before.
    const terms: typeof read = Object.assign({ ...read }, { metod: 'DELETE' })
    for (const act of [() => expect(policies).toAllow(terms), () => expect(policies).not.toAllow(terms)])
      expect(messageOf(act)).toMatch(
        /^unknown field "metod", expected one of from, .*; did you mean "method"\?$/,
      )
  })

  it('pass for what is so', () => {
    expect(policies).toAllow(read)
    expect(policies).toDeny({ ...read, method: 'PUT' })
    expect(policies).not.toAllow({ ...read, from: 'plaintext' })
    expect(policies).toBeDecidedBy('shop/web[rule 0]', read)
    expect(policies.decide(read)).toBeDecidedBy('shop/web')
    expect(policies.decide(read)).toAllow()
    expect(policies).toBeDecidedBy('default', { from: 'shop/client', to: 'shop/db:5432' })
    expect(policies.decide({ from: 'plaintext', to: 'shop/db:5432' })).toDeny()
  })

  it('say why when it is not so', () => {
    const message = messageOf(() => expect(policies).toAllow({ ...read, method: 'PUT' }))
    expect(message).toContain(`shop/client → web.shop:80 PUT / (envoy-http)
  expected: allow
  found:    deny by none
`)
    expect(message).toContain('methods')
    expect(messageOf(() => expect(policies).not.toAllow(read))).toContain('expected: not allow')
    expect(messageOf(() => expect(policies.decide(read)).toBeDecidedBy('shop/db'))).toContain(
      'expected: decided by shop/db\n  found:    allow by shop/web[rule 0]',
    )
  })

  it('say what they want when they get something else', () => {
    expect(messageOf(() => expect(7).toAllow(read))).toContain('with the policies of loadPolicies()')
    expect(messageOf(() => expect(policies).toAllow())).toContain('expect(policies.decide(')
    expect(messageOf(() => expect(policies).toAllow({ from: 'web', to: 'web.shop:80' }))).toContain(
      'from: expected NAMESPACE/ACCOUNT',
    )
    expect(messageOf(() => expect(policies.decide(read)).toBeDecidedBy('ns[shop'))).toContain(
      'toBeDecidedBy: expected NAMESPACE/NAME',
    )
  })

  it('have types', () => {
    expectTypeOf(expect(policies).toAllow)
      .parameter(0)
      .toEqualTypeOf<Parameters<typeof policies.decide>[0] | undefined>()
    expectTypeOf(expect(policies).toBeDecidedBy).parameter(0).toEqualTypeOf<DecidedBy>()
    // @ts-expect-error: a request says who asks
    expect(() => expect(policies).toAllow({ to: 'web.shop:80' })).toThrow()
    // @ts-expect-error: a policy has a namespace
    expect(() => expect(policies).toBeDecidedBy('web', read)).toThrow()
  })
})

describe('loadPolicies', () => {
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text)
    return path
  }
  const manifest = (name: string, rest = ''): string =>
    `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: shop }\n${rest}`

  it('reads files and folders, and passes over what is of another kind', () => {
    const a = file(
      'all/a.yaml',
      `${manifest('a')}---\napiVersion: v1\nkind: Service\nmetadata: { name: web }\n`,
    )
    file('all/deep/b.yml', manifest('b'))
    file('all/a.policy-test.yaml', 'tests: []')
    file('all/node_modules/c.yaml', manifest('c'))
    const names = (paths: Parameters<typeof loadPolicies>[0]): string[] =>
      loadPolicies(paths).documents.authorizationPolicies.map(({ metadata }) => metadata.name)
    expect(names(join(folder, 'all'))).toEqual(['a', 'b'])
    expect(names([a])).toEqual(['a'])
    expect(names(pathToFileURL(join(folder, 'all')))).toEqual(['a', 'b'])
  })

  it('refuses mistakes, absent files, and folders without a policy', () => {
    const bad = file('bad.yaml', manifest('bad', 'spec: { action: NO }\n'))
    expect(messageOf(() => loadPolicies(bad))).toMatch(/bad\.yaml:4:17: error: spec\.action: expected one of/)
    expect(messageOf(() => loadPolicies(join(folder, 'absent.yaml')))).toContain('absent.yaml cannot be read')
    mkdirSync(join(folder, 'empty'))
    expect(messageOf(() => loadPolicies(join(folder, 'empty')))).toMatch(/^no policy in .*empty$/)
  })
})
