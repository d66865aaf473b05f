/** The middleware behind tunnels: the peer is the one that HBONE proved. */
import { createHboneServer } from '@ambient/hbone'
import { createHttpTunnelHandler } from '@ambient/hbone/http'
import { createHboneFetch } from '@ambient/hbone/undici'
import { createHbonePool, tunnelsVia } from '@ambient/hbone'
import { listen } from '@ambient/core/node'
import { parsePolicies } from '@ambient/policy'
import { meshAuth } from '@ambient/policy/http'
import { createServer } from 'node:http'
import { expect, it } from 'vitest'
import { callers, server as own } from './middleware-servers.ts'

const policy = parsePolicies(
  `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/client/sa/alice]}}]
`,
  'test.yaml',
)

it('judges whom the tunnel proved, and nobody who only says so', async () => {
  const guard = meshAuth({ policy, workload: { namespace: 'shop' } })
  const http = createServer((request, response) =>
    guard(request, response, () => response.end(JSON.stringify(Reflect.get(request, 'peer')))),
  )
  const handler = createHttpTunnelHandler(http)
  const server = createHboneServer({ credentials: () => own, onTunnel: handler })
  const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  const pool = createHbonePool()
  const as = (who: typeof own) =>
    createHboneFetch({
      open: tunnelsVia({
        pool,
        credentials: () => who,
        to: { address: '127.0.0.1', port: port.port },
        expect: [own.id],
      }),
      connections: 1,
    })
  const [alice, mallory] = [as(callers.alice), as(callers.mallory)]
  const allowed = await alice('http://web/')
  expect([allowed.status, await allowed.json()]).toMatchObject([
    200,
    { spiffeId: callers.alice.id.uri, serviceAccount: 'alice', via: 'hbone' },
  ])
  const headers = { 'x-forwarded-client-cert': `By=${own.id.uri};URI=${callers.alice.id.uri}` }
  const refused = await mallory('http://web/', { headers })
  expect([refused.status, await refused.text()]).toEqual([403, 'RBAC: access denied'])
  await Promise.all([alice.dispatcher.destroy(), mallory.dispatcher.destroy()])
  await handler.close({ graceMs: 0 })
  await Promise.all([pool.close({ graceMs: 0 }), port.close()])
  await server.close({ graceMs: 0 })
  http.close()
})
