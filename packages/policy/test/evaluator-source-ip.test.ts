/** `source.ip` at a waypoint (l7 §0.1): the address of the proven caller, and what Istio's own waypoint does instead. */
import { describe, expect, it } from 'vitest'
import { ask, decide, documents, FOR_WEB, policy, short, sidecar, waypoint } from './evaluator-fixtures.ts'
import { request, target, waypoint as waypointPolicies } from './waypoint-fixtures.ts'

const http = { dialect: 'envoy-http' } as const
const NOTE =
  /the address of the proven caller was compared; Istio's own waypoint never matches ipBlocks and source\.ip, and would/

const rule = (action: string, source: string, target = `${FOR_WEB}\n`): string =>
  policy('shop/p', `${target}action: ${action}\nrules:\n- from: [{source: {${source}}}]`)

describe('where it mattered the reason says so', () => {
  it.each([
    ['DENY ipBlocks', rule('DENY', 'ipBlocks: [10.0.0.0/8]'), 'deny DENY shop/p 0', / would allow$/],
    ['ALLOW ipBlocks', rule('ALLOW', 'ipBlocks: [10.0.0.0/8]'), 'allow ALLOW shop/p 0', / would deny$/],
    [
      'DENY notIpBlocks',
      rule('DENY', 'notIpBlocks: [10.0.0.0/8]'),
      'allow default - -',
      / would deny by shop\/p rules\[0\]$/,
    ],
  ] as const)('%s', (_, text, wanted, would) => {
    for (const dialect of ['envoy-http', 'envoy-tcp'] as const) {
      const verdict = decide(documents(text), { dialect }, ask(), waypoint)
      expect(short(verdict)).toBe(wanted)
      expect(verdict.reason).toMatch(NOTE)
      expect(verdict.reason).toMatch(would)
    }
  })
})

describe('where it did not it is silent', () => {
  it.each([
    ['another address', rule('DENY', 'ipBlocks: [192.0.2.0/24]'), waypoint],
    ['remoteIpBlocks', rule('DENY', 'remoteIpBlocks: [10.0.0.0/8]'), waypoint],
    ['a sidecar', rule('DENY', 'ipBlocks: [10.0.0.0/8]', ''), sidecar],
  ] as const)('%s', (_, text, enforcer) => {
    expect(decide(documents(text), http, ask(), enforcer).reason).not.toMatch(NOTE)
  })
})

describe('IPv4-mapped blocks', () => {
  it.each([
    ['never match', rule('DENY', 'ipBlocks: ["::ffff:10.0.0.1"]', ''), 'allow default - -'],
    ['negated always do', rule('DENY', 'notIpBlocks: ["::ffff:10.0.0.1"]', ''), 'deny DENY shop/p 0'],
    [
      'beside others do not count',
      rule('DENY', 'ipBlocks: ["::ffff:10.0.0.1", 10.0.0.1]', ''),
      'deny DENY shop/p 0',
    ],
  ] as const)('%s at Envoy, and the reason says so', (_, text, wanted) => {
    const verdict = decide(documents(text), http, ask(), sidecar)
    expect(short(verdict)).toBe(wanted)
    expect(verdict.reason).toContain(
      'to Envoy an IPv4-mapped block is one of IPv6, in which no caller is: shop/p rules[0]',
    )
  })

  it('are IPv4 at our own waypoint', () => {
    const text = rule('DENY', 'ipBlocks: ["::ffff:10.0.0.1"]')
    const own = waypointPolicies(documents(text).authorizationPolicies)
    expect(own.decideRequest(target, request()).allowed).toBe(false)
  })
})
