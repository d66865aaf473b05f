/** Request authentication of a mesh that is nothing but manifests: who bears no token, a good one, a bad one; and changes. */
import { generateKeyPairSync, sign } from 'node:crypto'
import { createServer, get as httpGet } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import type { JoinedWorkload } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { namespace, waypoint } from './shop.ts'

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwks = JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] })
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function token(claims: object): string {
  const signed = `${encode({ alg: 'ES256' })}.${encode({ iss: 'issuer', exp: 4_000_000_000, ...claims })}`
  const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${signed}.${signature.toString('base64url')}`
}

const service = `apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec: { selector: { app: server }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`

const authentication = (rule: string): string => `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  jwtRules:
  - issuer: issuer
    jwks: '${jwks}'
    ${rule}
`

const authorization = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: staff, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  rules:
  - to: [{ operation: { paths: [/open] } }]
  - from: [{ source: { requestPrincipals: [issuer/*] } }]
    when: [{ key: "request.auth.claims[group]", values: [staff] }]
`

const server = createServer((request, response) =>
  response.end(
    `${request.headers['x-user'] ?? 'nobody'} ${request.headers.authorization ?? 'without token'}`,
  ),
)
let mesh: TestMesh

afterEach(async () => {
  await mesh.close()
  server.close()
  server.closeAllConnections()
})

function ask(client: JoinedWorkload, path: string, bearer?: string): Promise<string> {
  return new Promise(resolve => {
    const headers = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }
    httpGet({ host: 'server', path, agent: client.agent(), headers }, response => {
      let body = ''
      response.on('data', chunk => {
        body += String(chunk)
      })
      response.on('end', () => resolve(`${response.statusCode} ${body}`))
    }).on('error', error => resolve(error.message))
  })
}

test('the waypoint asks it, and follows it when it changes or cannot be read', async () => {
  mesh = await startTestMesh({
    inProcess: true,
    manifests: {
      'namespace.yaml': namespace(true, 'waypoint'),
      'service.yaml': service,
      'waypoint.yaml': waypoint,
      'authorization.yaml': authorization,
      'tokens.yaml': authentication('outputClaimToHeaders: [{ header: x-user, claim: sub }]'),
    },
  })
  const [serving, client] = await Promise.all([
    mesh.join({ namespace: 'shop', serviceAccount: 'server', ports: [8080], labels: { app: 'server' } }),
    mesh.join({ namespace: 'shop', serviceAccount: 'client' }),
  ])
  await new Promise<void>(resolve => server.listen(8080, serving.address, resolve))
  await mesh.synced()

  const staff = token({ sub: 'ann', group: 'staff' })
  expect(await ask(client, '/open')).toBe('200 nobody without token')
  expect(await ask(client, '/')).toBe('403 RBAC: access denied')
  expect(await ask(client, '/', token({ sub: 'bob', group: 'guests' }))).toBe('403 RBAC: access denied')
  expect(await ask(client, '/', staff)).toBe('200 ann without token')
  expect(await ask(client, '/open', 'a.b')).toMatch(/^401 Jwt is not in the form of/)
  expect(await ask(client, '/open', token({ exp: 1 }))).toBe('401 Jwt is expired')

  await mesh.write('tokens.yaml', authentication('audiences: [shop]'))
  await mesh.synced()
  expect(await ask(client, '/', staff)).toBe('403 Audiences in Jwt are not allowed')
  expect(await ask(client, '/', token({ sub: 'ann', group: 'staff', aud: 'shop' }))).toBe(
    '200 nobody without token',
  )

  // A mistake in it: the last good one is served on, and the mistake has its line.
  const problem = mesh.event(
    event => event.kind === 'problems' && event.serving === 'last good configuration',
  )
  await mesh.write('tokens.yaml', authentication('audience: [shop]'))
  expect(JSON.stringify(await problem)).toContain('did you mean \\"audiences\\"?')
  expect(await ask(client, '/', staff)).toBe('403 Audiences in Jwt are not allowed')
})
