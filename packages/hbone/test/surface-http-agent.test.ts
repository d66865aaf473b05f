/** Node's HTTP clients through tunnels: keep-alive, limits, times, aborts, drains, TLS inside, axios. */
import { getEventListeners, once } from 'node:events'
import { type Agent, createServer, get, type IncomingMessage, request, type RequestListener } from 'node:http'
import { createServer as createTlsServer, get as getTls } from 'node:https'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect, type OpenTunnel } from '@ambient/hbone'
import { createHboneFetch } from '@ambient/hbone/undici'
import { createHboneAgent, createHboneHttpsAgent } from '@ambient/hbone/http'
import axios from 'axios'
import { describe, expect, it } from 'vitest'
import { deferred, identities, later } from './harness.ts'
import { listening, quiet, type Tunnels, tunnels, tunnelsTo } from './tunnels.ts'

interface App {
  readonly ends: Tunnels
  readonly url: string
  readonly server: ReturnType<typeof createServer>
  readonly connections: () => number
}

async function meshedApp(
  onRequest: RequestListener = (_request, response) => void response.end('ok'),
): Promise<App> {
  const server = createServer(onRequest)
  let connections = 0
  server.on('connection', () => connections++)
  const [ends, { port }] = [await tunnels(), await listening(server)]
  return { ends, url: `http://app.shop:${port}`, server, connections: () => connections }
}

async function read(url: string, agent: Agent): Promise<string> {
  const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage]
  return text(response)
}

/** The agent puts a connection to rest after the response's end was told. */
async function resting(agent: Agent): Promise<void> {
  while (Object.keys(agent.freeSockets).length === 0) await new Promise(resolve => setImmediate(resolve))
}

/** Tunnels that never come; each signal is told. */
function never(signals: AbortSignal[]): OpenTunnel {
  return (_target, { signal } = {}) =>
    new Promise((_resolve, reject) => {
      if (signal === undefined) return
      signals.push(signal)
      signal.addEventListener('abort', () => reject(signal.reason))
    })
}

