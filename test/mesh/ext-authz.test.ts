/** A CUSTOM policy of a mesh that is nothing but manifests: the provider is in the ConfigMap istio, and is a workload itself. */
import { createServer, get as httpGet, type IncomingMessage, type Server } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import type { JoinedWorkload } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { namespace, waypoint } from './shop.ts'

const services = ['server', 'judge']
  .map(
    name => `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop${name === 'judge' ? ', labels: { istio.io/use-waypoint: none }' : ''} }
spec: { selector: { app: ${name} }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`,
  )
  .join('---\n')

const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  action: CUSTOM
  provider: { name: judge }
  rules: [{ to: [{ operation: { paths: ["/admin*"] } }] }]
`

const meshConfig = (name: string): string => `apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    accessLogFile: /dev/stdout
    extensionProviders:
    - name: ${name}
      envoyExtAuthzHttp:
        service: judge.shop.svc.cluster.local
        port: 80
        includeRequestHeadersInCheck: [x-ticket]
        headersToUpstreamOnAllow: [x-judged]
`

const servers: Server[] = []
let mesh: TestMesh

afterEach(async () => {
  await mesh.close()
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
})

async function serve(workload: JoinedWorkload, server: Server): Promise<void> {
  servers.push(server)
  await new Promise<void>(resolve => server.listen(8080, workload.address, resolve))
}

function ask(client: JoinedWorkload, path: string, ticket = ''): Promise<string> {
  return new Promise(resolve => {
    const options = { host: 'server', path, agent: client.agent(), headers: { 'x-ticket': ticket } }
    httpGet(options, response => {
      let body = ''
      response.on('data', chunk => {
        body += String(chunk)
      })
      response.on('end', () => resolve(`${response.statusCode} ${body}`))
    }).on('error', error => resolve(error.message))
  })
}

test('its provider is asked by the waypoint, and followed when the ConfigMap changes', async () => {
  mesh = await startTestMesh({
    inProcess: true,
    manifests: {
      'namespace.yaml': namespace(true, 'waypoint'),
      'services.yaml': services,
      'waypoint.yaml': waypoint,
      'policy.yaml': policy,
      'mesh.yaml': meshConfig('judge'),
    },
  })
  const [server, judge, client] = await Promise.all([
    mesh.join({ namespace: 'shop', serviceAccount: 'server', ports: [8080], labels: { app: 'server' } }),
    mesh.join({ namespace: 'shop', serviceAccount: 'judge', ports: [8080], labels: { app: 'judge' } }),
    mesh.join({ namespace: 'shop', serviceAccount: 'client' }),
  ])
  await serve(
    server,
    createServer((request, response) => response.end(`judged: ${request.headers['x-judged'] ?? 'no'}`)),
  )
  const questions: IncomingMessage[] = []
  await serve(
    judge,
    createServer((request, response) => {
      questions.push(request)
      if (request.headers['x-ticket'] === 'good') response.writeHead(200, { 'x-judged': 'fair' }).end()
      else response.writeHead(451).end('no ticket')
    }),
  )
  await mesh.synced()

  expect(await ask(client, '/open')).toBe('200 judged: no')
  expect(questions).toEqual([])
  expect(await ask(client, '/admin', 'bad')).toBe('451 no ticket')
  expect(await ask(client, '/admin', 'good')).toBe('200 judged: fair')
  expect(questions.map(({ url }) => url)).toEqual(['/admin', '/admin'])

  await mesh.write('mesh.yaml', meshConfig('another'))
  await mesh.synced()
  expect(await ask(client, '/admin', 'good')).toBe('403 RBAC: access denied')
  expect(await ask(client, '/open')).toBe('200 judged: no')

  // A mistake in it: the last good configuration is served on, and the mistake has its line.
  const problem = mesh.event(
    event => event.kind === 'problems' && event.serving === 'last good configuration',
  )
  await mesh.write('mesh.yaml', meshConfig('judge').replace('port: 80', 'port: none'))
  expect(JSON.stringify(await problem)).toContain('expected an integer from 1 to 65535')
  expect(await ask(client, '/admin', 'good')).toBe('403 RBAC: access denied')
})
