/**
 * Envoy as the source of tunnels to our waypoint: a TCP proxy with `tunneling_config`, a certificate of our CA, everything on
 * loopback. Needs an Envoy binary: ENVOY=path/to/envoy.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { afterEach, describe, expect, it } from 'vitest'

const envoy = process.env['ENVOY'] ?? ''
const cleanups: (() => unknown)[] = []
const MIB = 1024 * 1024

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const SERVER = `
import http from 'node:http'
http.createServer((request, response) => {
  const bytes = /^\\/bytes\\/(\\d+)$/.exec(request.url)
  if (bytes) return response.end(Buffer.alloc(Number(bytes[1]), 'a'))
  response.end(JSON.stringify({ path: request.url, headers: request.headers }))
}).listen(8080)
`

const MANIFEST = `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: { istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: server, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec:
  selector: { app: server }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: server, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  template:
    metadata: { labels: { app: server } }
    spec:
      serviceAccountName: server
      containers:
        - name: main
          image: none
          command: [node, server.mjs]
          ports: [{ containerPort: 8080 }]
          readinessProbe: { tcpSocket: { port: 8080 } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-delete, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: server }]
  action: DENY
  rules:
    - to: [{ operation: { paths: [/secret*] } }]
      from: [{ source: { principals: [cluster.local/ns/shop/sa/envoy] } }]
`

async function startMesh(): Promise<TestMesh> {
  const mesh = await startTestMesh({ manifests: { 'all.yaml': MANIFEST, 'server.mjs': SERVER } })
  cleanups.push(() => mesh.close())
  return mesh
}

/** The service's address, from what a ztunnel knows. */
async function vipOf(mesh: TestMesh, name: string): Promise<string> {
  const response = await fetch(`${mesh.nodes[0]?.adminUrl}/config_dump`)
  const { services } = (await response.json()) as { services: { name: string; vips: string[] }[] }
  return (
    services
      .find(service => service.name === name)
      ?.vips[0]?.split('/')
      .at(-1) ?? ''
  )
}

/** An Envoy whose listener leads into tunnels for `authority`; resolves to its port. */
async function startEnvoy(mesh: TestMesh, authority: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-envoy-'))
  cleanups.push(() => rm(folder, { recursive: true, force: true }))
  const identity = await mesh.issueIdentity({ namespace: 'shop', serviceAccount: 'envoy' })
  await writeFile(join(folder, 'cert.pem'), identity.certificateChain)
  await writeFile(join(folder, 'key.pem'), identity.privateKey, { mode: 0o600 })
  await writeFile(join(folder, 'root.pem'), identity.rootPem)
  const waypoint = mesh.waypoint('shop/waypoint')
  const config = join(folder, 'envoy.json')
  await writeFile(config, JSON.stringify(bootstrap({ folder, authority, waypoint: waypoint.address })))
  const child: ChildProcess = spawn(
    envoy,
    [
      '-c',
      config,
      '--admin-address-path',
      join(folder, 'admin'),
      '--use-dynamic-base-id',
      '--concurrency',
      '1',
      '-l',
      'error',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  cleanups.push(async () => {
    if (child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return listenerPort(join(folder, 'admin'))
}

function bootstrap({
  folder,
  authority,
  waypoint,
}: {
  folder: string
  authority: string
  waypoint: string
}): unknown {
  const loopback = { socket_address: { address: '127.0.0.1', port_value: 0 } }
  const type = (name: string): string => `type.googleapis.com/${name}`
  const tcpProxy = {
    '@type': type('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
    stat_prefix: 'front',
    cluster: 'waypoint',
    tunneling_config: { hostname: authority },
  }
  const tls = {
    '@type': type('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
      alpn_protocols: ['h2'],
      tls_certificates: [
        {
          certificate_chain: { filename: join(folder, 'cert.pem') },
          private_key: { filename: join(folder, 'key.pem') },
        },
      ],
      validation_context: {
        trusted_ca: { filename: join(folder, 'root.pem') },
        match_typed_subject_alt_names: [
          { san_type: 'URI', matcher: { exact: 'spiffe://cluster.local/ns/shop/sa/waypoint' } },
        ],
      },
    },
  }
  const http2 = {
    '@type': type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
    explicit_http_config: { http2_protocol_options: { allow_connect: true } },
  }
  const endpoint = { address: { socket_address: { address: waypoint, port_value: 15008 } } }
  return {
    admin: { address: loopback },
    static_resources: {
      listeners: [
        {
          name: 'front',
          address: loopback,
          filter_chains: [{ filters: [{ name: 'envoy.filters.network.tcp_proxy', typed_config: tcpProxy }] }],
        },
      ],
      clusters: [
        {
          name: 'waypoint',
          type: 'STATIC',
          connect_timeout: '5s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2,
          },
          load_assignment: { cluster_name: 'waypoint', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
          transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: tls },
        },
      ],
    },
  }
}

async function listenerPort(adminFile: string): Promise<number> {
  const admin = await expect
    .poll(() => readFile(adminFile, 'utf8').catch(() => ''), { timeout: 15_000 })
    .not.toBe('')
    .then(() => readFile(adminFile, 'utf8'))
  const response = await fetch(`http://${admin.trim()}/listeners?format=json`)
  const { listener_statuses: listeners } = (await response.json()) as {
    listener_statuses: { local_address: { socket_address: { port_value: number } } }[]
  }
  return listeners[0]?.local_address.socket_address.port_value ?? 0
}

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

function ask(port: number, path: string, agent?: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, ...(agent === undefined ? {} : { agent }) }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      )
    }).on('error', reject)
  })
}

/** Opens a connection through Envoy, says a little, and resets it. */
async function cutShort(port: number): Promise<void> {
  const socket: Socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('GET /bytes/100000 HTTP/1.1\r\nhost: x\r\n')
  await new Promise(resolve => setImmediate(resolve))
  socket.resetAndDestroy()
}

const why = envoy === '' ? ' (skipped: ENVOY is not set)' : ''

describe('Envoy in front of our waypoint', () => {
  it.skipIf(envoy === '')(
    `requests, policy and bulk bytes through its tunnels${why}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await startMesh()
      const port = await startEnvoy(mesh, `${await vipOf(mesh, 'server')}:80`)

      const answer = await ask(port, '/hello')
      expect(answer).toMatchObject({ status: 200, headers: { server: 'istio-envoy' } })
      expect(JSON.parse(String(answer.body))).toMatchObject({ path: '/hello' })

      const denied = await ask(port, '/secret/of/the/shop')
      expect(denied.status).toBe(403)
      expect(String(denied.body)).toBe('RBAC: access denied')

      const bulk = await ask(port, `/bytes/${20 * MIB}`)
      expect(createHash('sha256').update(bulk.body).digest('hex')).toBe(
        createHash('sha256')
          .update(Buffer.alloc(20 * MIB, 'a'))
          .digest('hex'),
      )
    },
  )

  it.skipIf(envoy === '')(
    `many tunnels that are cut short leave their neighbours alone${why}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await startMesh()
      const port = await startEnvoy(mesh, `${await vipOf(mesh, 'server')}:80`)
      const neighbour = new Agent({ keepAlive: true, maxSockets: 1 })
      cleanups.push(() => neighbour.destroy())
      for (let round = 0; round < 10; round++) {
        await Promise.all(Array.from({ length: 50 }, () => cutShort(port)))
        expect((await ask(port, '/still/there', neighbour)).status).toBe(200)
      }
    },
  )
})
