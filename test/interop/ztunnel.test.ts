/**
 * Our ztunnel and Istio's stand in for one another, in both roles, with our control plane and CA. Every pairing runs in two
 * network namespaces of its own. Needs root, Linux, iproute2, and the real ztunnel: ISTIO_ZTUNNEL=path/to/ztunnel.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { atEnd, awaitReady, canMakeHosts, curlOn, endHosts, makeHosts, run, startOn } from './hosts.ts'
import { type Make, theirs, ztunnelCommand, ztunnelEnvironment } from './ztunnels.ts'

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures')
const CLIENT_IP = '10.99.0.1'
const SERVER_IP = '10.99.0.2'
const SERVICE_IP = '10.96.0.80'

/** A curl that can tunnel through an HTTP/2 proxy (8.1 and newer); CURL=path chooses another one. */
const curl8 = process.env['CURL'] ?? 'curl'
const canTunnel = await run(curl8, ['--version']).then(
  ({ stdout }) =>
    Number(/^curl (\d+)/.exec(stdout)?.[1] ?? 0) >= 8 && /HTTP2/.test(stdout) && /HTTPS-proxy/.test(stdout),
  () => false,
)

afterEach(endHosts)

async function meshOf(client: Make, server: Make, hasRotatingCa = false) {
  const hosts = await makeHosts({ client: CLIENT_IP, server: SERVER_IP })
  const folder = mkdtempSync(join(tmpdir(), 'ambient-interop-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const plane = startOn(hosts.client, [
    process.execPath,
    join(fixtures, 'plane.mjs'),
    CLIENT_IP,
    CLIENT_IP,
    SERVER_IP,
    folder,
    ...(hasRotatingCa ? [join(folder, 'ca')] : []),
  ])
  const app = startOn(hosts.server, [process.execPath, join(fixtures, 'app.mjs'), SERVER_IP])
  await Promise.all([plane.saw(/^ready/), app.saw(/^ready/)])
  const environment = (name: string, ip: string): Record<string, string> =>
    ztunnelEnvironment(name, folder, { plane: CLIENT_IP, ip })
  const source = startOn(hosts.client, ztunnelCommand(client), environment('client', CLIENT_IP))
  const destination = startOn(hosts.server, ztunnelCommand(server), environment('server', SERVER_IP))
  await Promise.all([awaitReady(hosts.client, source), awaitReady(hosts.server, destination)])
  return { hosts, folder, source, destination }
}

const pairings = [
  { client: 'ours', server: 'ours' },
  { client: 'ours', server: 'theirs' },
  { client: 'theirs', server: 'ours' },
] as const

describe('ztunnel interop', () => {
  const noCurl = !canMakeHosts
    ? ' (skipped: needs root on Linux with iproute2)'
    : canTunnel
      ? ''
      : ' (skipped: needs curl 8.1 or newer with HTTP/2 and HTTPS proxies)'
  it.skipIf(noCurl !== '')(
    `curl tunnels through our ztunnel’s 15008${noCurl}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await meshOf('ours', 'ours')
      const tunnel = [
        'netns',
        'exec',
        mesh.hosts.client,
        curl8,
        '-sS',
        '-m',
        '10',
        '--proxytunnel',
        '--proxy-http2',
        '--proxy-insecure',
        '--proxy',
        `https://${SERVER_IP}:15008`,
      ]
      const certificate = [
        '--proxy-cert',
        join(mesh.folder, 'client.pem'),
        '--proxy-key',
        join(mesh.folder, 'client.key'),
      ]
      const { stdout } = await run('ip', [...tunnel, ...certificate, `http://${SERVER_IP}:8080/`])
      expect(stdout).toMatch(/^hello/)
      // curl does not show the status of a refused HTTP/2 tunnel; the destination's ledger does.
      await expect(run('ip', [...tunnel, ...certificate, `http://${SERVER_IP}:8081/`])).rejects.toMatchObject(
        { code: 56 },
      )
      await mesh.destination.saw(/policy rejection: explicitly denied by: default\/deny-8081/)
      await expect(run('ip', [...tunnel, `http://${SERVER_IP}:8080/`])).rejects.toThrow()
      await mesh.destination.saw(
        /connection complete.*src.identity="spiffe:\/\/cluster.local\/ns\/default\/sa\/client"/,
      )
    },
  )

  for (const { client, server } of pairings) {
    const usesTheirs = client === 'theirs' || server === 'theirs'
    const why = !canMakeHosts
      ? ' (skipped: needs root on Linux with iproute2)'
      : usesTheirs && theirs === ''
        ? ' (skipped: ISTIO_ZTUNNEL is not set)'
        : ''
    it.skipIf(why !== '')(
      `${client} as source, ${server} as destination${why}`,
      { timeout: 90_000 },
      async () => {
        const mesh = await meshOf(client, server)
        const proxy = ['-x', 'socks5://127.0.0.1:15080']

        const byPod = await curlOn(mesh.hosts.client, ...proxy, `http://${SERVER_IP}:8080/`)
        expect(byPod).toEqual({ code: 0, out: expect.stringMatching(/^hello 10\.99\.0\.\d 0\n$/) })
        const byService = await curlOn(mesh.hosts.client, ...proxy, `http://${SERVICE_IP}/`)
        expect(byService.out).toMatch(/^hello/)
        const download = await curlOn(
          mesh.hosts.client,
          ...proxy,
          '-o',
          '/dev/null',
          '-w',
          '%{size_download}',
          `http://${SERVICE_IP}/bytes/20000000`,
        )
        expect(download).toEqual({ code: 0, out: '20000000' })
        const denied = await curlOn(mesh.hosts.client, ...proxy, `http://${SERVER_IP}:8081/`)
        expect(denied.code).not.toBe(0)

        const allowedLine = await mesh.destination.saw(/connection complete.*direction="inbound"/)
        expect(allowedLine).toContain('src.identity="spiffe://cluster.local/ns/default/sa/client"')
        const deniedLine = await mesh.destination.saw(/policy rejection/)
        expect(deniedLine).toContain('default/deny-8081')
        const outbound = await mesh.source.saw(/connection complete.*direction="outbound"/)
        expect(outbound).toContain('dst.identity="spiffe://cluster.local/ns/default/sa/server"')
      },
    )
  }

  const noRotation = !canMakeHosts
    ? ' (skipped: needs root on Linux with iproute2)'
    : theirs === ''
      ? ' (skipped: ISTIO_ZTUNNEL is not set)'
      : ''
  it.skipIf(noRotation !== '')(
    `theirs takes certificates of an intermediate, with two roots${noRotation}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await meshOf('theirs', 'ours', true)
      const proxy = ['-x', 'socks5://127.0.0.1:15080']
      const answer = await curlOn(mesh.hosts.client, ...proxy, `http://${SERVER_IP}:8080/`)
      expect(answer).toEqual({ code: 0, out: expect.stringMatching(/^hello/) })
      const dump = JSON.parse((await curlOn(mesh.hosts.client, 'http://127.0.0.1:15000/config_dump')).out)
      const [own] = dump.certificates
      expect(own).toMatchObject({
        identity: 'spiffe://cluster.local/ns/default/sa/client',
        state: 'Available',
      })
      // Leaf and intermediate, and both roots.
      expect([own.certChain.length, own.rootCerts.length]).toEqual([2, 2])
    },
  )
})
