/** Policies with an end date: what ends, and what never opens. */
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import {
  createEvaluator,
  createExpiryTimer,
  hasExpired,
  nextExpiry,
  readPolicies,
  withoutExpired,
  type AuthorizationAction,
  type PolicyRequest,
} from '@ambient/policy'
import { document } from './fixtures.ts'

const END = Date.UTC(2026, 0, 2)
const until = (action: AuthorizationAction, expires = '2026-01-02T00:00:00Z', name = 'temp') =>
  document(
    { action, rules: [{ from: [{ source: { namespaces: ['guest'] } }] }] },
    { name, namespace: 'shop', annotations: { 'ambient.dev/expires': expires } },
  )
const GUEST: PolicyRequest = {
  source: { principal: 'cluster.local/ns/guest/sa/g', ip: '10.0.0.1' },
  destination: { namespace: 'shop', port: 80 },
}

describe('an end date', () => {
  it('ends an ALLOW, which goes on denying everybody it does not allow', () => {
    const policy = until('ALLOW')
    expect([hasExpired(policy, END - 1), hasExpired(policy, END)]).toEqual([false, true])
    const decide = (at: number) =>
      createEvaluator({ authorizationPolicies: [policy] }, { dialect: 'ztunnel', at }).decide(GUEST)
    expect(decide(END - 1)).toMatchObject({ verdict: 'allow', policy: 'shop/temp' })
    expect(decide(END - 1).reason).toContain('shop/temp ends at 2026-01-02T00:00:00.000Z')
    expect(decide(END)).toMatchObject({ verdict: 'deny', action: 'ALLOW', policy: null })
    expect(decide(END).reason).toContain('shop/temp ended at 2026-01-02T00:00:00.000Z')
  })

  it('is nothing to a real istiod', () => {
    const evaluator = createEvaluator({ authorizationPolicies: [until('ALLOW')] }, { dialect: 'ztunnel' })
    expect(evaluator.decide(GUEST).verdict).toBe('allow')
  })

  it.each(['DENY', 'CUSTOM', 'AUDIT'] as const)(
    'does not end a %s: that would open what it closes',
    action => {
      expect(hasExpired(until(action), END + 1)).toBe(false)
      expect(nextExpiry([until(action)], 0)).toBeUndefined()
    },
  )

  it('that cannot be read has passed', () => {
    expect(hasExpired(until('ALLOW', 'tomorrow'), 0)).toBe(true)
    expect(hasExpired(until('ALLOW', '2026-01-02T00:00:00'), 0)).toBe(true)
    expect(hasExpired(until('ALLOW', '2026-02-30T00:00:00Z'), 0)).toBe(true)
    expect(hasExpired(until('ALLOW', '2028-02-29T00:00:00Z'), 0)).toBe(false)
  })

  it('leaves other policies the same objects', () => {
    const [ended, lasting] = [until('ALLOW'), until('ALLOW', '2027-01-01T00:00:00+01:00', 'b')]
    expect(withoutExpired([ended, lasting], 0)).toEqual([ended, lasting])
    const [first, second] = withoutExpired([ended, lasting], END)
    expect(first?.spec.rules).toEqual([])
    expect(second).toBe(lasting)
    expect(nextExpiry([ended, lasting], END)).toBe(Date.UTC(2026, 11, 31, 23))
  })

  it('is checked where it is read', () => {
    const text = (action: string, expires: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: temp
  annotations: {ambient.dev/expires: "${expires}"}
spec: {action: ${action}, rules: [{}]}
`
    expect(readPolicies(text('ALLOW', '2026-12-31T18:00:00Z'), 'p.yaml').problems).toEqual([])
    expect(readPolicies(text('ALLOW', '2026-12-31'), 'p.yaml').problems).toMatchObject([
      { line: 5, severity: 'error' },
    ])
    expect(readPolicies(text('DENY', '2026-12-31T18:00:00Z'), 'p.yaml').problems).toMatchObject([
      { line: 5, severity: 'warning' },
    ])
  })

  it('calls when it passes, once per policy', () => {
    const clock = createManualClock(Date.UTC(2026, 0, 1))
    let calls = 0
    const policies = [until('ALLOW')]
    const timer = createExpiryTimer(clock, () => {
      calls++
      timer.watch(policies)
    })
    timer.watch(policies)
    clock.advance(86_399_999)
    expect(calls).toBe(0)
    clock.advance(1)
    expect([calls, clock.pending]).toEqual([1, 0])
    timer.watch([until('ALLOW', '2027-01-01T00:00:00Z')])
    timer.close()
    expect(clock.pending).toBe(0)
  })
})
