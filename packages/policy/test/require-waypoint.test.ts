/** The policy that makes a waypoint obligatory: only the waypoint passes, and who is refused is told the way. */
import { describe, expect, it } from 'vitest'
import { decide, explain, formatExplanation, requireWaypoint, toAuthorization } from '@ambient/policy'
import { connection, policy, workload } from './fixtures.ts'

const gateway = { namespace: 'shop', name: 'waypoint', trustDomain: 'cluster.local' }
const key = 'shop/istio_allow_waypoint_shop_waypoint'
const behind = workload({ authorizationPolicies: [key] })

describe('requireWaypoint', () => {
  it('lets the waypoint in and nobody else', () => {
    const { authorization } = requireWaypoint(gateway)
    const from = (principal: string | null): boolean =>
      decide([authorization], connection({ principal, workload: behind })).allowed
    expect(from('cluster.local/ns/shop/sa/waypoint')).toBe(true)
    expect(from('cluster.local/ns/client/sa/alice')).toBe(false)
    expect(from('other/ns/shop/sa/waypoint')).toBe(false)
    expect(from(null)).toBe(false)
  })

  it('leaves workloads alone that do not list it', () => {
    const { authorization } = requireWaypoint(gateway)
    expect(decide([authorization], connection()).allowed).toBe(true)
  })

  it('goes by the service account of the waypoint', () => {
    const { authorization } = requireWaypoint({ ...gateway, serviceAccount: 'gate' })
    const to = connection({ principal: 'cluster.local/ns/shop/sa/gate', workload: behind })
    expect(decide([authorization], to).allowed).toBe(true)
  })

  it('lets nobody in while the Gateway does not exist', () => {
    const { authorization, explanation, policy: document } = requireWaypoint({ ...gateway, missing: true })
    const to = connection({ principal: 'cluster.local/ns/shop/sa/waypoint', workload: behind })
    expect(decide([authorization], to).allowed).toBe(false)
    expect(document.spec.rules).toEqual([])
    expect(explanation).toContain('does not exist')
    expect(explain([authorization], to).hints).toEqual([
      `traffic has to come through the waypoint shop/waypoint, which does not exist (${key})`,
    ])
  })

  it('is also a document, which says the same', () => {
    const { policy: document, authorization } = requireWaypoint({
      ...gateway,
      selector: { matchLabels: { app: 'web' } },
    })
    expect(toAuthorization(document, { rootNamespace: 'istio-system' })).toEqual({
      kind: 'sent',
      authorization,
      origins: [{ rule: 0, parts: ['from'] }],
      warnings: [],
    })
  })

  it('explains itself', () => {
    const { explanation } = requireWaypoint(gateway)
    expect(explanation).toContain(`${key}: traffic has to come through the waypoint shop/waypoint.`)
    expect(explanation).toContain('cluster.local/ns/shop/sa/waypoint only')
  })
})

describe('the explanation of a denial', () => {
  it('says where the traffic has to go', () => {
    const { authorization } = requireWaypoint(gateway)
    const explanation = explain([authorization], connection({ workload: behind }))
    expect(explanation.hints).toEqual([
      `traffic has to come through the waypoint shop/waypoint: ${key} allows nobody else`,
    ])
    expect(formatExplanation(explanation)).toContain('has to come through the waypoint shop/waypoint')
  })

  it('says so only where that policy was the reason', () => {
    const { authorization } = requireWaypoint(gateway)
    const to = connection({ workload: behind })
    const deny = policy({ name: 'd', action: 'Deny' }, [])
    expect(explain([authorization, deny], to).hints).toEqual([])
    expect(explain([authorization, policy({ name: 'all' }, [])], to).hints).toEqual([])
    const other = policy({ name: 'istio_allow_waypoint_x' }, [
      [{ namespaces: [{ kind: 'exact', value: 'x' }] }],
    ])
    expect(explain([other], connection()).hints).toEqual([])
  })
})