describe('createHboneAgent', () => {
  it('keeps connections and respects maxSockets', async () => {
    const { ends, url, connections } = await meshedApp()
    const agent = createHboneAgent({ open: ends.open, maxSockets: 1 })
    expect(await Promise.all(['/a', '/b', '/c'].map(path => read(url + path, agent)))).toEqual([
      'ok',
      'ok',
      'ok',
    ])
    expect(connections()).toBe(1)
    agent.destroy()
    await quiet(ends)
  })

  it('opens a tunnel per request when keepAlive is off', async () => {
    const { ends, url, connections } = await meshedApp()
    const agent = createHboneAgent({ open: ends.open, keepAlive: false })
    await read(url, agent)
    await quiet(ends)
    await read(url, agent)
    expect(connections()).toBe(2)
    await quiet(ends)
  })

  it('uses a tunnel that has a session of its own for one request', async () => {
    const { ends, url, connections } = await meshedApp()
    // Its session takes no further tunnels from the beginning.
    const open: OpenTunnel = ({ port }) => connect(ends.request({ authority: `127.0.0.1:${port}` }))
    const agent = createHboneAgent({ open })
    expect(await Promise.all([read(url, agent), read(url, agent)])).toEqual(['ok', 'ok'])
    const fetch = createHboneFetch({ open })
    for (let times = 0; times < 2; times++) expect(await (await fetch(url)).text()).toBe('ok')
    expect(connections()).toBe(4)
    await quiet(ends)
    await fetch.close()
  })

  it('asks for the host and port of the URL, names and addresses of both families', async () => {
    const asked: unknown[] = []
    const open: OpenTunnel = target => {
      asked.push(target)
      return Promise.reject(new Error('enough'))
    }
    const agent = createHboneAgent({ open })
    for (const url of ['http://app.shop', 'http://10.0.0.7:8080', 'http://[fd00::7]:81'])
      await expect(read(url, agent)).rejects.toThrow('enough')
    expect(asked).toEqual([
      { host: 'app.shop', port: 80 },
      { host: '10.0.0.7', port: 8080 },
      { host: 'fd00::7', port: 81 },
    ])
    await expect(once(get({ socketPath: '/run/app.sock', agent }), 'response')).rejects.toThrow(
      '/run/app.sock',
    )
  })

  it('fails a request with the reason why there is no tunnel', async () => {
    const ends = await tunnelsTo({ onTunnel: tunnel => tunnel.refuse(401) })
    const agent = createHboneAgent({ open: ends.open })
    await expect(read('http://app.shop/', agent)).rejects.toMatchObject({
      code: 'AMBIENT_E_HBONE_REFUSED',
      status: 401,
    })
  })

  it('takes CONNECT back when a request is aborted, and times out while connecting', async () => {
    const signals: AbortSignal[] = []
    const agent = createHboneAgent({ open: never(signals) })
    const aborter = new AbortController()
    const aborted = get('http://app.shop/', { agent, signal: aborter.signal })
    const [socket] = (await once(aborted, 'socket')) as [Socket]
    expect(socket.connecting).toBe(true)
    aborter.abort()
    await expect(once(aborted, 'response')).rejects.toMatchObject({ name: 'AbortError' })
    const late = get('http://app.shop/', { agent, timeout: 5 })
    await once(late, 'timeout')
    late.destroy(new Error('too late'))
    await expect(once(late, 'response')).rejects.toThrow('too late')
    while (signals.some(signal => !signal.aborted)) await new Promise(resolve => setImmediate(resolve))
    expect(signals).toHaveLength(2)
  })

  it('leaves nothing on a session whose tunnel comes after its request was aborted', async () => {
    const { ends, url } = await meshedApp()
    const opened = deferred<AbortSignal>()
    const gone = deferred<void>()
    const open: OpenTunnel = async target => {
      // A dial that does not look at its signal.
      const tunnel = await ends.open(target)
      opened.resolve(tunnel.draining)
      await gone.promise
      return tunnel
    }
    const agent = createHboneAgent({ open })
    const asking = get(url, { agent })
    asking.on('error', () => {})
    const [socket] = (await once(asking, 'socket')) as [Socket]
    const draining = await opened.promise
    const before = getEventListeners(draining, 'abort').length
    const closed = once(socket, 'close')
    asking.destroy()
    await closed
    gone.resolve()
    await quiet(ends)
    expect(getEventListeners(draining, 'abort').length).toBeLessThanOrEqual(before)
    // The session is still there, for others.
    expect([draining.aborted, ends.pool.sessions]).toEqual([false, 1])
  })

  it('closes connections at rest when the session drains, and others after their request', async () => {
    const held = deferred<() => void>()
    const { ends, url, connections } = await meshedApp((incoming, response) => {
      if (incoming.url !== '/slow') return void response.end('ok')
      response.write('begun ')
      held.resolve(() => response.end('done'))
    })
    const agent = createHboneAgent({ open: ends.open, maxSockets: 1 })
    await read(url, agent)
    await resting(agent)
    ends.pool.retire()
    await quiet(ends)
    const slow = read(`${url}/slow`, agent)
    const next = read(url, agent)
    const finish = await held.promise
    ends.pool.retire()
    finish()
    expect(await slow).toBe('begun done')
    // The one that waited for the connection goes by a new one.
    expect(await next).toBe('ok')
    expect(connections()).toBe(3)
    agent.destroy()
    await quiet(ends)
  })

  it('is done with a connection at rest when the server ends it, or says something unasked', async () => {
    const { ends, url, server, connections } = await meshedApp()
    server.keepAliveTimeout = 1
    const agent = createHboneAgent({ open: ends.open })
    await read(url, agent)
    await quiet(ends)
    server.keepAliveTimeout = 60_000
    const connected = once(server, 'connection')
    await read(url, agent)
    await resting(agent)
    const [socket] = (await connected) as [Socket]
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison')
    await quiet(ends)
    expect(await read(url, agent)).toBe('ok')
    expect(connections()).toBe(3)
    agent.destroy()
    await quiet(ends)
  })

  it('does not wait for a server that has ended without an answer', async () => {
    const { ends, url } = await meshedApp(incoming => incoming.socket.end())
    const agent = createHboneAgent({ open: ends.open })
    await expect(read(url, agent)).rejects.toMatchObject({ code: 'ECONNRESET' })
    await quiet(ends)
  })

  it('carries axios: redirects, times, large bodies', async () => {
    const { ends, url } = await meshedApp((incoming, response) => {
      if (incoming.url === '/silent') return
      if (incoming.url === '/moved') return void response.writeHead(302, { location: '/there' }).end()
      text(incoming).then(body => response.end(`${incoming.url} ${body.length}`))
    })
    const agent = createHboneAgent({ open: ends.open })
    const client = axios.create({ baseURL: url, httpAgent: agent, proxy: false })
    expect((await client.get('/moved')).data).toBe('/there 0')
    expect((await client.post('/big', 'x'.repeat(500_000))).data).toBe('/big 500000')
    await expect(client.get('/silent', { timeout: 20 })).rejects.toMatchObject({ code: 'ECONNABORTED' })
    agent.destroy()
    await quiet(ends)
  })

  it('waits for 100-continue and streams a request body', async () => {
    const { ends, url } = await meshedApp((incoming, response) => void incoming.pipe(response))
    const agent = createHboneAgent({ open: ends.open })
    const outgoing = request(url, { agent, method: 'POST', headers: { expect: '100-continue' } })
    outgoing.flushHeaders()
    await once(outgoing, 'continue')
    outgoing.end('after the nod')
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect(await text(response)).toBe('after the nod')
    agent.destroy()
    await quiet(ends)
  })
})

