/** Names of callers that the mesh does not have: patterns are no names, and count only where they match none of them. */
import { lintPolicies, type MeshFacts, parsePolicies } from '@ambient/policy'
import { expect, it } from 'vitest'

const mesh: MeshFacts = {
  workloads: [],
  services: [],
  waypoints: [],
  gateways: [],
  namespaces: ['shop', 'ui'],
  serviceAccounts: ['ui/web'],
}

function found(source: string): readonly string[] {
  const text = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec: { rules: [{ from: [{ source: ${source} }] }] }
`
  return lintPolicies(parsePolicies(text, 'web.yaml'), mesh)
    .filter(({ id }) => id === 'unknown-namespace')
    .map(({ message }) => message)
}

it.each([
  ['{ namespaces: ["u*"] }', []],
  ['{ principals: ["*"], notNamespaces: ["*op", "u*"] }', []],
  ['{ principals: ["cluster.local/ns/u*"] }', []],
  ['{ principals: ["cluster.local/ns/*"] }', []],
  ['{ namespaces: ["x*"] }', ['"x*" matches no namespace of the mesh']],
  ['{ principals: ["*"], notNamespaces: ["tset-*"] }', ['"tset-*" matches no namespace of the mesh']],
  ['{ principals: ["cluster.local/ns/x*"] }', ['"x*" matches no namespace of the mesh']],
  ['{ principals: ["cluster.local/ns/shp/*"] }', ['there is no namespace "shp"; did you mean "shop"?']],
  ['{ namespaces: [shp] }', ['there is no namespace "shp"; did you mean "shop"?']],
])('%s: %j', (source, messages) => {
  expect(found(source)).toEqual(messages)
})
