/** TCP through a waypoint: guard before dialling, 200 after it, one line and one record. */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { AuthorizationPolicy } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { policy } from './process-fixtures.ts'
import { createWorld, loopbackAddress } from './world.ts'

describe('a port that declares TCP', () => {
  it('lets the server speak first', async () => {
    const world = await createWorld({ protocol: 'TCP', tcp: socket => socket.end('220 welcome\n') })
    const socket = (await world.tunnel()).socket()
    socket.end('QUIT\n')
    expect(await text(socket)).toBe('220 welcome\n')
    const line = await world.line(/"- - -"/)
    const vip = world.web.vips[0]?.ip
    const port = world.web.ports.get(80)
    expect(line.replace(/^\[[^\]]+\]/, '[TIME]').replace(/ 5 12 \d+ /, ' 5 12 D ')).toMatch(
      new RegExp(
        `^\\[TIME\\] "- - -" 0 - - - "-" 5 12 D - "-" "-" "-" "-" "${world.server.addresses[0]}:${port}" inbound-vip\\|80\\|tcp\\|web\\.default\\.svc\\.cluster\\.local - ${vip}:80 ${world.client.addresses[0]}:\\d+ - default src.workload="client" src.namespace="default" src.identity="spiffe://cluster.local/ns/default/sa/client" src.cluster="Kubernetes" dst.service="web.default.svc.cluster.local"$`,
      ),
    )
    expect(world.connections).toHaveLength(1)
    expect(world.connections[0]).toMatchObject({ receivedBytes: 5, sentBytes: 12, flag: '-' })
    expect(world.requests).toEqual([])
    const metrics = await world.metrics()
    const counted = (name: string) =>
      metrics.split('\n').find(line => line.startsWith(name) && line.includes('request_protocol="tcp"'))
    expect(counted('istio_tcp_connections_opened_total{reporter="waypoint"')).toMatch(/ 1$/)
    expect(counted('istio_tcp_connections_closed_total')).toMatch(/ 1$/)
    expect(counted('istio_tcp_received_bytes_total')).toMatch(/ 5$/)
    expect(counted('istio_tcp_sent_bytes_total')).toMatch(/ 12$/)
    expect(counted('istio_tcp_sent_bytes_total')).toContain('destination_workload="server"')
  })

  it('is refused by policy before anybody is dialled, and the record names the rule', async () => {
    const world = await createWorld({
      protocol: 'TCP',
      tcp: socket => socket.end(),
      policies: [policy('no-clients', 'DENY', { principals: ['cluster.local/ns/default/sa/client'] })],
    })
    await expect(world.tunnel()).rejects.toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED', status: 401 })
    expect(await world.line(/"- - -"/)).toContain(
      'rbac_access_denied_matched_policy[ns[default]-policy[no-clients]-rule[0]]',
    )
    expect(await world.line(/denied by policy/)).toMatch(/policy="default\/no-clients" rule=0/)
    expect(world.connections).toMatchObject([
      { flag: 'DENY', denial: { by: { policy: 'default/no-clients' } } },
    ])
    expect(world.tunnels).toEqual([])
  })

  it('is cut when a later policy no longer allows it', async () => {
    const world = await createWorld({ protocol: 'TCP', tcp: socket => socket.write('hello') })
    const socket = (await world.tunnel()).socket()
    await once(socket, 'data')
    const failed = once(socket, 'error')
    const deny = policy('no-clients', 'DENY', { principals: ['cluster.local/ns/default/sa/client'] })
    world.store.set({ authorizationPolicies: [deny as AuthorizationPolicy & { source: never }] })
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(await world.line(/denied by policy/)).toContain('policy="default/no-clients"')
    expect(world.connections).toMatchObject([
      { flag: 'DENY', error: 'connection closed due to policy change' },
    ])
  })

  it('that nobody serves is 503', async () => {
    const world = await createWorld({ protocol: 'TCP', tcp: socket => socket.end() })
    world.directory.apply({
      workloads: [{ ...world.server, addresses: [loopbackAddress()] }],
    })
    await expect(world.tunnel()).rejects.toMatchObject({ status: 503 })
    expect(await world.line(/"- - -"/)).toMatch(/"- - -" 0 UF/)
  })
})

describe('a port that says nothing', () => {
  it('takes bytes that are no HTTP as TCP', async () => {
    const world = await createWorld({ tcp: socket => socket.pipe(socket) })
    const socket = (await world.tunnel()).socket()
    socket.end('\u0000\u0001binary')
    expect(await text(socket)).toBe('\u0000\u0001binary')
    expect(await world.line(/"- - -"/)).toContain('inbound-vip|80|tcp|')
    expect(world.connections).toHaveLength(1)
  })
})
