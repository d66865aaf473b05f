/** CUSTOM: who has to be asked, and what is denied without asking. */
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicy,
  type PolicyOperation,
  requireProviders,
  type RequirementOptions,
} from '@ambient/policy'
import { forWeb, request, target as service, waypoint } from './waypoint-fixtures.ts'

const all: RequirementOptions = { stateOf: () => 'ask', severalProviders: false }

/** A CUSTOM policy of one rule for the service. */
function custom(
  name: string,
  provider: string,
  operation: PolicyOperation,
  isDryRun = false,
): AuthorizationPolicy {
  const to = Object.keys(operation).length === 0 ? {} : { to: [{ operation }] }
  return forWeb(
    { action: 'CUSTOM', provider: { name: provider }, rules: [to] },
    { name, ...(isDryRun ? { annotations: { 'istio.io/dry-run': 'true' } } : {}) },
  )
}

describe('a CUSTOM policy', () => {
  it('that is not attached costs no look at the request', () => {
    expect(waypoint([]).customOfRequest(service, request())).toBeUndefined()
    expect(waypoint([custom('a', 'opa', {}, true)]).customOfRequest(service, request())).toBeUndefined()
  })

  it('asks its provider for what it matches, and nobody for the rest', () => {
    const policies = waypoint([custom('a', 'opa', { paths: ['/admin'] })])
    const found = policies.customOfRequest(service, request({ path: '/admin' }))
    expect(found?.matches.map(({ provider, id }) => [provider, id])).toEqual([
      ['opa', 'istio-ext-authz-opa-ns[shop]-policy[a]-rule[0]'],
    ])
    expect(requireProviders(found ?? { providers: [], matches: [] }, all).kind).toBe('ask')
    const other = policies.customOfRequest(service, request({ path: '/' }))
    expect(other).toEqual({ providers: ['opa'], matches: [] })
    expect(requireProviders(other ?? { providers: [], matches: [] }, all)).toEqual({ kind: 'none' })
  })

  it('of a missing provider denies what it matches, by the name that istiod gives the rule', () => {
    const found = waypoint([custom('a', 'gone', {})]).customOfRequest(service, request())
    const required = requireProviders(found ?? { providers: [], matches: [] }, {
      ...all,
      stateOf: () => 'missing',
    })
    expect(required).toMatchObject({
      kind: 'denied',
      decision: {
        allowed: false,
        detail:
          'rbac_access_denied_matched_policy[istio-ext-authz-gone-ns[shop]-policy[a]-rule[0]-deny-due-to-bad-CUSTOM-action]',
      },
    })
  })

  it('whose provider is ignored does nothing', () => {
    const found = waypoint([custom('a', 'http', {})]).customOfRequest(service, request())
    expect(
      requireProviders(found ?? { providers: [], matches: [] }, { ...all, stateOf: () => 'ignored' }),
    ).toEqual({
      kind: 'none',
    })
  })

  it('beside one with another provider denies, unless several are allowed; then each is asked, by name', () => {
    const policies = waypoint([
      custom('a', 'zeta', {}),
      custom('b', 'alpha', { paths: ['/admin'] }),
      custom('c', 'zeta', {}),
    ])
    const found = policies.customOfRequest(service, request({ path: '/admin' }))
    const required = requireProviders(found ?? { providers: [], matches: [] }, all)
    expect(required).toMatchObject({ kind: 'denied', decision: { allowed: false } })
    expect(JSON.stringify(required)).toMatch(
      /different providers \(alpha, zeta\).*-deny-due-to-bad-CUSTOM-action/,
    )
    const several = requireProviders(found ?? { providers: [], matches: [] }, {
      ...all,
      severalProviders: true,
    })
    expect(
      several.kind === 'ask' && several.matches.map(({ provider, by }) => [provider, by.policy]),
    ).toEqual([
      ['alpha', 'shop/b'],
      ['zeta', 'shop/a'],
    ])
    // One of two does not match: the second provider is still there, as istiod sees it.
    const one = policies.customOfRequest(service, request({ path: '/' }))
    expect(requireProviders(one ?? { providers: [], matches: [] }, all).kind).toBe('denied')
  })

  it('that passed is not asked again: DENY and ALLOW decide', () => {
    const policies = waypoint([custom('a', 'opa', {})])
    expect(policies.decideRequest(service, request()).allowed).toBe(false)
    expect(policies.decideRequest(service, request(), 'passed').allowed).toBe(true)
    const connection = request().connection
    expect(policies.decideConnection(service, connection).allowed).toBe(false)
    expect(policies.decideConnection(service, connection, { custom: 'passed' }).allowed).toBe(true)
    expect(policies.customOfConnection(service, connection)?.matches).toHaveLength(1)
  })
})
