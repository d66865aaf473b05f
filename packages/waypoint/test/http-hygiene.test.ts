/** What of a caller's header fields is believed, and what a request's target says. */
import { afterEach, describe, expect, it } from 'vitest'
import { ask, type Fixture, startFixture } from './http-fixture.ts'

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

  it('a proxy form of the target names the authority', async () => {
    const { port, orders } = await start()
    await ask(port, { path: 'http://other:8080/x?y', headers: { host: 'app' } })
    expect(orders[0]?.request).toMatchObject({ authority: 'other:8080', path: '/x?y' })
    await ask(port, { path: '*', method: 'OPTIONS', headers: { host: 'app' } })
    expect(orders[1]?.request.path).toBe('*')
  })
})
