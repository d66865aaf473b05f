/** CUSTOM and the bodies of requests: what a provider sees of them, what goes on, and what comes behind them. */
import { once } from 'node:events'
import { type Clock, systemClock } from '@ambient/core'
import { describe, expect, it, vi } from 'vitest'
import { asked } from './ext-authz-world.ts'

const denied = {
  status: { code: 7 },
  httpResponse: { case: 'deniedResponse', value: { status: { code: 401 }, body: 'no' } },
} as const

describe('a request’s body', () => {
  const packed = (fields: string) => ({ fields: [`includeRequestBodyInCheck: { ${fields} }`] })

  it('is shown to the provider and then goes on whole', async () => {
    let got = ''
    const { world, provider } = await asked(() => ({ status: { code: 0 } }), {
      ...packed('maxRequestBytes: 10'),
      app: (request, response) => {
        request.on('data', chunk => {
          got += String(chunk)
        })
        request.on('end', () => response.end('ok'))
      },
    })
    expect((await world.fetch('/', { method: 'POST', body: '0123456789' })).status).toBe(200)
    expect(got).toBe('0123456789')
    expect(provider.requests[0]?.attributes?.request?.http).toMatchObject({
      body: '0123456789',
      headers: { 'x-envoy-auth-partial-body': 'false' },
    })
    const tooLong = await world.fetch('/', { method: 'POST', body: '0123456789a' })
    expect([tooLong.status, tooLong.body]).toEqual([413, 'Payload Too Large'])
    expect(provider.requests).toHaveLength(1)
  })

  it('is cut for the provider where that is allowed, and never for the upstream', async () => {
    let got = 0
    const { world, provider } = await asked(() => ({ status: { code: 0 } }), {
      ...packed('maxRequestBytes: 4, allowPartialMessage: true, packAsBytes: true'),
      app: (request, response) => {
        request.on('data', chunk => {
          got += chunk.length
        })
        request.on('end', () => response.end('ok'))
      },
    })
    const body = 'x'.repeat(300_000)
    const fields = { 'transfer-encoding': 'chunked', 'x-envoy-auth-partial-body': 'false' }
    expect((await world.fetch('/', { method: 'POST', body, fields })).status).toBe(200)
    expect(got).toBe(300_000)
    const http = provider.requests[0]?.attributes?.request?.http
    const { rawBody, body: text, headers } = http ?? {}
    const isPartial = headers?.['x-envoy-auth-partial-body']
    expect([String(Buffer.from(rawBody ?? [])), text, isPartial]).toEqual(['xxxx', '', 'true'])
  })

  it('of a chunked request that is too long is refused too', async () => {
    const { world, provider, seen } = await asked(
      () => ({ status: { code: 0 } }),
      packed('maxRequestBytes: 4'),
    )
    const fields = { 'transfer-encoding': 'chunked' }
    expect((await world.fetch('/', { method: 'POST', body: '12345', fields })).status).toBe(413)
    expect([provider.requests, seen]).toEqual([[], []])
  })

  it('that never comes to the end of what is to be seen is 408 in time, whoever may fail', async () => {
    const late: (() => void)[] = []
    const clock: Clock = {
      ...systemClock,
      after(delayMs, run, how) {
        if (delayMs !== 300_000) return systemClock.after(delayMs, run, how)
        late.push(run)
        return { cancel: () => void late.splice(0) }
      },
    }
    const { fields } = packed('maxRequestBytes: 10')
    const { world, provider, seen } = await asked(undefined, { fields: [...fields, 'failOpen: true'], clock })
    const socket = (await world.tunnel()).socket()
    let text = ''
    socket.on('error', () => {})
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.write('POST /slow HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\n\r\na')
    await vi.waitFor(() => expect(late).toHaveLength(1))
    socket.write('b')
    for (const run of late) run()
    await once(socket, 'end')
    socket.destroy()
    expect(text).toMatch(/^HTTP\/1.1 408 [\s\S]*\r\n\r\nrequest timeout$/)
    expect(await world.line(/"POST \/slow/)).toMatch(/ 408 - request_overall_timeout /)
    expect([provider.requests, seen]).toEqual([[], []])
  })

  it('that is not asked for is not read before the answer', async () => {
    let answer: () => void = () => {}
    const { world, provider, seen } = await asked(
      () =>
        new Promise(resolve => {
          answer = () => resolve({ status: { code: 0 } })
        }),
    )
    const socket = (await world.tunnel()).socket()
    let text = ''
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.write(
      'POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n',
    )
    await vi.waitFor(() => expect(provider.requests).toHaveLength(1))
    expect([text, seen]).toEqual(['', []])
    answer()
    await vi.waitFor(() => expect(text).toMatch(/^HTTP\/1.1 100/))
    socket.write('ok')
    await once(socket, 'end')
    expect(text).toMatch(/HTTP\/1.1 200/)
    socket.destroy()
  })
})

describe('what follows on the same connection', () => {
  /** Everything that two requests, sent at once, are answered. */
  async function both(first: string, options: Parameters<typeof asked>[1]): Promise<string> {
    const { world } = await asked(
      request => (request.attributes?.request?.http?.path === '/no' ? denied : { status: { code: 0 } }),
      options,
    )
    const socket = (await world.tunnel()).socket()
    let text = ''
    socket.on('error', () => {})
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.write(`${first}GET /second HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n`)
    await once(socket, 'end')
    socket.destroy()
    return [...text.matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status).join(' ')
  }
  const smuggled = 'GET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n'
  const chunked = (path: string): string =>
    `POST ${path} HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`
  const shown = { fields: ['includeRequestBodyInCheck: { maxRequestBytes: 4, allowPartialMessage: true }'] }
  const bounded = { fields: ['includeRequestBodyInCheck: { maxRequestBytes: 4 }'] }

  it.each([
    ['was passed on', chunked('/yes'), shown, '200 200'],
    ['was denied', chunked('/no'), shown, '401 200'],
    ['was too long', chunked('/yes'), bounded, '413 200'],
  ])(
    'a request with a body that %s is the next request, and never that body',
    async (_name, first, options, statuses) => {
      expect(await both(first, options)).toBe(statuses)
    },
  )
})