describe('createHboneHttpsAgent', () => {
  async function secureApp(): Promise<{ ends: Tunnels; url: string; connections: () => number }> {
    const { certificateChain, privateKey } = await identities.ca.issueServerCertificate({
      dnsNames: ['app.shop'],
      ipAddresses: [],
    })
    let connections = 0
    const server = createTlsServer({ cert: certificateChain, key: privateKey }, (_incoming, response) =>
      response.end('secret'),
    )
    server.on('secureConnection', () => connections++)
    const [ends, { port }] = [await tunnels(), await listening(server)]
    return { ends, url: `https://app.shop:${port}`, connections: () => connections }
  }

  async function readTls(url: string, agent: Agent): Promise<string> {
    const [response] = (await once(getTls(url, { agent }), 'response')) as [IncomingMessage]
    return text(response)
  }

  it('speaks TLS inside the tunnel, keeps connections, and closes them when the session drains', async () => {
    const { ends, url, connections } = await secureApp()
    const agent = createHboneHttpsAgent({ open: ends.open, ca: identities.ca.rootPem })
    expect(await readTls(url, agent)).toBe('secret')
    await resting(agent)
    expect(await readTls(url, agent)).toBe('secret')
    expect(connections()).toBe(1)
    await resting(agent)
    ends.pool.retire()
    await quiet(ends)
    expect(await readTls(url, agent)).toBe('secret')
    agent.destroy()
    await quiet(ends)
  })

  it('fails with the reason: a name that the certificate lacks, a tunnel that does not come', async () => {
    const { ends, url } = await secureApp()
    const agent = createHboneHttpsAgent({ open: ends.open, ca: identities.ca.rootPem })
    await expect(readTls(url.replace('app', 'other'), agent)).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
    const open: OpenTunnel = () => Promise.reject(new Error('no way there'))
    await expect(readTls(url, createHboneHttpsAgent({ open }))).rejects.toThrow('no way there')
    const signals: AbortSignal[] = []
    const waiting = getTls(url, { agent: createHboneHttpsAgent({ open: never(signals) }) })
    await once(waiting, 'socket')
    while (signals.length === 0) await new Promise(resolve => setImmediate(resolve))
    const hungUp = once(waiting, 'error')
    waiting.destroy()
    await hungUp
    while (signals[0]?.aborted !== true) await new Promise(resolve => setImmediate(resolve))
    await quiet(ends)
    later(async () => agent.destroy())
  })
})
