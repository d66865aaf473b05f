/** Permits: given, withdrawn when a policy changes, forgotten when the connection ends. */
import { describe, expect, it } from 'vitest'
import { type Admission, type Denial, type Logger, type Permit, topics, type Workload } from '@ambient/core'
import { type Authorization, createAuthorizer, createPolicyStore, type PolicyStore } from '@ambient/policy'
import { connection, policy, workload } from './fixtures.ts'

const denyNamespace = (namespace: string, of: Partial<Authorization> = {}): Authorization =>
  policy({ name: 'deny', action: 'Deny', ...of }, [[{ namespaces: [{ kind: 'exact', value: namespace }] }]])

function permitOf(admission: Admission): Permit {
  if (!admission.allowed) throw new Error(admission.denial.reason)
  return admission.permit
}

function messages(): { readonly logger: Logger; readonly lines: string[] } {
  const lines: string[] = []
  const log = (level: string) => (_: unknown, message: string) => void lines.push(`${level} ${message}`)
  return { logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }, lines }
}

describe('admit', () => {
  it('refuses with the reason and keeps nothing', () => {
    const store = createPolicyStore([denyNamespace('client')])
    const authorizer = createAuthorizer({ store })
    expect(authorizer.admit(connection())).toEqual({
      allowed: false,
      denial: {
        allowed: false,
        reason: 'explicitly denied by: shop/deny',
        by: { policy: 'shop/deny', rule: 0 },
        considered: [],
      },
    })
    expect(authorizer.size).toBe(0)
    authorizer.close()
  })

  it('withdraws the newly denied, once, and leaves the others alone', () => {
    const store = createPolicyStore()
    const authorizer = createAuthorizer({ store })
    const told: string[] = []
    const alice = permitOf(authorizer.admit(connection()))
    const bob = permitOf(authorizer.admit(connection({ principal: 'cluster.local/ns/other/sa/bob' })))
    alice.onWithdrawn = denial => told.push(`alice ${denial.reason}`)
    bob.onWithdrawn = denial => told.push(`bob ${denial.reason}`)
    expect(alice.decision).toMatchObject({ allowed: true, reason: 'no allow policies, allow' })
    store.apply({ upsert: [denyNamespace('client')], remove: [] })
    store.replace([denyNamespace('client')])
    expect(told).toEqual(['alice explicitly denied by: shop/deny'])
    expect(authorizer.size).toBe(1)
    alice.release()
    bob.release()
    expect(authorizer.size).toBe(0)
    authorizer.close()
  })

  it('while policies are on their way, a known DENY counts and a missing ALLOW does not', () => {
    const selected: Partial<Authorization> = { scope: 'WorkloadSelector' }
    const allowOthers = policy({ name: 'allow', action: 'Allow', ...selected }, [
      [{ namespaces: [{ kind: 'exact', value: 'nobody' }] }],
    ])
    const store = createPolicyStore([denyNamespace('client', selected), allowOthers])
    let now = workload()
    const authorizer = createAuthorizer({ store, currentWorkload: () => now })
    const told: string[] = []
    const alice = permitOf(authorizer.admit(connection()))
    alice.onWithdrawn = denial => told.push(denial.reason)
    now = workload({ authorizationPolicies: ['shop/allow', 'shop/never-arrives'] })
    authorizer.recheck({ explicitOnly: true })
    expect(told).toEqual([])
    now = workload({ authorizationPolicies: ['shop/deny', 'shop/never-arrives'] })
    authorizer.recheck({ explicitOnly: true })
    expect(told).toEqual(['explicitly denied by: shop/deny'])
    authorizer.close()
  })

  it('forgets a released permit', () => {
    const store = createPolicyStore()
    const authorizer = createAuthorizer({ store })
    const permit = permitOf(authorizer.admit(connection()))
    permit.onWithdrawn = () => expect.unreachable()
    permit.release()
    permit.release()
    store.replace([denyNamespace('client')])
    expect(authorizer.size).toBe(0)
    authorizer.close()
  })

  it('registers before it judges: a change in between withdraws', () => {
    const inner = createPolicyStore()
    let during: (() => void) | undefined
    // A store whose set is read while it changes.
    const store: PolicyStore = {
      ...inner,
      get policies() {
        const set = inner.policies
        const change = during
        during = undefined
        change?.()
        return set
      },
    }
    const authorizer = createAuthorizer({ store })
    during = () => inner.replace([denyNamespace('client')])
    const admission = authorizer.admit(connection())
    expect(admission.allowed).toBe(false)
    expect(authorizer.size).toBe(0)
    authorizer.close()
  })

  it('tells a listener that comes after the withdrawal', async () => {
    const store = createPolicyStore()
    const authorizer = createAuthorizer({ store })
    const permit = permitOf(authorizer.admit(connection()))
    store.replace([denyNamespace('client')])
    const denial = await new Promise<Denial>(resolve => {
      permit.onWithdrawn = resolve
    })
    expect(denial.reason).toBe('explicitly denied by: shop/deny')
    authorizer.close()
  })

  it('survives callbacks that throw or release others', () => {
    const { logger, lines } = messages()
    const store = createPolicyStore()
    const authorizer = createAuthorizer({ store, logger })
    const permits = [1, 2, 3].map(() => permitOf(authorizer.admit(connection())))
    const [first, second, third] = permits
    let told = 0
    if (first !== undefined)
      first.onWithdrawn = () => {
        told++
        second?.release()
        throw new Error('broken')
      }
    if (second !== undefined) second.onWithdrawn = () => expect.unreachable()
    if (third !== undefined) third.onWithdrawn = () => told++
    store.replace([denyNamespace('client')])
    expect(told).toBe(2)
    expect(lines).toContain('error withdrawing a permit failed')
    expect(authorizer.size).toBe(0)
    authorizer.close()
  })

  it('re-checks against the workload as it is now', () => {
    const store = createPolicyStore([denyNamespace('client', { scope: 'WorkloadSelector' })])
    let now: Workload | undefined = workload()
    const authorizer = createAuthorizer({
      store,
      currentWorkload: uid => (uid === now?.uid ? now : undefined),
    })
    const permit = permitOf(authorizer.admit(connection()))
    let reason = ''
    permit.onWithdrawn = denial => {
      reason = denial.reason
    }
    authorizer.recheck()
    now = undefined
    authorizer.recheck()
    expect(authorizer.size).toBe(1)
    now = workload({ authorizationPolicies: ['shop/deny'] })
    authorizer.recheck()
    expect(reason).toBe('explicitly denied by: shop/deny')
    authorizer.close()
  })

  it('after close: no more permits, no more withdrawals', () => {
    const store = createPolicyStore()
    const authorizer = createAuthorizer({ store })
    const permit = permitOf(authorizer.admit(connection()))
    permit.onWithdrawn = () => expect.unreachable()
    authorizer.close()
    authorizer.close()
    store.replace([denyNamespace('client')])
    expect(() => authorizer.admit(connection())).toThrow('the authorizer is closed')
    expect(authorizer.decide(connection()).allowed).toBe(false)
  })

  it('waits for a referenced policy, or skips it on demand', () => {
    const store = createPolicyStore()
    const to = connection({ workload: workload({ authorizationPolicies: ['shop/late'] }) })
    const strict = createAuthorizer({ store })
    const relaxed = createAuthorizer({ store, unknownPolicy: 'skip' })
    expect([strict.admit(to).allowed, relaxed.admit(to).allowed]).toEqual([false, true])
    store.apply({
      upsert: [denyNamespace('nobody', { name: 'late', scope: 'WorkloadSelector' })],
      remove: [],
    })
    expect(strict.admit(to).allowed).toBe(true)
    strict.close()
    relaxed.close()
  })
})

describe('the ledger', () => {
  it('hears of each admission and each withdrawal', () => {
    const store = createPolicyStore()
    const authorizer = createAuthorizer({ store })
    const heard: unknown[] = []
    const unsubscribe = topics.decision.subscribe(({ allowed, reason, policy, rule }) =>
      heard.push([allowed, reason, policy, rule]),
    )
    permitOf(authorizer.admit(connection()))
    store.replace([denyNamespace('client')])
    authorizer.admit(connection())
    unsubscribe()
    const denied = [false, 'explicitly denied by: shop/deny', 'shop/deny', 0]
    expect(heard).toEqual([[true, 'no allow policies, allow', undefined, undefined], denied, denied])
    authorizer.close()
  })

  it('hears what dry-run policies would have done', () => {
    const { logger, lines } = messages()
    const store = createPolicyStore([
      denyNamespace('client', { dryRun: true }),
      policy({ name: 'a', dryRun: true }),
    ])
    const authorizer = createAuthorizer({ store, logger })
    expect(authorizer.admit(connection()).allowed).toBe(true)
    expect(lines).toEqual([
      'debug dry-run: deny policy match',
      'debug dry-run: no allow policies match',
      'debug no allow policies, allow',
    ])
    authorizer.close()
  })
})
