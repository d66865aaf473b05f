/** CUSTOM over gRPC: a real grpc-js provider behind a real waypoint. */
import { once } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { noCheckEdits } from '../src/ext-authz/check.ts'
import { readCheckResponse } from '../src/ext-authz/grpc-message.ts'
import { asked, custom, type grpcProvider, join, mesh } from './ext-authz-world.ts'
import { policy } from './process-fixtures.ts'
import { exchange } from './world.ts'

type Answering = Parameters<typeof grpcProvider>[0]

const denied = (status?: number, body = '', headers: readonly (readonly [string, string])[] = []) =>
  ({
    status: { code: 7 },
    httpResponse: {
      case: 'deniedResponse',
      value: {
        ...(status === undefined ? {} : { status: { code: status } }),
        body,
        headers: headers.map(([key, value]) => ({ header: { key, value } })),
      },
    },
  }) as const

describe('a gRPC provider', () => {
  it('that says yes is told who calls, and the request passes', async () => {
    const { world, provider } = await asked(() => ({ status: { code: 0 } }))
    const answer = await world.fetch('/a%62?q=1', { fields: { 'x-a': '1', cookie: 'c=1' } })
    expect([answer.status, answer.body]).toEqual([200, 'hello'])
    const attributes = provider.requests[0]?.attributes
    expect(attributes?.source).toMatchObject({
      principal: 'spiffe://cluster.local/ns/default/sa/client',
      address: { socketAddress: { address: world.client.addresses[0] } },
    })
    expect(attributes?.destination).toMatchObject({
      principal: 'spiffe://cluster.local/ns/default/sa/waypoint',
      address: { socketAddress: { address: world.web.vips[0]?.ip, portValue: 80 } },
    })
    expect(attributes?.request?.time).toBeDefined()
    expect(attributes?.request?.http).toMatchObject({
      method: 'GET',
      path: '/ab?q=1',
      host: 'web',
      scheme: 'http',
      protocol: 'HTTP/1.1',
      size: -1n,
      body: '',
      headers: { ':path': '/ab?q=1', ':method': 'GET', ':authority': 'web', 'x-a': '1', cookie: 'c=1' },
    })
  })

  it('that says no answers for itself: status, body, headers; UAEX in the log, nothing upstream', async () => {
    const { world, seen } = await asked(() =>
      denied(418, 'not for you', [
        ['x-why', 'tea'],
        ['content-type', 'text/tea'],
        ['content-length', '1'],
      ]),
    )
    const answer = await world.fetch('/')
    expect([answer.status, answer.body, answer.headers['x-why'], answer.headers['content-type']]).toEqual([
      418,
      'not for you',
      'tea',
      'text/tea',
    ])
    expect(await world.line(/"GET \/ HTTP/)).toMatch(/ 418 UAEX ext_authz_denied /)
    expect(seen).toEqual([])
    expect(world.tunnels).toEqual([])
    expect(world.requests[0]?.denial).toMatchObject({
      allowed: false,
      by: { policy: 'default/ask', rule: 0 },
      reason: 'CUSTOM policy default/ask: the provider opa denied it',
    })
    expect(await world.metrics()).toMatch(
      /ambient_ext_authz_checks_total\{provider="opa",result="denied"\} 1/,
    )
  })

  it('that says no without more is 403, and a status that is none as well', async () => {
    let status: number | undefined
    const { world } = await asked(() => denied(status))
    expect((await world.fetch('/')).status).toBe(403)
    status = 700
    expect((await world.fetch('/')).status).toBe(403)
  })

  it('that says no to gRPC says it in gRPC', async () => {
    const { world } = await asked(() => denied(403, 'not you'))
    const answer = await world.fetch('/s/M', {
      method: 'POST',
      fields: { 'content-type': 'application/grpc' },
      body: '',
    })
    expect([answer.status, answer.headers['grpc-status'], answer.headers['grpc-message']]).toEqual([
      200,
      '7',
      'not you',
    ])
  })

  it.each<readonly [string, Answering, string]>([
    ['fails', () => Promise.reject(new Error('no')), 'gRPC status 13'],
    [
      'answers what is no header',
      () =>
        ({
          status: { code: 0 },
          httpResponse: {
            case: 'okResponse',
            value: { headers: [{ header: { key: 'x', value: 'a\r\nb: c' } }] },
          },
        }) as const,
      'a header that is none',
    ],
  ])('that %s denies, with nothing for the caller', async (_name, answering, reason) => {
    const { world, seen } = await asked(answering)
    const answer = await world.fetch('/')
    expect([answer.status, answer.body]).toEqual([403, ''])
    expect(await world.line(/"GET \/ HTTP/)).toMatch(/ 403 UAEX ext_authz_error /)
    expect(world.requests[0]?.denial?.reason).toContain(reason)
    expect(seen).toEqual([])
  })

  it('is given no session of TLS, and metadata that is empty but there, as an Envoy of istiod gives it', async () => {
    const { world, provider } = await asked(() => ({ status: { code: 0 } }))
    await world.fetch('/')
    const attributes = provider.requests[0]?.attributes
    expect([attributes?.metadataContext, attributes?.routeMetadataContext]).toEqual([
      expect.objectContaining({ $typeName: 'envoy.service.auth.v3.Metadata' }),
      expect.objectContaining({ $typeName: 'envoy.service.auth.v3.Metadata' }),
    ])
    // 12: tls_session, which the messages here have no name for.
    expect(attributes?.$unknown ?? []).toEqual([])
  })

  it('that says it failed is an error in its own words, with its status or the configured one', async () => {
    let status: number | undefined = 502
    const { world, seen } = await asked(
      () => ({
        status: { code: 13 },
        httpResponse: {
          case: 'errorResponse',
          value: {
            ...(status === undefined ? {} : { status: { code: status } }),
            headers: [{ header: { key: 'x-why', value: 'no database' } }],
            body: 'later',
          },
        },
      }),
      { fields: ['statusOnError: "503"'] },
    )
    const answer = await world.fetch('/')
    expect([answer.status, answer.body, answer.headers['x-why']]).toEqual([502, 'later', 'no database'])
    expect(await world.line(/"GET \/ HTTP/)).toMatch(/ 502 UAEX ext_authz_error /)
    expect(world.requests[0]?.denial?.reason).toContain('the provider opa answered that it failed')
    expect(await world.metrics()).toMatch(/ambient_ext_authz_checks_total\{provider="opa",result="error"\} 1/)
    status = undefined
    expect((await world.fetch('/')).status).toBe(503)
    expect(seen).toEqual([])
    world.store.set({ meshConfig: mesh({ kind: 'Grpc', fields: ['failOpen: true'] }) })
    expect((await world.fetch('/')).body).toBe('hello')
  })

  it('that says yes and tells of an error says yes', async () => {
    const { world, seen } = await asked(() => ({
      status: { code: 0 },
      httpResponse: { case: 'errorResponse', value: { status: { code: 500 }, body: 'no' } },
    }))
    expect((await world.fetch('/')).body).toBe('hello')
    expect(seen).toHaveLength(1)
  })

  it('may say more than is read: metadata for filters that are not here', () => {
    // status {}, dynamic_metadata (4) {"a":true}, and the older one (3) in an ok_response.
    const metadata = '0a070a016112022001'
    const answers = [`0a00${'2209'}${metadata}`, `0a001a0b1a09${metadata}`, `0a020807${'2209'}${metadata}`]
    const read = answers.map(hex => readCheckResponse(Buffer.from(hex, 'hex')))
    expect(read).toEqual([
      { kind: 'allowed', edits: noCheckEdits },
      { kind: 'allowed', edits: noCheckEdits },
      { kind: 'denied', status: 403, headers: [], body: Buffer.alloc(0) },
    ])
  })

  it('that nobody reaches denies with the status that is configured, or lets pass', async () => {
    const { world } = await asked(undefined, { fields: ['statusOnError: "503"'] })
    join(world, { address: '127.0.0.1', port: 1 })
    expect((await world.fetch('/')).status).toBe(503)
    expect(await world.line(/could not be asked/)).toMatch(/provider="?opa/)
    world.store.set({ meshConfig: mesh({ kind: 'Grpc', fields: ['failOpen: true'] }) })
    expect((await world.fetch('/')).status).toBe(200)
  })

  it('that takes too long is given up', async () => {
    const { world } = await asked(() => new Promise(() => {}), { fields: ['timeout: 0.05s'] })
    expect((await world.fetch('/')).status).toBe(403)
    expect(world.requests[0]?.denial?.reason).toContain('no answer within 50 ms')
  })

  it('is told no more when the caller leaves, and nothing goes upstream', async () => {
    let onCancelled: () => void = () => {}
    const cancelled = new Promise<void>(resolve => {
      onCancelled = resolve
    })
    const { world, provider, seen } = await asked((_request, call) => {
      call.on('cancelled', onCancelled)
      return new Promise(() => {})
    })
    const socket = (await world.tunnel()).socket()
    socket.on('error', () => {})
    socket.write('GET /gone HTTP/1.1\r\nhost: web\r\n\r\n')
    await vi.waitFor(() => expect(provider.requests).toHaveLength(1))
    socket.destroy()
    await cancelled
    expect(await world.line(/"GET \/gone/)).toMatch(/ 0 DC downstream_remote_disconnect /)
    expect(seen).toEqual([])
  })

  it('changes the request and the response, and not what frames them', async () => {
    const { world, seen } = await asked(() => ({
      status: { code: 0 },
      httpResponse: {
        case: 'okResponse',
        value: {
          headers: [
            { header: { key: 'X-User', value: 'ünï' } },
            { header: { key: 'x-list', value: 'two' }, append: true },
            { header: { key: 'x-there', value: 'new' }, appendAction: 1 },
            { header: { key: 'x-not-there', value: 'new' }, appendAction: 3 },
            { header: { key: 'host', value: 'evil' } },
            { header: { key: ':path', value: '/evil' } },
            { header: { key: 'content-length', value: '9' } },
          ],
          headersToRemove: ['authorization', 'host', ':path'],
          responseHeadersToAdd: [{ header: { key: 'x-seen', value: 'by opa' } }],
          queryParametersToSet: [
            { key: 'a', value: '2' },
            { key: 'new', value: 'x' },
          ],
          queryParametersToRemove: ['secret'],
        },
      },
    }))
    const fields = { authorization: 'Basic x', 'x-user': 'me', 'x-list': 'one', 'x-there': 'old' }
    const answer = await world.fetch('/p?a=1&secret=s&b=%20', { fields })
    expect([answer.status, answer.headers['x-seen'], answer.headers['x-app']]).toEqual([200, 'by opa', 'yes'])
    expect(seen[0]?.url).toBe('/p?a=2&b=%20&new=x')
    expect(seen[0]?.headers).toMatchObject({
      host: 'web',
      'x-user': Buffer.from('ünï').toString('latin1'),
      'x-list': 'one, two',
      'x-there': 'old',
    })
    expect(seen[0]?.headers).not.toHaveProperty('authorization')
    expect(seen[0]?.headers).not.toHaveProperty('x-not-there')
    expect(seen[0]?.headers).not.toHaveProperty('content-length')
  })

  it('is not by-passed by bytes that are no text', async () => {
    const { world, provider } = await asked(() => denied())
    const socket = (await world.tunnel()).socket()
    socket.write(
      Buffer.from(
        'GET / HTTP/1.1\r\nhost: web\r\nx-raw: a\x80\xffb\r\nx-utf8: \xc3\xbc\r\nconnection: close\r\n\r\n',
        'latin1',
      ),
    )
    let text = ''
    socket.on('data', chunk => {
      text += String(chunk)
    })
    await once(socket, 'end')
    expect(text).toMatch(/^HTTP\/1.1 403/)
    expect(provider.requests[0]?.attributes?.request?.http?.headers).toMatchObject({
      'x-raw': 'a!!b',
      'x-utf8': 'ü',
    })
    socket.destroy()
  })

  it('judges before DENY and ALLOW, which see what it made of the request', async () => {
    const { world } = await asked(
      () => ({
        status: { code: 0 },
        httpResponse: {
          case: 'okResponse',
          value: { headers: [{ header: { key: 'x-role', value: 'admin' } }] },
        },
      }),
      {
        policies: [
          custom('ask', { paths: ['/admin', '/closed'] }),
          custom('admins', { action: 'ALLOW', headers: ['x-role', 'admin'] }),
          policy('closed', 'DENY', { paths: ['/closed'] }),
        ],
      },
    )
    expect((await world.fetch('/admin')).status).toBe(200)
    expect((await world.fetch('/other')).status).toBe(403)
    const closed = await world.fetch('/closed')
    expect([closed.status, closed.body]).toEqual([403, 'RBAC: access denied'])
  })
})

it('a hundred requests at once are each asked about, over few connections, and nothing is left', async () => {
  const { world, provider } = await asked(request => {
    const isOdd = Number(request.attributes?.request?.http?.headers['x-n']) % 2 === 1
    return isOdd ? denied(401) : { status: { code: 0 } }
  })
  const tunnels = await Promise.all(Array.from({ length: 100 }, () => world.tunnel()))
  const answers = await Promise.all(
    tunnels.map((tunnel, n) => exchange(tunnel, '/', { fields: { 'x-n': String(n) } })),
  )
  expect(answers.map(({ status }) => status)).toEqual(answers.map((_, n) => (n % 2 === 1 ? 401 : 200)))
  expect(provider.requests).toHaveLength(100)
  expect(JSON.parse((await world.admin('/config_dump')).body)).toMatchObject({ connections: [] })
  await world.waypoint.close({ graceMs: 1_000 })
})
