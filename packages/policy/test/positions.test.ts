/** Where the parts of a policy stand in its file. */
import { expect, it } from 'vitest'
import { parsePolicies, positionsOf } from '../src/index.ts'

const TEXT = `# a comment
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  action: DENY
  rules:
    - to:
        - operation:
            paths:
              - /a
              - /b
      from:
        - source: { principals: ["x/*", "y/*"] }
    - when:
        - values: [shop]
          key: source.namespace
`

it('gives each rule, clause, alternative, field and value its line and column', () => {
  const [policy] = parsePolicies(TEXT, 'web.yaml').authorizationPolicies
  const positions = policy === undefined ? new Map() : positionsOf(policy)
  const places = [...positions].map(([path, { line, column }]) => `${path} ${line}:${column}`)
  expect(places).toEqual([
    'rules 7:3',
    'rules[0] 8:7',
    'rules[0].from 13:7',
    'rules[0].from[0] 14:11',
    'rules[0].from[0].source 14:11',
    'rules[0].from[0].source.principals 14:21',
    'rules[0].from[0].source.principals[0] 14:34',
    'rules[0].from[0].source.principals[1] 14:41',
    'rules[0].to 8:7',
    'rules[0].to[0] 9:11',
    'rules[0].to[0].operation 9:11',
    'rules[0].to[0].operation.paths 10:13',
    'rules[0].to[0].operation.paths[0] 11:17',
    'rules[0].to[0].operation.paths[1] 12:17',
    'rules[1] 15:7',
    'rules[1].when 15:7',
    'rules[1].when[0] 16:11',
    'rules[1].when[0].key 17:11',
    'rules[1].when[0].values 16:11',
    'rules[1].when[0].values[0] 16:20',
  ])
  expect(positions.get('rules[0]')).toEqual({ file: 'web.yaml', line: 8, column: 7 })
})

it('knows nothing of a copy, and of a policy without rules', () => {
  const [policy] = parsePolicies(TEXT, 'web.yaml').authorizationPolicies
  expect(policy && positionsOf({ ...policy }).size).toBe(0)
  const empty = parsePolicies(TEXT.slice(0, TEXT.indexOf('  action')), 'web.yaml').authorizationPolicies
  expect(empty.map(each => positionsOf(each).size)).toEqual([0])
})
