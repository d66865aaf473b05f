/** Percent signs in paths: what normalization leaves of them is what a diff tells apart. */
import { expect, it } from 'vitest'
import { diffPolicies, parsePolicies, type PathNormalization, type PolicyDocuments } from '@ambient/policy'

const paths = (...values: readonly string[]): PolicyDocuments =>
  parsePolicies(
    JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace: 'shop' },
      spec: {
        targetRefs: [{ kind: 'Service', group: '', name: 'web' }],
        rules: [{ to: [{ operation: { paths: ['/always', ...values] } }] }],
      },
    }),
    'p.yaml',
  )

it.each<[path: string, mode: PathNormalization, result: string, sent?: string]>([
  ['/a%20b', 'BASE', 'changed', '/a%20b'],
  ['/a%2fb', 'BASE', 'changed', '/a%2fb'],
  ['/a%zz', 'BASE', 'changed', '/a%zz'],
  ['/a%2541', 'BASE', 'changed', '/a%2541'],
  ['/a/..;x', 'BASE', 'changed', '/a/%2E.;x'],
  // Nothing has these forms when it has been normalized.
  ['/a b', 'BASE', 'same'],
  ['/%61', 'BASE', 'same'],
  ['/a%2Db', 'BASE', 'same'],
  ['/a%5f', 'BASE', 'same'],
  ['/a%7E*', 'BASE', 'same'],
  ['/a%00', 'BASE', 'same'],
  ['/a%2Fb', 'DECODE_AND_MERGE_SLASHES', 'same'],
  ['/%61', 'NONE', 'changed', '/%61'],
])('%s with %s: %s', (path, pathNormalization, result, sent) => {
  const diff = diffPolicies(paths(), paths(path), { pathNormalization })
  expect(diff.undecided).toEqual([])
  expect([diff.result, diff.changes[0]?.witness.http?.path]).toEqual([result, sent])
})
