/**
 * HBONE in HBONE between our ztunnel and Istio's, in both roles, through an east-west gateway of ours. Every pairing runs in
 * three network namespaces of its own. Needs root, Linux, iproute2, and the real ztunnel: ISTIO_ZTUNNEL=path/to/ztunnel.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { atEnd, awaitReady, canMakeHosts, curlOn, endHosts, makeHosts, startOn } from './hosts.ts'
import { type Make, theirs, ztunnelCommand, ztunnelEnvironment } from './ztunnels.ts'

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures')
const CLIENT_IP = '10.99.0.1'
const SERVER_IP = '10.99.0.2'
const GATEWAY_IP = '10.99.0.3'
const SERVICE = 'http://10.96.0.80'

afterEach(endHosts)

async function networksOf(client: Make, server: Make) {
  const hosts = await makeHosts({ client: CLIENT_IP, server: SERVER_IP, gateway: GATEWAY_IP })
  const folder = mkdtempSync(join(tmpdir(), 'ambient-interop-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const program = (name: string): string[] => [process.execPath, join(fixtures, name)]
  const plane = startOn(hosts.client, [
    ...program('networks-plane.mjs'),
    ...[CLIENT_IP, CLIENT_IP, SERVER_IP, GATEWAY_IP, folder],
  ])
  const app = startOn(hosts.server, [...program('app.mjs'), SERVER_IP])
  await Promise.all([plane.saw(/^ready/), app.saw(/^ready/)])
  const gateway = startOn(hosts.gateway, [...program('gateway.mjs'), GATEWAY_IP, SERVER_IP, folder])
  const environment = (name: string, ip: string, network: string): Record<string, string> => ({
    ...ztunnelEnvironment(name, folder, { plane: CLIENT_IP, ip }),
    NETWORK: network,
  })
  const source = startOn(hosts.client, ztunnelCommand(client), environment('client', CLIENT_IP, 'net1'))
  const destination = startOn(hosts.server, ztunnelCommand(server), environment('server', SERVER_IP, 'net2'))
  await Promise.all([
    gateway.saw(/^ready/),
    awaitReady(hosts.client, source),
    awaitReady(hosts.server, destination),
  ])
  return { hosts, gateway, source, destination }
}

const pairings: readonly { readonly client: Make; readonly server: Make }[] = [
  { client: 'ours', server: 'ours' },
  { client: 'ours', server: 'theirs' },
  { client: 'theirs', server: 'ours' },
]

describe('another network', () => {
  for (const { client, server } of pairings) {
    const usesTheirs = client === 'theirs' || server === 'theirs'
    const why = !canMakeHosts
      ? ' (skipped: needs root on Linux with iproute2)'
      : usesTheirs && theirs === ''
        ? ' (skipped: ISTIO_ZTUNNEL is not set)'
        : ''
    it.skipIf(why !== '')(
      `is reached through a gateway by ${client}, answered by ${server}${why}`,
      { timeout: 90_000 },
      async () => {
        const { hosts, gateway, source, destination } = await networksOf(client, server)
        const proxy = ['-x', 'socks5://127.0.0.1:15080']
        const first = await curlOn(hosts.client, ...proxy, `${SERVICE}/`)
        expect(first).toEqual({ code: 0, out: expect.stringMatching(/^hello /) })
        const size = ['-o', '/dev/null', '-w', '%{size_download}']
        const download = await curlOn(hosts.client, ...proxy, ...size, `${SERVICE}/bytes/20000000`)
        expect(download).toEqual({ code: 0, out: '20000000' })

        const client_ = 'spiffe://cluster.local/ns/default/sa/client'
        const crossing = await gateway.saw(/^crossing/)
        expect(crossing).toBe(
          `crossing ${client_} to server.default.svc.cluster.local:80 with baggage forwarded traceparent`,
        )
        // Ours shares a session within the outer tunnel; Istio's opens one for each connection.
        const crossings = gateway.lines.filter(line => line.startsWith('crossing'))
        expect(crossings).toHaveLength(client === 'ours' ? 1 : 2)

        const outbound = await source.saw(/connection complete.*direction="outbound"/)
        expect(outbound).toContain(`dst.addr=${GATEWAY_IP}:15008`)
        expect(outbound).toContain('dst.hbone_addr=server.default.svc.cluster.local:80')
        expect(outbound).toContain('dst.identity="spiffe://cluster.local/ns/default/sa/server"')
        expect(outbound).toContain('dst.workload="server"')
        const inbound = await destination.saw(/connection complete.*direction="inbound"/)
        expect(inbound).toContain(`src.identity="${client_}"`)
        // Said by the caller: whoever is at that address in this network is somebody else.
        expect(inbound).toContain('src.workload="client"')
      },
    )
  }
})
