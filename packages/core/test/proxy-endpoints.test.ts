/** The admin, statistics and readiness endpoints over real HTTP. */
import { text } from 'node:stream/consumers'
import { dial } from '@ambient/core/node'
import {
  adminHandler,
  createLogSink,
  createMetricsRegistry,
  createReadiness,
  type HttpHandler,
  readinessHandler,
  serveHttp,
  statsHandler,
} from '@ambient/core/proxy'
import { describe, expect, it, onTestFinished } from 'vitest'

async function start(handler: HttpHandler): Promise<{ url: string; port: number }> {
  const listener = await serveHttp({ host: '127.0.0.1', port: 0, handler })
  onTestFinished(() => listener.close())
  return { url: `http://127.0.0.1:${listener.port}`, port: listener.port }
}

async function get(
  url: string,
  init: RequestInit = {},
): Promise<{ status: number; body: string; type: string }> {
  const response = await fetch(url, { ...init, headers: { connection: 'close', ...init.headers } })
  return {
    status: response.status,
    body: await response.text(),
    type: response.headers.get('content-type') ?? '',
  }
}

async function startAdmin() {
  const metrics = createMetricsRegistry()
  metrics.gauge({ name: 'g', help: 'g', labels: [] }).set(1, [])
  const log = createLogSink({ format: 'plain', filter: 'info', write: () => {} })
  let quits = 0
  const handler = adminHandler({
    title: 'proxy',
    dumped: 'workloads',
    metrics,
    log,
    defaultFilter: 'info',
    configDump: () => ({ workloads: [] }),
    onQuit: () => {
      quits++
    },
  })
  return { ...(await start(handler)), log, quits: () => quits }
}

describe('the admin port', () => {
  it('serves metrics, the dump and an index', async () => {
    const { url } = await startAdmin()
    const expected = '# HELP g g\n# TYPE g gauge\ng 1\n# EOF\n'
    expect((await get(`${url}/stats/prometheus`)).body).toBe(expected)
    expect((await get(`${url}/metrics`)).body).toBe(expected)
    expect(JSON.parse((await get(`${url}/config_dump`)).body)).toEqual({ workloads: [] })
    expect((await get(url)).body).toContain('config_dump')
    expect((await get(`${url}/else`)).status).toBe(404)
  })

  it('changes the log filter by POST only', async () => {
    const { url, log } = await startAdmin()
    expect((await get(`${url}/logging`)).status).toBe(405)
    expect((await get(`${url}/logging`, { method: 'POST' })).body).toBe('current log level is info\n')
    await get(`${url}/logging?level=access=debug`, { method: 'POST' })
    expect(log.filter).toBe('info,access=debug')
    await get(`${url}/logging?level=warn&reset`, { method: 'POST' })
    expect(log.filter).toBe('info,warn')
    expect((await get(`${url}/logging?level=access:debug`, { method: 'POST' })).status).toBe(400)
  })

  it('quits by POST only', async () => {
    const { url, quits } = await startAdmin()
    expect((await get(`${url}/quitquitquit`)).status).toBe(405)
    expect((await get(`${url}/quitquitquit`, { method: 'POST' })).body).toBe('shutdown now\n')
    expect(quits()).toBe(1)
  })

  it('refuses another host’s name and a page’s request', async () => {
    const { url, port, quits } = await startAdmin()
    const socket = await dial({ host: '127.0.0.1', port })
    socket.end(`GET /config_dump HTTP/1.1\r\nhost: attacker.example:${port}\r\nconnection: close\r\n\r\n`)
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 403 /)
    const forged = await get(`${url}/quitquitquit`, {
      method: 'POST',
      headers: { origin: 'http://attacker.example' },
    })
    expect(forged.status).toBe(403)
    expect(quits()).toBe(0)
  })
})

describe('statistics', () => {
  it('are the same text, in the type that was asked for', async () => {
    const { url } = await start(statsHandler(createMetricsRegistry()))
    expect(await get(`${url}/stats/prometheus`)).toEqual({
      status: 200,
      body: '# EOF\n',
      type: 'text/plain; charset=utf-8',
    })
    const accept = 'text/plain, application/openmetrics-text; version=1.0.0'
    expect((await get(`${url}/metrics`, { headers: { accept } })).type).toBe(
      'application/openmetrics-text;charset=utf-8;version=1.0.0',
    )
    expect((await get(`${url}/`)).status).toBe(404)
  })
})

describe('readiness', () => {
  it('names what is pending, in order', async () => {
    const readiness = createReadiness()
    const [b, a] = [readiness.task('b'), readiness.task('a')]
    const { url } = await start(readinessHandler(readiness))
    expect(await get(`${url}/healthz/ready`)).toMatchObject({
      status: 500,
      body: 'not ready, pending: a, b\n',
    })
    b()
    a()
    expect(await get(`${url}/healthz/ready`)).toMatchObject({ status: 200, body: 'ready\n' })
    expect((await get(`${url}/healthz/ready`, { method: 'POST' })).status).toBe(405)
    expect((await get(url)).status).toBe(404)
  })
})

describe('a listener', () => {
  it('says which port is taken', async () => {
    const { port } = await start(() => ({ status: 200, body: '' }))
    await expect(
      serveHttp({ host: '127.0.0.1', port, handler: () => ({ status: 200, body: '' }) }),
    ).rejects.toThrow(`cannot listen on 127.0.0.1:${port}: port ${port} is in use`)
  })
})
