/** The whole path of HTTP: HBONE in, rooms 6 to 10, HBONE out, and what is told of it. */
import { readRecorded } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { policy } from './process-fixtures.ts'
import { createWorld } from './world.ts'

describe('a workload behind the waypoint', () => {
  it('is reached at the address and port that were asked for', async () => {
    const world = await createWorld()
    const { waypoint } = world.web
    const server = { ...world.server, ...(waypoint === undefined ? {} : { waypoint }) }
    world.directory.apply({ workloads: [server] })
    const authority = `${server.addresses[0]}:${world.web.ports.get(80)}`
    expect(await world.fetch('/', { authority })).toMatchObject({ status: 200, body: 'hello' })
    expect(await world.line(/"GET /)).toContain(` inbound-vip|${authority.split(':')[1]}|http|${authority} `)
    expect(await world.metrics()).toMatch(/destination_workload="server".*destination_service="unknown"/)
    await expect(world.tunnel({ authority: `${server.addresses[0]}:15008` })).rejects.toMatchObject({
      status: 503,
    })
  })
})

describe('a request', () => {
  it('goes through the waypoint with the waypoint’s identity, and is one line, one record', async () => {
    const world = await createWorld({
      app: (request, response) =>
        void response.end(`${request.method} ${request.url} ${request.headers.host}`),
    })
    const answer = await world.fetch('/hello?x=1', { fields: { 'x-request-id': 'id-1' } })
    expect(answer).toMatchObject({ status: 200, body: 'GET /hello?x=1 web' })
    expect(answer.headers['server']).toBe('istio-envoy')
    const line = await world.line(/"GET /)
    const [clientIp] = world.client.addresses
    const [serverIp] = world.server.addresses
    const vip = world.web.vips[0]?.ip
    const port = world.web.ports.get(80)
    expect(line.replace(/^\[[^\]]+\]/, '[TIME]').replace(/ 0 18 \d+ \d+ /, ' 0 18 D U ')).toMatch(
      new RegExp(
        `^\\[TIME\\] "GET /hello\\?x=1 HTTP/1\\.1" 200 - via_upstream - "-" 0 18 D U "-" "test" "id-1" "web" "${serverIp}:${port}" inbound-vip\\|80\\|http\\|web\\.default\\.svc\\.cluster\\.local - ${vip}:80 ${clientIp}:\\d+ - default src.workload="client" src.namespace="default" src.identity="spiffe://cluster.local/ns/default/sa/client" src.cluster="Kubernetes" dst.service="web.default.svc.cluster.local"$`,
      ),
    )
    expect(world.tunnels.map(({ peer, authority }) => [peer.id.uri, authority])).toEqual([
      ['spiffe://cluster.local/ns/default/sa/waypoint', `${serverIp}:${port}`],
    ])
    expect(world.requests).toHaveLength(1)
    expect(world.requests[0]).toMatchObject({
      status: 200,
      attempts: 1,
      caller: { uri: 'spiffe://cluster.local/ns/default/sa/client' },
    })
  })

  it.each(['TEXT', 'JSON'])('is a line that policies can be suggested from: %s', async encoding => {
    const world = await createWorld({
      env: { ACCESS_LOG_ENCODING: encoding },
      policies: [policy('no', 'DENY', { paths: ['/no'] })],
    })
    await world.fetch('/a"b?x=1', {
      method: 'POST',
      body: 'x',
      fields: { 'user-agent': 'x" dst.service="y' },
    })
    await world.fetch('/no')
    await world.line(/"GET \/no |"path":"\/no"/)
    const [address = ''] = world.client.addresses
    const log = world.lines().filter(line => /^\[|"start_time"/.test(line))
    expect(readRecorded(log.join('\n'), 'waypoint.log')).toEqual({
      requests: [
        {
          source: { principal: 'cluster.local/ns/default/sa/client', ip: address },
          destination: {
            namespace: 'default',
            service: 'default/web',
            ip: world.web.vips[0]?.ip,
            port: 80,
          },
          http: { method: 'POST', authority: 'web', path: '/a%22b?x=1' },
        },
      ],
      passedOver: 1,
    })
  })
})
