/** A policy that ends while a connection lives, at a waypoint: on its own clock, without a word of the control plane. */
import { createManualClock } from '@ambient/core/testing'
import { type AuthorizationPolicy, defaultMeshConfig } from '@ambient/policy'
import { expect, it } from 'vitest'
import { createGuard } from '../src/guard.ts'
import type { InboundStream } from '../src/stream.ts'

const policy: AuthorizationPolicy = {
  kind: 'AuthorizationPolicy',
  metadata: {
    name: 'for-now',
    namespace: 'shop',
    labels: {},
    annotations: { 'ambient.dev/expires': '2026-01-01T01:00:00Z' },
  },
  spec: {
    targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' }],
    rules: [{}],
  },
}

it('withdraws what it allowed when it ends, and lets nobody in after that', () => {
  const clock = createManualClock(Date.UTC(2026, 0, 1))
  const stream = { target: { kind: 'workload' } } as unknown as InboundStream
  const store = {
    authorizationPolicies: [policy],
    gateways: [],
    watch: () => () => {},
  } as unknown as Parameters<typeof createGuard>[0]['store']
  const guard = createGuard({
    config: {
      gateway: { namespace: 'shop', name: 'waypoint' },
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
      severalProviders: false,
    },
    store,
    meshConfig: () => defaultMeshConfig,
    stateOf: () => ({ kind: 'unknown' }) as never,
    clock,
  })
  const connection = {
    id: '0'.repeat(32),
    direction: 'inbound' as const,
    source: { address: '10.0.0.1', port: 1 },
    destination: { address: '10.0.0.2', port: 80, network: '' },
  }
  const admission = guard.admit(stream, connection)
  expect(admission.allowed).toBe(true)
  let withdrawn = ''
  if (admission.allowed)
    admission.permit.onWithdrawn = denial => {
      withdrawn = denial.reason
    }
  clock.advance(3_599_999)
  expect([withdrawn, guard.size]).toEqual(['', 1])
  clock.advance(1)
  expect([withdrawn, guard.size]).toEqual(['allow policies exist, but none allowed', 0])
  expect(guard.admit(stream, connection).allowed).toBe(false)
  guard.close()
  expect(clock.pending).toBe(0)
})
