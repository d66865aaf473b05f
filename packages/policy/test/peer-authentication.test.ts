/** PeerAuthentication levels and ports to L4 policies, judged by who gets in. */
import { describe, expect, it } from 'vitest'
import {
  convertPeerAuthentications,
  decide,
  type MutualTlsMode,
  type PeerAuthentication,
} from '@ambient/policy'
import { connection, peerAuthentication, policy, workload } from './fixtures.ts'

const root = { rootNamespace: 'istio-system' }
const labels = { app: 'db' }
const mesh = (mode: MutualTlsMode): PeerAuthentication =>
  peerAuthentication({ mtls: { mode } }, { namespace: 'istio-system', name: 'default' })
const namespace = (mode: MutualTlsMode, of = {}): PeerAuthentication =>
  peerAuthentication({ mtls: { mode } }, { name: 'default', ...of })
const forDb = (
  mode: MutualTlsMode | undefined,
  ports: Readonly<Record<number, MutualTlsMode>> = {},
  of = {},
): PeerAuthentication =>
  peerAuthentication(
    {
      selector: { matchLabels: labels },
      ...(mode === undefined ? {} : { mtls: { mode } }),
      portLevelMtls: new Map(Object.entries(ports).map(([port, at]) => [Number(port), { mode: at }])),
    },
    { name: 'db', ...of },
  )

/** Whether plaintext gets in at a port; that mTLS gets in everywhere is checked on the way. */
function plaintext(
  all: readonly PeerAuthentication[],
  port: number,
  of = { namespace: 'shop', labels },
): boolean {
  const plan = convertPeerAuthentications(all, root)
  const to = workload({ namespace: of.namespace, authorizationPolicies: plan.policiesFor(of) })
  expect(decide(plan.authorizations, connection({ workload: to, port })).allowed).toBe(true)
  const { allowed } = decide(plan.authorizations, connection({ workload: to, port, principal: null }))
  expect(plan.modeFor(of, port) === 'STRICT').toBe(!allowed)
  return allowed
}

describe('levels', () => {
  it.each<[string, readonly PeerAuthentication[], boolean]>([
    ['nothing', [], true],
    ['mesh STRICT', [mesh('STRICT')], false],
    ['mesh UNSET', [mesh('UNSET')], true],
    ['mesh STRICT, namespace PERMISSIVE', [mesh('STRICT'), namespace('PERMISSIVE')], true],
    ['mesh STRICT, namespace UNSET', [mesh('STRICT'), namespace('UNSET')], false],
    ['mesh STRICT, namespace DISABLE', [mesh('STRICT'), namespace('DISABLE')], true],
    ['namespace STRICT', [namespace('STRICT')], false],
    ['another namespace STRICT', [namespace('STRICT', { namespace: 'other' })], true],
    ['namespace STRICT, workload PERMISSIVE', [namespace('STRICT'), forDb('PERMISSIVE')], true],
    ['namespace STRICT, workload unset', [namespace('STRICT'), forDb(undefined)], false],
    ['workload STRICT', [forDb('STRICT')], false],
    ['workload STRICT of another namespace', [forDb('STRICT', {}, { namespace: 'other' })], true],
    [
      'a selector in the root namespace is ignored',
      [forDb('STRICT', {}, { namespace: 'istio-system' })],
      true,
    ],
    [
      'the oldest of a level wins',
      [
        namespace('PERMISSIVE', { name: 'a', creationTimestamp: 2 }),
        namespace('STRICT', { name: 'b', creationTimestamp: 1 }),
      ],
      false,
    ],
    [
      'then the first by name',
      [namespace('PERMISSIVE', { name: 'b' }), namespace('STRICT', { name: 'a' })],
      false,
    ],
    [
      'the oldest selector wins',
      [forDb('PERMISSIVE', {}, { name: 'b' }), forDb('STRICT', {}, { name: 'a' })],
      false,
    ],
  ])('%s', (_, all, allowed) => {
    expect(plaintext(all, 80)).toBe(allowed)
  })
  it('a selector means its labels only', () => {
    expect(plaintext([forDb('STRICT')], 80, { namespace: 'shop', labels: { app: 'web' } })).toBe(true)
  })
})

describe('ports', () => {
  it.each<[string, readonly PeerAuthentication[], boolean, boolean]>([
    // what, documents, plaintext at 80, plaintext at 9090
    ['STRICT with a hole', [forDb('STRICT', { 9090: 'PERMISSIVE' })], false, true],
    ['STRICT with a DISABLE hole', [forDb('STRICT', { 9090: 'DISABLE' })], false, true],
    ['two holes', [forDb('STRICT', { 9090: 'PERMISSIVE', 1: 'DISABLE' })], false, true],
    ['PERMISSIVE with a STRICT port', [forDb('PERMISSIVE', { 9090: 'STRICT' })], true, false],
    ['UNSET port inherits', [forDb('STRICT', { 9090: 'UNSET' })], false, false],
    [
      'mesh STRICT, PERMISSIVE with a STRICT port',
      [mesh('STRICT'), forDb('PERMISSIVE', { 9090: 'STRICT' })],
      true,
      false,
    ],
    [
      'namespace STRICT, unset with a DISABLE port',
      [namespace('STRICT'), forDb(undefined, { 9090: 'DISABLE' })],
      false,
      true,
    ],
    ['unset with a STRICT port', [forDb(undefined, { 9090: 'STRICT' })], true, false],
    ['STRICT with a STRICT port', [forDb('STRICT', { 9090: 'STRICT' })], false, false],
    ['DISABLE with a PERMISSIVE port', [forDb('DISABLE', { 9090: 'PERMISSIVE' })], true, true],
  ])('%s', (_, all, at80, at9090) => {
    expect([plaintext(all, 80), plaintext(all, 9090)]).toEqual([at80, at9090])
  })
})

describe('the policies', () => {
  const noIdentity = { notPrincipals: [{ kind: 'presence' as const }] }
  it('any document at all brings the static one', () => {
    expect(convertPeerAuthentications([], root).authorizations).toEqual([])
    expect(convertPeerAuthentications([namespace('UNSET')], root).authorizations).toEqual([
      policy(
        {
          name: 'istio_converted_static_strict',
          namespace: 'istio-system',
          scope: 'WorkloadSelector',
          action: 'Deny',
        },
        [[noIdentity]],
      ),
    ])
  })
  it('bear the names and the shape that istiod gives', () => {
    const of = {
      name: 'converted_peer_authentication_db',
      scope: 'WorkloadSelector',
      action: 'Deny',
    } as const
    const holes = convertPeerAuthentications([forDb('STRICT', { 2: 'DISABLE', 1: 'PERMISSIVE' })], root)
    expect(holes.authorizations[1]).toEqual(
      policy(of, [[noIdentity], [{ notDestinationPorts: [1] }], [{ notDestinationPorts: [2] }]]),
    )
    expect(holes.policiesFor({ namespace: 'shop', labels })).toEqual([
      'shop/converted_peer_authentication_db',
    ])
    const strictPorts = convertPeerAuthentications([forDb('PERMISSIVE', { 1: 'STRICT', 2: 'STRICT' })], root)
    expect(strictPorts.authorizations[1]).toEqual(
      policy(of, [[{ ...noIdentity, destinationPorts: [1] }]], [[{ ...noIdentity, destinationPorts: [2] }]]),
    )
    const whole = convertPeerAuthentications([forDb('STRICT')], root)
    expect(whole.policiesFor({ namespace: 'shop', labels })).toEqual([
      'istio-system/istio_converted_static_strict',
    ])
    expect(whole.authorizations).toHaveLength(1)
  })
})
