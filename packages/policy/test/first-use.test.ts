/** The first block of docs/policy.md, with a policy that changes. */
import { expect, it } from 'vitest'
import { createAuthorizer, createPolicyStore, parsePolicies, toAuthorization } from '@ambient/policy'
import { connection } from './fixtures.ts'

it('reads, translates, admits and withdraws', () => {
  const yamlText = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: clients, namespace: shop}
spec:
  rules:
  - from: [{source: {namespaces: [client]}}]
    to: [{operation: {ports: ["80"]}}]
`
  const { authorizationPolicies } = parsePolicies(yamlText, 'policies.yaml')
  const sent = authorizationPolicies.map(policy => toAuthorization(policy, { rootNamespace: 'istio-system' }))
  const store = createPolicyStore(sent.flatMap(one => (one.kind === 'sent' ? [one.authorization] : [])))
  const authorizer = createAuthorizer({ store })
  const admission = authorizer.admit(connection())
  if (!admission.allowed) throw new Error(admission.denial.reason)
  expect(admission.permit.decision).toMatchObject({ by: { policy: 'shop/clients', rule: 0 } })
  let reason = ''
  admission.permit.onWithdrawn = denial => {
    reason = denial.reason
  }
  store.replace(
    parsePolicies(yamlText.replace('client]', 'staff]'), 'policies.yaml').authorizationPolicies.flatMap(
      policy => {
        const one = toAuthorization(policy, { rootNamespace: 'istio-system' })
        return one.kind === 'sent' ? [one.authorization] : []
      },
    ),
  )
  expect(reason).toBe('allow policies exist, but none allowed')
  authorizer.close()
})
