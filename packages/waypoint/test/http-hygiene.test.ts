/** What of a caller's header fields is believed, and what a request's target says. */
import { afterEach, describe, expect, it } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import { cleanTrailers } from '../src/http/hygiene.ts'
import { answer, ask, type Fixture, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

async function start(): Promise<Fixture> {
  fixture = await startFixture({ protocol: 'HTTP11' })
  return fixture
}

describe('header hygiene', () => {
  it('toward the application', async () => {
    const { port, orders } = await start()
    await ask(port, {
      headers: {
        host: 'app',
        connection: 'x-hop',
        'x-hop': '1',
        'keep-alive': 'timeout=1',
        te: 'gzip, trailers',
        'x-envoy-retry-on': '5xx',
        'x-envoy-upstream-rq-timeout-ms': '1',
        'x-forwarded-client-cert': 'By=me',
        x_forwarded_client_cert: 'By=me',
        X_Envoy_Retry_On: '5xx',
        Transfer_Encoding: 'chunked',
        'x-forwarded-for': '1.2.3.4',
        baggage: 'a=b',
        forwarded: 'for=1.2.3.4',
        traceparent: 'old',
        'x-a': ['1', '2'],
      },
    })
    const headers = orders[0]?.request.headers
    expect(headers?.get('x-request-id')).toMatch(/^[\da-f]{8}-[\da-f]{4}-4/)
    headers?.delete('x-request-id')
    expect([...(headers ?? [])]).toEqual([
      ['te', 'trailers'],
      ['x-forwarded-for', '1.2.3.4'],
      ['baggage', 'a=b'],
      ['forwarded', 'for=1.2.3.4'],
      ['x-a', '1'],
      ['x-a', '2'],
      ['x-forwarded-proto', 'http'],
      ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ])
    await ask(port, { headers: { 'x-request-id': 'mine', 'x-forwarded-proto': 'https' } })
    expect(orders[1]?.request.headers.get('x-request-id')).toBe('mine')
    expect(orders[1]?.request.headers.get('x-forwarded-proto')).toBe('https')
  })

  it.each([
    [204, undefined],
    [304, undefined],
    [200, '5'],
  ])('the length of a %d', async (status, length) => {
    fixture = await startFixture({
      protocol: 'HTTP11',
      respond: () => answer({ status, headers: new HeaderFields([['content-length', '5']]) }),
    })
    const { message } = await ask(fixture.port, { method: 'HEAD' })
    expect(message.headers['content-length']).toBe(length)
  })

  it('a proxy form of the target names the authority', async () => {
    const { port, orders } = await start()
    await ask(port, { path: 'http://other:8080/x?y', headers: { host: 'app' } })
    expect(orders[0]?.request).toMatchObject({ authority: 'other:8080', path: '/x?y' })
    await ask(port, { path: '*', method: 'OPTIONS', headers: { host: 'app' } })
    expect(orders[1]?.request.path).toBe('*')
  })
})

describe('trailers', () => {
  it('say nothing that counts in a head alone', () => {
    const kept = [
      ['grpc-status', '0'],
      ['grpc-message', 'ok'],
      ['x-sum', '1'],
      ['x-sum', '2'],
      ['etag', '"a"'],
    ] as const
    const dropped = [
      'connection',
      'keep-alive',
      'transfer-encoding',
      'content-length',
      'content-type',
      'te',
      'trailer',
      'host',
      'upgrade',
      'authorization',
      'cookie',
      'if-match',
      'x-envoy-retry-on',
      'x-forwarded-client-cert',
      'x_forwarded_client_cert',
      'x-forwarded-for',
      'x-request-id',
      ':path',
      'a name',
      '',
    ].map(name => [name, 'x'] as const)
    const trailers = cleanTrailers(new HeaderFields([...dropped, ...kept, ['x-b', '1\r\nx-c: 2']]))
    expect([...trailers]).toEqual(kept)
  })

  it('are those of a connection when they are named, and of a single field the first', () => {
    const fields = new HeaderFields([
      ['connection', 'x-hop'],
      ['x-hop', '1'],
      ['referer', 'a'],
      ['referer', 'b'],
    ])
    expect([...cleanTrailers(fields)]).toEqual([['referer', 'a']])
  })
})
