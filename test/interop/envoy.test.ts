/**
 * Envoy as the source of tunnels to our waypoint: a TCP proxy with `tunneling_config`, a certificate of our CA, everything on
 * loopback. Needs an Envoy binary: ENVOY=path/to/envoy.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { noEnvoy, startEnvoy } from './hbone-envoy.ts'

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
async function startFront(mesh: TestMesh, authority: string): Promise<number> {
  const { certificateChain, privateKey, rootPem } = await mesh.issueIdentity({
    namespace: 'shop',
    serviceAccount: 'envoy',
  })
  const { port, stop } = await startEnvoy({
    ...{ certificateChain, privateKey, trustBundle: rootPem, authority },
    expect: 'spiffe://cluster.local/ns/shop/sa/waypoint',
    role: 'source',
    to: { address: mesh.waypoint('shop/waypoint').address, port: 15008 },
  })
  cleanups.push(stop)
  return port
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

describe('Envoy in front of our waypoint', () => {
  it.skipIf(noEnvoy !== '')(
    `requests, policy and bulk bytes through its tunnels${noEnvoy}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await startMesh()
      const port = await startFront(mesh, `${await vipOf(mesh, 'server')}:80`)

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

  it.skipIf(noEnvoy !== '')(
    `many tunnels that are cut short leave their neighbours alone${noEnvoy}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await startMesh()
      const port = await startFront(mesh, `${await vipOf(mesh, 'server')}:80`)
      const neighbour = new Agent({ keepAlive: true, maxSockets: 1 })
      cleanups.push(() => neighbour.destroy())
      for (let round = 0; round < 10; round++) {
        await Promise.all(Array.from({ length: 50 }, () => cutShort(port)))
        expect((await ask(port, '/still/there', neighbour)).status).toBe(200)
      }
    },
  )
})
