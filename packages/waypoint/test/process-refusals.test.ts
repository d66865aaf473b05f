/** Who is not served: authorities that are not ours, callers that are not ours, requests that a policy refuses. */
import { text } from 'node:stream/consumers'
import { type Clock, serviceKey, systemClock } from '@ambient/core'
import { createTestIdentities } from '@ambient/identity/testing'
import { createHbonePool } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { hallLimits } from '../src/limits.ts'
import { policy } from './process-fixtures.ts'
import { cleanup, createWorld, loopbackAddress } from './world.ts'

const elsewhere = {
  destination: { kind: 'hostname', namespace: 'default', hostname: 'other.default.svc.cluster.local' },
  hboneMtlsPort: 15008,
} as const

/** The system's, which can be put forward, and tells of the timers that are set. */
function leapingClock(onTimer: (delayMs: number) => void = () => {}): Clock & { leap(ms: number): void } {
  let offsetMs = 0
  return {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic() + offsetMs,
    after(delayMs, run, options) {
      onTimer(delayMs)
      return systemClock.after(delayMs, run, options)
    },
    leap: ms => {
      offsetMs += ms
    },
  }
}

describe('a tunnel', () => {
  it.each([
    ['an address that nobody has', () => `${loopbackAddress()}:80`],
    ['a port that the service does not declare', (vip: string) => `${vip}:81`],
    ['a name', () => 'web.default.svc.cluster.local:80'],
  ])('to %s is 503', async (_what, authority) => {
    const world = await createWorld()
    const vip = world.web.vips[0]?.ip ?? ''
    await expect(world.tunnel({ authority: authority(vip) })).rejects.toMatchObject({ status: 503 })
    expect(await world.line(/"CONNECT - HTTP\/2" 503 NR/)).toContain(authority(vip).split(':')[1])
  })

  it('to a service of another waypoint is 503', async () => {
    const world = await createWorld()
    // Gone and back, so that it is nobody who left just now.
    world.directory.apply({ remove: [serviceKey(world.web)] })
    world.directory.apply({ services: [{ ...world.web, waypoint: elsewhere }] })
    await expect(world.tunnel()).rejects.toMatchObject({ status: 503 })
    expect(await world.line(/tunnel refused/)).toContain('is not behind the waypoint default/waypoint')
    expect(await world.line(/^\[.*"CONNECT /)).toMatch(
      / NR route_not_found .* src\.identity="spiffe:\/\/cluster\.local\/ns\/default\/sa\/client"$/,
    )
  })

  it('to a service that left is served until its callers have heard of it, then 503', async () => {
    const clock = leapingClock()
    const world = await createWorld({ clock })
    world.directory.apply({ services: [{ ...world.web, waypoint: elsewhere }] })
    expect(await world.fetch('/')).toMatchObject({ status: 200 })
    clock.leap(hallLimits.departureMs)
    await expect(world.tunnel()).rejects.toMatchObject({ status: 503 })
  })

  it('waits a moment for news that its service has come to us', async () => {
    let onWait = (): void => {}
    const waits = new Promise<void>(resolve => {
      onWait = resolve
    })
    const { arrivalMs } = hallLimits
    const clock = leapingClock(ms => ms <= arrivalMs && ms > arrivalMs - 100 && onWait())
    const world = await createWorld({ clock })
    world.directory.apply({ remove: [serviceKey(world.web)] })
    world.directory.apply({ services: [{ ...world.web, waypoint: elsewhere }] })
    const answer = world.fetch('/')
    await waits
    world.directory.apply({ services: [world.web] })
    expect(await answer).toMatchObject({ status: 200 })
  })

  it('of a foreign trust domain does not come to be', async () => {
    const world = await createWorld()
    const foreign = await createTestIdentities({ trustDomain: 'elsewhere' })
    const pool = createHbonePool()
    cleanup(() => pool.close({ graceMs: 0 }))
    const credentials = await foreign.credentials({ namespace: 'default', serviceAccount: 'client' })
    const own = await world.identities.credentials({ namespace: 'default', serviceAccount: 'waypoint' })
    await expect(
      pool.connect({
        credentials: {
          ...credentials,
          verifyPeer: own.verifyPeer.bind(own),
          privateKey: () => credentials.privateKey(),
        },
        to: { address: world.waypointIp, port: 15008 },
        expect: [own.id],
        authority: `${world.web.vips[0]?.ip}:80`,
      }),
    ).rejects.toThrow()
    expect(await world.line(/carried no tunnel/)).toContain('AMBIENT_E_')
    expect(world.tunnels).toEqual([])
  })
})

describe('a request that a policy refuses', () => {
  const onlyGet = policy('only-get', 'ALLOW', { methods: ['GET'] })

  it('is 403 in Istio’s words; line, log and record name policy and rule', async () => {
    const world = await createWorld({ policies: [policy('no-delete', 'DENY', { methods: ['DELETE'] })] })
    expect(await world.fetch('/a', { method: 'GET' })).toMatchObject({ status: 200 })
    const answer = await world.fetch('/secret?token=1', { method: 'DELETE' })
    expect(answer).toMatchObject({ status: 403, body: 'RBAC: access denied' })
    expect(await world.line(/"DELETE /)).toMatch(
      /"DELETE \/secret\?token=1 HTTP\/1\.1" 403 - rbac_access_denied_matched_policy\[ns\[default\]-policy\[no-delete\]-rule\[0\]\] - "-" 0 19 /,
    )
    const told = await world.line(/denied by policy/)
    expect(told).toMatch(/method="DELETE" path="\/secret" authority="web" policy="default\/no-delete" rule=0/)
    expect(world.requests.at(-1)).toMatchObject({
      status: 403,
      attempts: 0,
      denial: { by: { policy: 'default/no-delete', rule: 0 } },
    })
    expect(world.tunnels).toHaveLength(1)
    const metrics = await world.metrics()
    const refused = metrics
      .split('\n')
      .find(line => line.startsWith('istio_requests_total') && line.includes('response_code="403"'))
    expect(refused).toContain('destination_workload="unknown"')
    expect(refused).toContain('destination_service="web.default.svc.cluster.local"')
  })

  it('names every ALLOW that missed', async () => {
    const world = await createWorld({ policies: [onlyGet] })
    expect((await world.fetch('/', { method: 'PUT' })).status).toBe(403)
    expect(await world.line(/denied by policy/)).toContain(
      'policy="default/only-get" reason="allow policies exist, but none allowed"',
    )
  })

  it('is judged by the policies of now', async () => {
    const world = await createWorld({ policies: [onlyGet] })
    expect((await world.fetch('/', { method: 'PUT' })).status).toBe(403)
    world.store.set({ authorizationPolicies: [] })
    expect((await world.fetch('/', { method: 'PUT' })).status).toBe(200)
  })

  it('in JSON has policy and rule in the line itself', async () => {
    const world = await createWorld({
      policies: [policy('no-delete', 'DENY', { methods: ['DELETE'] })],
      env: { ACCESS_LOG_ENCODING: 'JSON' },
    })
    await world.fetch('/', { method: 'DELETE' })
    expect(JSON.parse(await world.line(/^\{.*"method":"DELETE"/))).toMatchObject({
      response_code: 403,
      upstream_host: null,
      policy: 'default/no-delete',
      rule: 0,
    })
  })

  it('is no HTTP: the connection ends, and nobody was dialled', async () => {
    const world = await createWorld({
      tcp: socket => socket.end(),
      policies: [policy('no-clients', 'DENY', { principals: ['cluster.local/ns/default/sa/client'] })],
    })
    const socket = (await world.tunnel()).socket()
    socket.write('\u0000\u0001')
    expect(await text(socket)).toBe('')
    socket.end()
    expect(await world.line(/"- - -"/)).toContain('policy[no-clients]')
    expect(world.tunnels).toEqual([])
  })
})
