/** What is judged is what the application reads: a host that depends on who reads it is refused, headers are the client's. */
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { parsePolicies } from '@ambient/policy'
import { createMeshGuard, meshAuth } from '@ambient/policy/http'
import { expect, it } from 'vitest'
import { later, listening } from './middleware-servers.ts'

const policy = parsePolicies(
  `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {hosts: [admin.example]}}]}]}
`,
  'test.yaml',
)
const options = { policy, workload: { namespace: 'shop' } }

it.each([
  ['/', ['pub.example'], 200],
  ['/', ['ADMIN.example'], 403],
  ['http://pub.example/', ['Pub.Example'], 200],
  ['http://admin.example/', ['admin.example'], 403],
  ['http://pub.example/', ['admin.example'], 400],
  ['http://admin.example/', ['pub.example'], 400],
  ['http://pub.example@admin.example/', ['pub.example'], 400],
  ['http://pub.example@admin.example/', ['pub.example@admin.example'], 400],
  ['/', ['pub.example@admin.example'], 400],
  ['http://pub.example\\/', ['pub.example\\'], 400],
  ['/', ['admin.example/'], 400],
  ['/', ['admin.example?'], 400],
  ['/', ['pub.example', 'admin.example'], 400],
  ['http:///', ['pub.example'], 400],
])('%s for the host %j is %i', async (target, hosts, status) => {
  const guard = meshAuth(options)
  const server = createServer((request, response) => guard(request, response, () => response.end('in')))
  const port = await listening(server)
  const socket = connect(port, '127.0.0.1')
  later(async () => socket.destroy())
  const fields = hosts.map(host => `Host: ${host}\r\n`).join('')
  socket.write(`GET ${target} HTTP/1.1\r\n${fields}Connection: close\r\n\r\n`)
  expect((await text(socket)).split(' ')[1]).toBe(String(status))
})

it('takes no other host from a header beside HTTP/2’s authority', () => {
  const guard = createMeshGuard(options)
  const judge = (host: string) =>
    guard.judge({
      method: 'GET',
      url: '/',
      authority: 'pub.example',
      rawHeaders: ['host', host],
      socket: {},
    }).allowed
  expect([judge('pub.example'), judge('admin.example')]).toEqual([true, false])
})

it('judges headers that a token would set as the application reads them', () => {
  const claims = parsePolicies(
    `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {jwtRules: [{issuer: a, jwksUri: "https://a.example/keys", outputClaimToHeaders: [{header: x-role, claim: role}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {action: DENY, rules: [{when: [{key: "request.headers[x-role]", values: [admin]}]}]}
`,
    'claims.yaml',
  )
  const judge = (role: string, jwt?: { payload: { iss: string; role: string } }) =>
    createMeshGuard({ ...options, policy: claims, jwt: () => jwt }).judge({
      method: 'GET',
      url: '/',
      rawHeaders: ['host', 'web', 'x-role', role],
      socket: {},
    }).allowed
  const token = { payload: { iss: 'a', role: 'user' } }
  expect([judge('user'), judge('admin'), judge('admin', token)]).toEqual([true, false, false])
})
