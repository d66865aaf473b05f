/** What an application behind a waypoint learns of its caller: proven by tunnels, told by the waypoint, never by the caller. */
import { createServer, get, type IncomingHttpHeaders, type Server } from 'node:http'
import { parseSpiffeId } from '@ambient/core'
import { peersOf } from '@ambient/hbone'
import type { JoinedWorkload } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { afterEach, describe, expect, test } from 'vitest'

const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const MANIFEST = (annotations: string): string => `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: { istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop, annotations: ${annotations} }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec: { selector: { app: server }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`

async function start(annotations: string): Promise<{ mesh: TestMesh; client: JoinedWorkload }> {
  const mesh = await startTestMesh({ inProcess: true, manifests: { 'all.yaml': MANIFEST(annotations) } })
  cleanups.push(() => mesh.close())
  const [server, client] = await Promise.all([
    mesh.join({ namespace: 'shop', serviceAccount: 'server', ports: [8080], labels: { app: 'server' } }),
    mesh.join({ namespace: 'shop', serviceAccount: 'client' }),
  ])
  const http: Server = createServer((request, response) => response.end(JSON.stringify(request.headers)))
  cleanups.push(() => http.close())
  await new Promise<void>(resolve => http.listen(8080, server.address, resolve))
  await mesh.synced()
  return { mesh, client }
}

/** The header fields that arrive at the server. */
function seen(client: JoinedWorkload, headers: Record<string, string>): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    get({ host: 'server', agent: client.agent(), headers }, response => {
      let body = ''
      response.on('data', chunk => {
        body += String(chunk)
      })
      response.on('end', () => resolve(JSON.parse(body)))
    }).on('error', reject)
  })
}

const id = (account: string) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`)
const forged = 'By=spiffe://cluster.local/ns/shop/sa/waypoint;URI=spiffe://cluster.local/ns/shop/sa/admin'

/** As a program would read them that speaks HBONE itself: here the tunnel's peer is the waypoint. */
const peers = (headers: IncomingHttpHeaders) =>
  peersOf({
    immediate: id('waypoint'),
    forwardedClientCert: headers['x-forwarded-client-cert']?.toString(),
    waypoints: [id('waypoint')],
  })

describe('the caller behind a waypoint', () => {
  test('is told by a Gateway that is asked to, whatever the caller says', async () => {
    const { client } = await start('{ ambient.istio.io/xfcc-include-client-identity: "true" }')
    const headers = await seen(client, { 'x-forwarded-client-cert': forged })
    expect(peers(headers)).toEqual({ immediate: id('waypoint'), original: id('client') })
  })

  test('is not told by one that is not, and the caller’s own word is taken away', async () => {
    const { client } = await start('{}')
    const headers = await seen(client, { 'x-forwarded-client-cert': forged })
    expect(headers).not.toHaveProperty('x-forwarded-client-cert')
    expect(peers(headers).original).toBeUndefined()
  })
})
