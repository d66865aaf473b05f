/**
 * No text of a user becomes a regular expression, and none of ours takes more than linear time: patterns as long as a policy may
 * have them, against texts made to hurt.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicy,
  createEvaluator,
  normalizePath,
  type PolicyRuleSpec,
  readPolicies,
} from '@ambient/policy'
import { forWeb } from './waypoint-fixtures.ts'

const SOURCE = fileURLToPath(new URL('../src', import.meta.url))
const LONG = 1024
/** Generous: a walk over a thousand characters takes microseconds. */
const MAX_MS = 1_000

describe('the sources', () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter(name =>
    name.endsWith('.ts'),
  )
  it.each(files)('%s makes no regular expression from text', name => {
    const text = readFileSync(join(SOURCE, name), 'utf8')
    const withoutComments = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1')
    expect(withoutComments.match(/\bRegExp\s*\(|\.compile\s*\(\s*[`'"]|from 're2/g)).toBeNull()
    // `match`, `search` and `split` with a text make one as well when the text is not ours.
    expect(withoutComments.match(/\.(match|matchAll|search)\((?!\s*\/|\s*[A-Z_]+\s*\))/g)).toBeNull()
  })
})

function ask(rule: PolicyRuleSpec, found: string, headers = {}): string {
  const policies: readonly AuthorizationPolicy[] = [forWeb({ action: 'ALLOW', rules: [rule] })]
  const evaluator = createEvaluator({ authorizationPolicies: policies }, { dialect: 'envoy-http' })
  return evaluator.decide({
    source: { principal: `td/ns/${found.replace(/[^a-z0-9.-]/g, '') || 'a'}/sa/s`, ip: '10.0.0.1' },
    destination: { namespace: 'shop', service: 'shop/web', ip: '10.96.0.1', port: 80 },
    http: { method: 'GET', authority: found, path: `/${found}`, headers },
  }).verdict
}

const HOSTILE: readonly (readonly [pattern: string, found: string])[] = [
  ['*a'.repeat(LONG / 2), 'a'.repeat(64_000)],
  [`${'*'.repeat(LONG)}b`, 'a'.repeat(64_000)],
  ['(a+)+$', `${'a'.repeat(64_000)}!`],
  ['a*'.repeat(LONG / 2), `${'a'.repeat(64_000)}b`],
  [`/${'{*}/'.repeat(LONG / 4)}`, 'a/'.repeat(32_000)],
  [`/${'{*}/'.repeat(LONG / 4 - 2)}{**}/x`, `${'a/'.repeat(32_000)}y`],
  [`/${'a'.repeat(LONG)}{**}`, 'a'.repeat(64_000)],
  ['[a-z]{1000}{1000}', 'a'.repeat(64_000)],
]

describe('hostile patterns', () => {
  it.each(HOSTILE)('%#: end at once', (pattern, found) => {
    const started = performance.now()
    for (const rule of [
      { to: [{ operation: { paths: [pattern] } }] },
      { to: [{ operation: { hosts: [pattern] } }] },
      { from: [{ source: { namespaces: [pattern] } }] },
      { from: [{ source: { principals: [pattern] } }] },
      { from: [{ source: { requestPrincipals: [pattern] } }] },
      { when: [{ key: 'request.headers[x]', values: [pattern] }] },
    ])
      ask(rule, found, { x: Array.from({ length: 20 }, () => found) })
    expect(performance.now() - started).toBeLessThan(MAX_MS)
  })

  it('take a time that grows with the text, not with its square', () => {
    const timeOf = (length: number): number => {
      const started = performance.now()
      for (const [pattern] of HOSTILE)
        ask({ from: [{ source: { namespaces: [pattern] } }] }, 'a'.repeat(length))
      return performance.now() - started
    }
    timeOf(1_000)
    expect(timeOf(256_000)).toBeLessThan(MAX_MS)
  })
})

describe('hostile texts', () => {
  it.each(['%', '.', '..;', '/..', '\\', '%2e', '%%36', ' ', '{', '?'])('paths of %j', part => {
    const started = performance.now()
    for (const mode of ['BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const)
      normalizePath(`/${part.repeat(50_000)}`, mode)
    expect(performance.now() - started).toBeLessThan(MAX_MS)
  })

  it.each(['- ', '[', '{a: ', '? ', '&a [*a', '"\\', '---\n', '!!x ', '  ', '#', '|\n', 'a: &x [*x]\n'])(
    'manifests of %j',
    part => {
      const started = performance.now()
      const { authorizationPolicies } = readPolicies(part.repeat(5_000), 'hostile.yaml')
      expect(authorizationPolicies).toEqual([])
      expect(performance.now() - started).toBeLessThan(MAX_MS * 3)
    },
  )
})
