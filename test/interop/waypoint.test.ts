/**
 * Our waypoint between two ztunnels, Istio's and ours, each on a host of its own. Needs root, Linux, iproute2, and the real
 * ztunnel: ISTIO_ZTUNNEL=path/to/ztunnel.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { atEnd, awaitReady, canMakeHosts, curlOn, endHosts, makeHosts, startOn } from './hosts.ts'

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures')
const require = createRequire(import.meta.url)
const binOf = (name: string): string =>
  join(dirname(require.resolve(`@ambient/${name}/package.json`)), 'dist', 'bin.js')
const theirs = process.env['ISTIO_ZTUNNEL'] ?? ''
const addresses = { client: '10.99.0.1', waypoint: '10.99.0.3', server: '10.99.0.2' } as const
const SERVICE_IP = '10.96.0.80'
const PLANE = `https://${addresses.client}:15012`
const PROXY = ['-x', 'socks5://127.0.0.1:15080']

const MANIFESTS = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: default }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: default, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: server }
  ports:
    - { name: http, port: 80, targetPort: 8080 }
    - { name: tcp, port: 81, targetPort: 8081 }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: default }
spec:
  hosts: [server]
  http:
    - match: [{ uri: { prefix: /gone } }]
      fault: { abort: { httpStatus: 410, percentage: { value: 100 } } }
      route: [{ destination: { host: server, port: { number: 80 } } }]
    - route: [{ destination: { host: server, port: { number: 80 } } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-delete, namespace: default }
spec:
  targetRefs: [{ group: "", kind: Service, name: server }]
  action: DENY
  rules:
    - from: [{ source: { principals: [cluster.local/ns/default/sa/client] } }]
      to: [{ operation: { methods: [DELETE], ports: ["80"] } }]
`

afterEach(endHosts)

function environment(name: keyof typeof addresses, folder: string): Record<string, string> {
  return {
    POD_NAME: name,
    POD_NAMESPACE: 'default',
    SERVICE_ACCOUNT: name,
    INSTANCE_IP: addresses[name],
    NODE_NAME: name,
    XDS_ADDRESS: PLANE,
    CA_ADDRESS: PLANE,
    XDS_ROOT_CA: join(folder, 'root.pem'),
    CA_ROOT_CA: join(folder, 'root.pem'),
    AUTH_TOKEN: `token-${name}`,
  }
}

function ztunnelEnvironment(name: 'client' | 'server', folder: string): Record<string, string> {
  return {
    ...environment(name, folder),
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: `default/${name}/${name}`,
    UNSTABLE_ENABLE_SOCKS5: 'true',
    ISTIO_META_DNS_CAPTURE: 'false',
    IPV6_ENABLED: 'false',
    ENABLE_ORIG_SRC: 'false',
    ZTUNNEL_WORKER_THREADS: '1',
    RUST_LOG: 'info',
  }
}

async function meshOf(client: 'ours' | 'theirs', server: 'ours' | 'theirs') {
  const hosts = await makeHosts(addresses)
  const folder = mkdtempSync(join(tmpdir(), 'ambient-interop-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const manifests = join(folder, 'manifests.yaml')
  writeFileSync(manifests, MANIFESTS)
  const { client: first, waypoint: second, server: third } = addresses
  const plane = startOn(hosts.client, [
    process.execPath,
    join(fixtures, 'waypoint-plane.mjs'),
    first,
    first,
    second,
    third,
    folder,
    manifests,
  ])
  const app = startOn(hosts.server, [process.execPath, join(fixtures, 'app.mjs'), third])
  await Promise.all([plane.saw(/^ready/), app.saw(/^ready/)])
  const ztunnel = (which: 'ours' | 'theirs', name: 'client' | 'server') =>
    startOn(
      hosts[name],
      which === 'ours' ? [process.execPath, binOf('ztunnel')] : [theirs, 'proxy'],
      ztunnelEnvironment(name, folder),
    )
  const source = ztunnel(client, 'client')
  const destination = ztunnel(server, 'server')
  const waypoint = startOn(hosts.waypoint, [process.execPath, binOf('waypoint')], {
    ...environment('waypoint', folder),
    GATEWAY_NAME: 'waypoint',
  })
  await Promise.all([awaitReady(hosts.client, source), awaitReady(hosts.server, destination)])
  const url = `http://${addresses.waypoint}:15021/healthz/ready`
  await expect.poll(async () => (await curlOn(hosts.waypoint, '-f', url)).code, { timeout: 15_000 }).toBe(0)
  return { hosts, source, destination, waypoint }
}

const pairings = [
  { client: 'theirs', server: 'theirs' },
  { client: 'ours', server: 'theirs' },
  { client: 'theirs', server: 'ours' },
  { client: 'ours', server: 'ours' },
] as const

describe('our waypoint between ztunnels', () => {
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
        const { hosts, destination, waypoint } = await meshOf(client, server)
        const ask = (...args: string[]) => curlOn(hosts.client, ...PROXY, ...args)

        const answer = await ask('-i', `http://${SERVICE_IP}/`)
        expect(answer.out).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
        expect(answer.out).toMatch(/\r\nserver: istio-envoy\r\n/)
        expect(answer.out).toContain('hello')

        const gone = await ask('-i', `http://${SERVICE_IP}/gone`)
        expect(gone.out).toMatch(/^HTTP\/1\.1 410 /)
        const denied = await ask('-i', '-X', 'DELETE', `http://${SERVICE_IP}/`)
        expect(denied.out).toMatch(/^HTTP\/1\.1 403 /)
        expect(denied.out).toMatch(/RBAC: access denied$/)
        await waypoint.saw(/rbac_access_denied_matched_policy\[ns\[default\]-policy\[no-delete\]-rule\[0\]\]/)

        const bulk = await ask(
          '-o',
          '/dev/null',
          '-w',
          '%{size_download}',
          `http://${SERVICE_IP}/bytes/20000000`,
        )
        expect(bulk).toEqual({ code: 0, out: '20000000' })
        const tcp = await ask(`http://${SERVICE_IP}:81/`)
        expect(tcp.out).toMatch(/^hello/)
        expect(tcp.out).not.toContain('istio-envoy')

        // Past the waypoint, to the pod itself: only the waypoint may.
        const around = await ask(`http://${addresses.server}:8080/`)
        expect(around.code).not.toBe(0)
        await destination.saw(/policy rejection/)
        await destination.saw(/src\.identity="spiffe:\/\/cluster\.local\/ns\/default\/sa\/waypoint"/)
      },
    )
  }
})
