/** The dispatch desk over HTTP/1.1: reuse, bodies, ends and cuts, retries, time, mirrors, upgrades. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { WebSocketServer } from 'ws'
import { backend, cleanup, desk, noRetry, order, textOf } from './upstream-fixtures.ts'

const MIB = 1024 * 1024

function http(listener: RequestListener): Server {
  const server = createServer(listener)
  cleanup(() => server.closeAllConnections())
  return server
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('requests over HTTP/1.1', () => {
  it('go through one tunnel, one after the other, with the authority and fields that they were given', async () => {
    const seen: unknown[] = []
    const web = await backend(
      http((request, response) => {
        seen.push([request.headers.host, request.headers['x-a'], request.headers['x-envoy-attempt-count']])
        response.end(request.url)
      }),
    )
    const dispatcher = await desk([web])
    for (const path of ['/one', '/two', '/three']) {
      const result = await dispatcher.dispatch(order({ path, fields: { 'x-a': 'b' } }))
      expect(result).toMatchObject({ kind: 'response', attempts: 1, detail: 'via_upstream' })
      if (result.kind === 'response') expect(await textOf(result.response)).toBe(path)
      await expect.poll(() => dispatcher.idle).toBe(1)
    }
    expect(seen).toEqual(Array(3).fill(['web', 'b', '1']))
    expect(web.tunnels()).toBe(1)
    expect([dispatcher.active, dispatcher.idle]).toEqual([0, 1])
  })

  it('carry megabytes both ways unchanged', async () => {
    const sent = randomBytes(5 * MIB)
    const web = await backend(http(async (request, response) => response.end(await buffer(request))))
    const dispatcher = await desk([web])
    const result = await dispatcher.dispatch(order({ method: 'POST', body: Readable.from([sent]) }))
    if (result.kind !== 'response' || result.response.body === undefined) throw new Error('no response')
    expect(digest(await buffer(result.response.body))).toBe(digest(sent))
  })

  it('that are cut by the upstream end in an error, with a length and without one', async () => {
    for (const fields of [{ 'content-length': '100' }, {}]) {
      const web = await backend(
        http((_, response) => {
          response.writeHead(200, fields)
          response.write('half', () => response.socket?.resetAndDestroy())
        }),
      )
      const dispatcher = await desk([web])
      const result = await dispatcher.dispatch(order())
      if (result.kind !== 'response') throw new Error('no response')
      await expect(textOf(result.response)).rejects.toMatchObject({ code: 'ECONNRESET' })
    }
  })

  it('go in plaintext to an endpoint that is not in the mesh', async () => {
    const web = await backend(
      http((request, response) => response.end(request.url)),
      { hbone: false },
    )
    const result = await (await desk([web])).dispatch(order({ path: '/plain' }))
    expect(result.kind === 'response' && (await textOf(result.response))).toBe('/plain')
    expect(web.tunnels()).toBe(0)
  })

  it('that the caller gives up are given up upstream as well', async () => {
    const caller = new AbortController()
    let gone: Promise<unknown> = Promise.resolve()
    const web = await backend(
      http(request => {
        request.on('error', () => {})
        gone = new Promise(resolve => request.on('close', resolve))
        caller.abort()
      }),
    )
    const dispatcher = await desk([web])
    const result = await dispatcher.dispatch(order({ signal: caller.signal }))
    expect(result).toMatchObject({ kind: 'failed', status: 0, flag: 'DC' })
    expect(dispatcher.active).toBe(0)
    await gone
  })
})

describe('failures', () => {
  it('have the status, flag and words of Envoy', async () => {
    const closing = await backend(http(request => request.socket.destroy()))
    const garbage = await backend(
      createTcpServer(socket => socket.on('data', () => socket.end('what?\r\n\r\n'))),
    )
    const table = [
      [[], 503, 'UH', 'no healthy upstream'],
      [
        [closing],
        503,
        'UC',
        'upstream connect error or disconnect/reset before headers. reset reason: connection termination',
      ],
      [
        [garbage],
        502,
        'UPE',
        'upstream connect error or disconnect/reset before headers. reset reason: protocol error',
      ],
    ] as const
    for (const [backends, status, flag, body] of table)
      expect(await (await desk(backends)).dispatch(order())).toMatchObject({
        kind: 'failed',
        status,
        flag,
        body,
      })
  })

  it('to connect are connection failures', async () => {
    const web = await backend(http(() => {}))
    const nobody = { ...web, endpoint: { ...web.endpoint, address: '127.0.0.9', hbone: true } }
    expect(await (await desk([nobody])).dispatch(order())).toMatchObject({ status: 503, flag: 'UF' })
  })

  it('of time are 504', async () => {
    const web = await backend(http(() => {}))
    const result = await (await desk([web])).dispatch(order({ timeoutMs: 50 }))
    expect(result).toMatchObject({ status: 504, flag: 'UT', body: 'upstream request timeout' })
  })
})

describe('retries', () => {
  const on503 = {
    ...noRetry,
    attempts: 2,
    on: new Set(['retriable-status-codes']),
    statusCodes: new Set([503]),
  }

  function flaky(failures: number): { server: Server; bodies: string[] } {
    const bodies: string[] = []
    const server = http(async (request, response) => {
      bodies.push(String(await buffer(request)))
      response.writeHead(bodies.length <= failures ? 503 : 200).end(`answer ${bodies.length}`)
    })
    return { server, bodies }
  }

  it('send the body again, from its first byte', async () => {
    const { server, bodies } = flaky(2)
    const dispatcher = await desk([await backend(server)])
    const result = await dispatcher.dispatch(order({ method: 'POST', body: 'the body', retry: on503 }))
    expect(result).toMatchObject({ kind: 'response', attempts: 3, flags: [] })
    expect(bodies).toEqual(['the body', 'the body', 'the body'])
  })

  it('that run out hand on the last answer, and say so', async () => {
    const { server } = flaky(9)
    const result = await (await desk([await backend(server)])).dispatch(order({ retry: on503 }))
    expect(result).toMatchObject({ kind: 'response', attempts: 3, flags: ['URX'] })
    if (result.kind === 'response') expect(result.response.status).toBe(503)
  })

  it('are not made of a body that is too long to be remembered', async () => {
    const { server, bodies } = flaky(9)
    const long = Readable.from([randomBytes(MIB), randomBytes(MIB)])
    const result = await (await desk([await backend(server)])).dispatch(
      order({ method: 'POST', body: long, retry: on503 }),
    )
    expect(result).toMatchObject({ kind: 'response', attempts: 1 })
    expect(bodies).toHaveLength(1)
  })

  it('ask another endpoint', async () => {
    const asked: string[] = []
    const answering = (name: string, status: number): Server =>
      http((_, response) => {
        asked.push(name)
        response.writeHead(status).end()
      })
    const dispatcher = await desk([
      await backend(answering('bad', 503)),
      await backend(answering('good', 200)),
    ])
    const result = await dispatcher.dispatch(order({ retry: on503 }))
    expect(result.kind === 'response' && result.response.status).toBe(200)
    expect(asked).toEqual(['bad', 'good'])
  })

  it('have a time for each attempt', async () => {
    let asked = 0
    const web = await backend(
      http((_, response) => {
        asked++
        if (asked > 1) response.end('late')
      }),
    )
    const retry = { ...noRetry, attempts: 1, on: new Set(['gateway-error']), perTryTimeoutMs: 400 }
    const result = await (await desk([web])).dispatch(order({ retry }))
    expect(result).toMatchObject({ kind: 'response', attempts: 2 })
  })

  it('leave a response that has begun the time it takes', async () => {
    const clock = createManualClock()
    let finish = (): void => {}
    const web = await backend(
      http((request, response) => {
        request.resume()
        response.write('be')
        finish = () => void response.end('gun')
      }),
    )
    const retry = { ...noRetry, attempts: 1, on: new Set(['gateway-error']), perTryTimeoutMs: 400 }
    for (const body of [undefined, new PassThrough()]) {
      const dispatcher = await desk([web], { clock })
      const ask = body === undefined ? { retry } : { method: 'POST', body, retry }
      body?.write('first')
      const result = await dispatcher.dispatch(order(ask))
      if (result.kind !== 'response') throw new Error(result.reason)
      // The request's end, where it comes after the head, starts no clock either.
      body?.end('last')
      if (body !== undefined) await once(body, 'end')
      clock.advance(1_000)
      finish()
      expect(await textOf(result.response)).toBe('begun')
    }
  })
})

describe('mirrors and upgrades', () => {
  it('a copy with its body arrives; its failure is nobody’s business', async () => {
    const copyServer = createServer()
    const copied = new Promise<string>(resolve => {
      copyServer.on('request', async (request, response) => {
        resolve(`${request.method} ${request.url} ${await buffer(request)}`)
        response.destroy()
      })
    })
    const web = await backend(http(async (request, response) => response.end(await buffer(request))))
    const dispatcher = await desk([web], { mirrors: [await backend(copyServer)] })
    const mirrors = [{ cluster: { namespace: 'shop', hostname: 'copy', port: 80, subset: undefined } }]
    const result = await dispatcher.dispatch(order({ method: 'PUT', path: '/p', body: 'text', mirrors }))
    expect(result.kind === 'response' && (await textOf(result.response))).toBe('text')
    expect(await copied).toBe('PUT /p text')
  })
  it('a WebSocket is handed over as raw bytes', async () => {
    const server = createServer()
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', socket => socket.on('message', data => socket.send(`echo ${data}`)))
    const dispatcher = await desk([await backend(server)])
    const result = await dispatcher.dispatch(
      order({
        upgrade: 'websocket',
        fields: { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' },
      }),
    )
    if (result.kind !== 'response' || result.response.upgraded === undefined) throw new Error('no upgrade')
    expect(result.response.headers.get('sec-websocket-accept')).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
    const { upgraded } = result.response
    // A masked text frame, the mask all zeros.
    upgraded.write(Buffer.concat([Buffer.from([0x81, 0x82, 0, 0, 0, 0]), Buffer.from('hi')]))
    const [frame] = (await once(upgraded, 'data')) as [Buffer]
    expect(String(frame.subarray(2))).toBe('echo hi')
    upgraded.destroy()
  })
})
