/** Service accounts are looked for anywhere in an identity at Envoy, and are the whole of it at ztunnel: both as sets. */
import { describe, expect, it } from 'vitest'
import { createEvaluator, isSatisfiable, type PolicyRuleSpec } from '@ambient/policy'

const ofAccount = (source: object): PolicyRuleSpec => ({ from: [{ source }] })

describe('service accounts as sets of identities', () => {
  it('leave nothing where every identity that is asked for has the account', () => {
    const rule = ofAccount({ principals: ['*-td/ns/a/sa/s'], notServiceAccounts: ['a/s'] })
    for (const dialect of ['envoy-http', 'envoy-tcp'] as const)
      expect(isSatisfiable(rule, { dialect })).toMatchObject({ kind: 'empty' })
  })

  it('are in longer identities at Envoy only', () => {
    const rule = ofAccount({ principals: ['*/more'], serviceAccounts: ['a/s'] })
    expect(isSatisfiable(rule, { dialect: 'ztunnel' })).toMatchObject({ kind: 'empty' })
    const found = isSatisfiable(rule, { dialect: 'envoy-tcp' })
    expect(found).toMatchObject({
      kind: 'satisfiable',
      witness: { source: { principal: expect.stringMatching(/\/ns\/a\/(.+\/)?sa\/s\/(.+\/)?more$/) } },
    })
  })

  it('are not found in a trust domain that is called ns', () => {
    const policy = {
      kind: 'AuthorizationPolicy' as const,
      metadata: { namespace: 'x', name: 'p', labels: {}, annotations: {} },
      spec: { action: 'DENY' as const, rules: [ofAccount({ serviceAccounts: ['a/s'] })] },
    }
    const evaluator = createEvaluator({ authorizationPolicies: [policy] }, { dialect: 'envoy-tcp' })
    const verdictOf = (principal: string): string =>
      evaluator.decide({ source: { principal }, destination: { namespace: 'x', port: 80 } }).verdict
    expect(verdictOf('ns/a/sa/s')).toBe('allow')
    expect(verdictOf('td/ns/a/sa/s')).toBe('deny')
  })
})
