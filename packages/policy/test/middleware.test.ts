/** The middleware in front of real servers: who calls, what policies say, what a refused caller is told. */
import { type PolicyDecisionMessage, topics } from '@ambient/core'
import { parsePolicies } from '@ambient/policy'
import type { MeshAuthOptions, MeshDenial } from '@ambient/policy/http'
import { describe, expect, it } from 'vitest'
import { call, callers, later, servers } from './middleware-servers.ts'

const { alice, mallory, waypoint } = callers
const policy = (yaml: string): MeshAuthOptions['policy'] => parsePolicies(yaml, 'test.yaml')
const ALLOW_ALICE = policy(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/client/sa/alice]}}]
    to: [{operation: {methods: [GET, POST], paths: ["/items/*", "/"]}}]
`)
const options: MeshAuthOptions = {
  policy: ALLOW_ALICE,
  workload: { namespace: 'shop', name: 'web-1', labels: { app: 'web' } },
}
const forwarded = (by: string, uri: string): Readonly<Record<string, string>> => ({
  'x-forwarded-client-cert': `By=${by};URI=${uri}`,
})
const ROUTED = ['Fastify', 'Hono']

describe.each(Object.keys(servers))('%s', kind => {
  const start = servers[kind]
  if (start === undefined) throw new Error(kind)

  it('lets a caller in whom a policy allows, and says who it is', async () => {
    const port = await start(options)
    const { status, body } = await call(kind, port, { who: alice, path: '/items/7' })
    expect([status, JSON.parse(body)]).toEqual([
      200,
      {
        url: '/items/7',
        peer: {
          spiffeId: 'spiffe://cluster.local/ns/client/sa/alice',
          trustDomain: 'cluster.local',
          namespace: 'client',
          serviceAccount: 'alice',
          via: 'tls',
        },
      },
    ])
  })

  it('refuses everybody else with Envoy’s answer', async () => {
    const port = await start(options)
    const refused = { status: 403, body: 'RBAC: access denied' }
    for (const one of [{ who: mallory }, {}, { who: alice, path: '/admin' }, { who: alice, method: 'PUT' }]) {
      const answer = await call(kind, port, { path: '/items/7', ...one })
      expect(answer).toMatchObject(refused)
      expect(answer.headers['content-type']).toMatch(/^text\/plain/)
    }
  })

  it('ignores a forged header: only the connection proves', async () => {
    const port = await start({ ...options, trustedWaypoints: [waypoint.id.uri] })
    const headers = forwarded(waypoint.id.uri, alice.id.uri)
    const by = (who: typeof alice | undefined) => call(kind, port, { who, path: '/items/7', headers })
    expect([(await by(mallory)).status, (await by(undefined)).status]).toEqual([403, 403])
  })

  it('believes a trusted waypoint, in its own name only', async () => {
    const port = await start({ ...options, trustedWaypoints: [waypoint.id.uri] })
    const by = (headers: Readonly<Record<string, string>>) =>
      call(kind, port, { who: waypoint, path: '/items/7', headers })
    const { status, body } = await by(forwarded(waypoint.id.uri, alice.id.uri))
    expect([status, JSON.parse(body).peer]).toMatchObject([
      200,
      { spiffeId: waypoint.id.uri, original: { spiffeId: alice.id.uri, serviceAccount: 'alice' } },
    ])
    expect((await by(forwarded(waypoint.id.uri, mallory.id.uri))).status).toBe(403)
    expect((await by(forwarded(mallory.id.uri, alice.id.uri))).status).toBe(403)
    expect((await by({})).status).toBe(403)
    const twice = `By=${waypoint.id.uri};URI=${alice.id.uri}`
    expect((await by({ 'x-forwarded-client-cert': `${twice},${twice}` })).status).toBe(403)
  })

  it('tells gRPC callers in gRPC', async () => {
    const port = await start(options)
    const headers = { 'content-type': 'application/grpc' }
    const answer = await call(kind, port, { who: mallory, method: 'POST', path: '/items/7', headers })
    expect([
      answer.status,
      answer.headers['grpc-status'],
      answer.headers['grpc-message'],
      answer.body,
    ]).toEqual([200, '7', 'RBAC: access denied', ''])
  })

  it('answers problem+json on demand, with as much as it may say', async () => {
    const brief = await start({ ...options, answer: 'problem' })
    const code = await call(kind, brief, { who: mallory })
    expect([code.status, code.headers['content-type'], JSON.parse(code.body)]).toEqual([
      403,
      'application/problem+json',
      { type: 'about:blank', title: 'Forbidden', status: 403, code: 'access_denied' },
    ])
    const denials: MeshDenial[] = []
    const full = await start({
      ...options,
      answer: 'problem',
      detail: 'full',
      onDeny: denial => void denials.push(denial),
    })
    const { body } = await call(kind, full, { who: mallory })
    expect(JSON.parse(body)).toMatchObject({ policy: null, rule: null, detail: expect.any(String) })
    expect(denials).toMatchObject([{ verdict: { verdict: 'deny' }, peer: { serviceAccount: 'mallory' } }])
  })

  it('refuses a path that Envoy refuses, and never lets one through that was judged as another', async () => {
    const port = await start(options)
    expect((await call(kind, port, { who: alice, path: '/items/%00' })).status).toBe(400)
    const around = await call(kind, port, { who: alice, path: '/admin/../items/7' })
    if (ROUTED.includes(kind)) expect([around.status, around.body]).toEqual([400, ''])
    else expect([around.status, JSON.parse(around.body).url]).toEqual([200, '/items/7'])
    expect((await call(kind, port, { who: alice, path: '/items/../admin' })).status).toBe(403)
  })

  it('without normalization serves what was judged, or refuses: the same path in no other spelling', async () => {
    const noAdmin = policy(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
`)
    const port = await start({ ...options, policy: noAdmin, pathNormalization: 'NONE' })
    const ask = (path: string) => call(kind, port, { who: alice, path })
    expect((await ask('/admin')).status).toBe(403)
    expect(JSON.parse((await ask('/items/7?a=/../b')).body).url).toMatch(/^\/items\/7/)
    for (const path of ['/x/../admin', '/./admin', '/x/%2e%2E/admin', '/%61dmin', '/x\\..\\admin']) {
      const { status, body } = await ask(path)
      if (ROUTED.includes(kind)) expect([path, status]).toEqual([path, 400])
      else expect([path, status, JSON.parse(body).url]).toEqual([path, 200, path])
    }
  })

  it('says each decision once', async () => {
    const port = await start(options)
    const heard: PolicyDecisionMessage[] = []
    later(async () => unsubscribe())
    const unsubscribe = topics.decision.subscribe(message => heard.push(message))
    const id = '0af7651916cd43dd8448eb211c80319c'
    const headers = { traceparent: `00-${id}-b7ad6b7169203331-01` }
    await call(kind, port, { who: alice, path: '/items/7', headers })
    await call(kind, port, { who: mallory, path: '/items/7' })
    expect(heard).toMatchObject([
      { allowed: true, policy: 'shop/readers', rule: 0, connection: { id, source: { identity: alice.id } } },
      { allowed: false, connection: { source: { identity: mallory.id } } },
    ])
    expect(heard[1]?.connection.id).toMatch(/^[\da-f]{32}$/)
  })

  it('sees policies change', async () => {
    let now = ALLOW_ALICE
    const port = await start({ ...options, policy: () => (typeof now === 'function' ? now() : now) })
    const ask = async () => (await call(kind, port, { who: alice, path: '/items/7' })).status
    expect(await ask()).toBe(200)
    now = policy(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: shop}
spec: {}
`)
    expect(await ask()).toBe(403)
  })

  it('takes no certificate of a trust domain that is not the mesh’s', async () => {
    const port = await start({ ...options, trustDomain: 'other.example', policy: policy('') })
    const { body } = await call(kind, port, { who: alice, path: '/' })
    expect(JSON.parse(body).peer).toBeUndefined()
  })
})

it('says at once which trusted waypoint is none', () => {
  const start = servers['node:https']
  expect(() => start?.({ ...options, trustedWaypoints: ['shop/waypoint'] })).toThrow('invalid SPIFFE ID')
})
