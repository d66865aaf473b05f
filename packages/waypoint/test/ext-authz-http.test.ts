/** CUSTOM over HTTP: a real node:http provider behind a real waypoint. */
import type { IncomingMessage } from 'node:http'
import { readManifests } from '@ambient/discovery'
import { describe, expect, it } from 'vitest'
import { custom, httpProvider, join, mesh } from './ext-authz-world.ts'
import { createWorld, type WorldOptions } from './world.ts'

type Answering = Parameters<typeof httpProvider>[0]

async function asked(answering: Answering, fields: readonly string[] = [], options: WorldOptions = {}) {
  const provider = await httpProvider(answering)
  const seen: IncomingMessage[] = []
  const world = await createWorld({
    protocol: 'HTTP11',
    policies: [custom()],
    meshConfig: mesh({ kind: 'Http', fields }),
    app: (request, response) => {
      seen.push(request)
      request.resume().on('end', () => response.end('hello'))
    },
    ...options,
  })
  join(world, provider)
  return { world, provider, seen }
}

describe('an HTTP provider', () => {
  it('gets method, path and host of the request, what is listed of its headers, and no body', async () => {
    const { world, provider } = await asked(undefined, [
      'pathPrefix: /check',
      'includeRequestHeadersInCheck: [x-one, "x-pre-*", "*-id", content-length]',
      'includeAdditionalHeadersInCheck: { x-one: mine, x-mesh: ambient }',
    ])
    const answer = await world.fetch('/a?b=c', {
      method: 'POST',
      body: 'body',
      fields: {
        host: 'shop.example:80',
        authorization: 'Basic x',
        cookie: 'secret',
        'x-one': 'theirs',
        'x-pre-a': '1',
        'x-b-id': '2',
        'x-other': '3',
      },
    })
    expect(answer.status).toBe(200)
    const [question] = provider.requests
    expect([question?.message.method, question?.message.url, question?.body]).toEqual([
      'POST',
      '/check/a?b=c',
      '',
    ])
    expect(question?.message.headers).toEqual({
      host: 'shop.example:80',
      'content-length': '0',
      authorization: 'Basic x',
      'x-one': 'mine',
      'x-mesh': 'ambient',
      'x-pre-a': '1',
      'x-b-id': '2',
      'x-request-id': expect.any(String),
      'x-envoy-attempt-count': '1',
      connection: 'keep-alive',
    })
  })

  it('that says yes adds what is listed, in the place of what was there', async () => {
    const { world, seen } = await asked(
      (_request, response) => {
        response.setHeader('x-user', 'alice')
        response.setHeader('x-not-listed', '1')
        response.setHeader('x-for-caller', 'hi')
        response.setHeader('x-envoy-auth-headers-to-remove', 'x-gone, host')
        response.end()
      },
      ['headersToUpstreamOnAllow: [x-user]', 'headersToDownstreamOnAllow: [x-for-caller]'],
    )
    const answer = await world.fetch('/', { fields: { 'x-user': 'root', 'x-gone': '1' } })
    expect([answer.status, answer.headers['x-for-caller']]).toEqual([200, 'hi'])
    expect(seen[0]?.headers).toMatchObject({ host: 'web', 'x-user': 'alice' })
    for (const name of ['x-gone', 'x-not-listed', 'x-envoy-auth-headers-to-remove', 'x-for-caller'])
      expect(seen[0]?.headers).not.toHaveProperty(name)
  })

  it('that says anything but 200 answers itself, with all of its headers', async () => {
    const { world, seen } = await asked((_request, response) => {
      response.writeHead(302, { location: '/login', 'set-cookie': ['a=1', 'b=2'], 'x-why': 'login' })
      response.end('moved')
    })
    const answer = await world.fetch('/')
    expect([answer.status, answer.body]).toEqual([302, 'moved'])
    expect(answer.headers).toMatchObject({
      location: '/login',
      'set-cookie': ['a=1', 'b=2'],
      'x-why': 'login',
    })
    expect(await world.line(/"GET \/ HTTP/)).toMatch(/ 302 UAEX ext_authz_denied /)
    expect(seen).toEqual([])
  })

  it('with a list for denials gives the caller no more than that, and challenges', async () => {
    const { world } = await asked(
      (_request, response) => {
        response.writeHead(401, { 'www-authenticate': 'Basic', 'x-a': '1', 'x-b': '2' })
        response.end('who are you')
      },
      ['headersToDownstreamOnDeny: [x-a]'],
    )
    const { status, headers } = await world.fetch('/')
    expect([status, headers['www-authenticate'], headers['x-a'], headers['x-b']]).toEqual([
      401,
      'Basic',
      '1',
      undefined,
    ])
  })

  it.each([
    ['403', [], 403],
    ['what is configured', ['statusOnError: "418"'], 418],
    ['yes, where that is configured', ['failOpen: true'], 200],
  ])('that fails with 5xx means %s', async (_name, fields, status) => {
    const { world } = await asked((_request, response) => void response.writeHead(500).end('secret'), fields)
    const answer = await world.fetch('/')
    expect([answer.status, answer.body.includes('secret')]).toEqual([status, false])
    if (status !== 200) expect(await world.line(/"GET \/ HTTP/)).toMatch(/ UAEX ext_authz_error /)
  })

  it('whose answer is endless is no answer', async () => {
    const { world } = await asked((_request, response) => {
      response.writeHead(403)
      response.end(Buffer.alloc(2 * 1024 * 1024))
    })
    expect((await world.fetch('/')).body).toBe('')
    expect(world.requests[0]?.denial?.reason).toContain('more than 1048576 bytes')
  })

  it('sees the body where that is configured', async () => {
    const { world, provider } = await asked(undefined, [
      'includeRequestBodyInCheck: { maxRequestBytes: 100 }',
    ])
    expect((await world.fetch('/', { method: 'POST', body: 'the body' })).status).toBe(200)
    expect(provider.requests[0]?.body).toBe('the body')
  })

  it('gets bytes that are no text as they are', async () => {
    const { world, provider } = await asked(
      (_request, response) => void response.writeHead(403).end(),
      ['includeRequestHeadersInCheck: [x-raw]'],
    )
    expect((await world.fetch('/', { fields: { 'x-raw': 'a\x80\xff' } })).status).toBe(403)
    expect(provider.requests[0]?.message.headers['x-raw']).toBe('a\x80\xff')
  })

  it.each([
    [[], 'stays on the route that it came for'],
    [['clearRouteCache: true'], 'is routed anew'],
  ])('with %j: a request that it changed %s', async fields => {
    const { world } = await asked(
      (_request, response) => {
        response.setHeader('x-to', 'other')
        response.end()
      },
      ['headersToUpstreamOnAllow: [x-to]', ...fields],
    )
    const text = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: default }
spec:
  hosts: [web.default.svc.cluster.local]
  http:
  - match: [{ headers: { x-to: { exact: other } } }]
    directResponse: { status: 299, body: { string: other } }
  - route: [{ destination: { host: web.default.svc.cluster.local } }]
`
    const { resources, problems } = readManifests([{ path: 'vs.yaml', text }])
    expect(problems.filter(({ severity }) => severity === 'error')).toEqual([])
    world.store.set({ virtualServices: resources.virtualServices })
    expect((await world.fetch('/')).status).toBe(fields.length === 0 ? 200 : 299)
  })
})
