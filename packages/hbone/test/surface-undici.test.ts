/** undici and fetch through tunnels: every major that this Node runs, TLS inside, drains, and errors that say what to install. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'
import { setGlobalDispatcher as setGlobal7, getGlobalDispatcher as getGlobal7 } from 'undici'
import { HboneError } from '@ambient/hbone'
import { createHboneDispatcher, createHboneFetch } from '@ambient/hbone/undici'
import { describe, expect, it } from 'vitest'
import { identities, later } from './harness.ts'
import { listening, quiet, type Tunnels, tunnels, tunnelsTo } from './tunnels.ts'
import { loadUndici, readModule } from '../src/undici/load.ts'

const require: (name: string) => object = createRequire(import.meta.url)
const nodeMajor = Number(process.versions.node.split('.')[0])

interface Major {
  readonly name: string
  readonly load: () => object
  readonly runs: boolean
  /** Majors of Node whose global `fetch` takes its dispatchers. */
  readonly fetches: readonly number[]
}

const MAJORS: readonly Major[] = [
  { name: 'undici 6', load: () => require('undici6'), runs: true, fetches: [20, 22, 24] },
  { name: 'undici 7', load: () => require('undici'), runs: true, fetches: [20, 22, 24, 26] },
  { name: 'undici 8', load: () => require('undici8'), runs: nodeMajor >= 22, fetches: [26] },
]

function answer(request: IncomingMessage, response: ServerResponse): void {
  text(request).then(
    body => response.end(`${request.method} ${request.headers.host} ${request.url} ${body.length}`),
    () => response.destroy(),
  )
}

async function meshedApp(
  onRequest = answer,
): Promise<{ ends: Tunnels; url: string; connections: () => number }> {
  const app = createServer(onRequest)
  let connections = 0
  app.on('connection', () => connections++)
  const [ends, { port }] = [await tunnels(), await listening(app)]
  return { ends, url: `http://app.shop:${port}`, connections: () => connections }
}

for (const { name, load, runs, fetches } of MAJORS) {
  const title = runs ? name : `${name} (skipped: it does not run on Node ${process.versions.node})`
  describe.skipIf(!runs)(title, () => {
    it('fetches, keeps connections, sends and receives large bodies', async () => {
      const { ends, url, connections } = await meshedApp()
      const fetch = createHboneFetch({ open: ends.open, undici: load(), connections: 1 })
      for (const path of ['/a', '/b'])
        expect(await (await fetch(url + path)).text()).toContain(`GET app.shop`)
      const big = await fetch(`${url}/big`, { method: 'POST', body: 'x'.repeat(1_000_000) })
      expect(await big.text()).toMatch(/^POST app\.shop:\d+ \/big 1000000$/)
      expect(connections()).toBe(1)
      await fetch.close()
      await quiet(ends)
    })

    it('takes Request and FormData of the platform', async () => {
      const { ends, url } = await meshedApp((request, response) => void request.pipe(response))
      const fetch = createHboneFetch({ open: ends.open, undici: load() })
      const request = new Request(`${url}/echo`, {
        method: 'POST',
        body: 'from a Request',
        headers: { 'x-a': 'b' },
      })
      expect(await (await fetch(request)).text()).toBe('from a Request')
      const form = new FormData()
      form.append('field', 'value')
      form.append('file', new Blob(['bytes']), 'name.txt')
      const sent = await (await fetch(url, { method: 'POST', body: form })).text()
      expect(sent).toContain('name="field"')
      expect(sent).toContain('filename="name.txt"')
      const headers = new Headers({ 'x-one': 'two' })
      expect((await fetch(url, { method: 'POST', body: 'h', headers })).status).toBe(200)
      await fetch.close()
    })

    it('speaks TLS inside the tunnel for https', async () => {
      const { certificateChain, privateKey } = await identities.ca.issueServerCertificate({
        dnsNames: ['app.shop'],
        ipAddresses: ['127.0.0.1'],
      })
      const app = createTlsServer({ cert: certificateChain, key: privateKey }, answer)
      const [ends, { port }] = [await tunnels(), await listening(app)]
      const ca = identities.ca.rootPem
      const fetch = createHboneFetch({ open: ends.open, undici: load(), connect: { ca } })
      expect(await (await fetch(`https://app.shop:${port}/secret`)).text()).toContain('/secret')
      expect(await (await fetch(`https://127.0.0.1:${port}/by-ip`)).text()).toContain('/by-ip')
      await expect(fetch(`https://other.shop:${port}/`)).rejects.toMatchObject({
        cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
      })
      await fetch.close()
      await quiet(ends)
    })

    it('fails a request whose tunnel cannot be opened with the reason', async () => {
      const ends = await tunnelsTo({ onTunnel: request => request.refuse(503) })
      const fetch = createHboneFetch({ open: ends.open, undici: load() })
      const error = await fetch('http://app.shop/').catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(TypeError)
      expect(error).toMatchObject({ cause: { code: 'AMBIENT_E_HBONE_REFUSED', status: 503 } })
      await fetch.close()
    })

    it('closes idle connections when the session drains; a request under way finishes first', async () => {
      let finish = (): void => {}
      const { ends, url, connections } = await meshedApp((request, response) => {
        if (request.url !== '/slow') return void response.end('ok')
        response.write('begun ')
        finish = () => response.end('done')
      })
      const fetch = createHboneFetch({ open: ends.open, undici: load() })
      await (await fetch(url)).text()
      ends.pool.retire()
      await quiet(ends)
      const slow = await fetch(`${url}/slow`)
      ends.pool.retire()
      expect(connections()).toBe(2)
      finish()
      expect(await slow.text()).toBe('begun done')
      await quiet(ends)
      expect(await (await fetch(url)).text()).toBe('ok')
      expect(connections()).toBe(3)
      await fetch.close()
    })

    it('gives up on a tunnel when its time is up, and when it is destroyed', async () => {
      const waiting: AbortSignal[] = []
      const open = (_target: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<never> =>
        new Promise((_resolve, reject) => {
          if (signal === undefined) return
          waiting.push(signal)
          signal.addEventListener('abort', () => reject(signal.reason))
        })
      const hasty = createHboneFetch({ open, undici: load(), connect: { timeout: 5 } })
      await expect(hasty('http://app.shop/')).rejects.toMatchObject({
        cause: { code: 'AMBIENT_E_HBONE_TIMEOUT', message: 'no tunnel to app.shop:80 within 5 ms' },
      })
      await hasty.dispatcher.destroy()
      const patient = createHboneFetch({ open, undici: load() })
      const failed = expect(patient('http://app.shop/')).rejects.toBeInstanceOf(TypeError)
      while (waiting.length < 2) await new Promise(resolve => setImmediate(resolve))
      await patient.dispatcher.destroy()
      await failed
      expect(waiting.map(signal => signal.aborted)).toEqual([true, true])
    })

    const taken = fetches.includes(nodeMajor)
    it(`is ${taken ? 'taken' : 'refused, in words,'} by the global fetch of Node ${nodeMajor}`, async () => {
      const { ends, url } = await meshedApp()
      const dispatcher = createHboneDispatcher({ open: ends.open, undici: load() })
      // The platform's types know no dispatcher.
      const answered = fetch(url, { dispatcher } as unknown as RequestInit)
      if (taken) expect(await (await answered).text()).toContain('GET app.shop')
      else {
        const error: unknown = await answered.catch((reason: unknown) => reason)
        const { cause } = error as { cause: HboneError }
        expect(cause.code).toBe('AMBIENT_E_HBONE_DEPENDENCY')
        expect(cause.message).toContain('npm install undici@7')
      }
      await dispatcher.destroy()
      await quiet(ends)
    })
  })
}

describe('the undici that is installed', () => {
  it('is used by itself, and serves the global fetch as global dispatcher', async () => {
    const { ends, url } = await meshedApp()
    const dispatcher = createHboneDispatcher({ open: ends.open })
    const before = getGlobal7()
    setGlobal7(dispatcher)
    later(async () => setGlobal7(before))
    expect(await (await fetch(url)).text()).toContain('GET app.shop')
    const { body, statusCode } = await dispatcher.request({ origin: url, path: '/request', method: 'GET' })
    expect([statusCode, await body.text()]).toEqual([200, expect.stringContaining('/request')])
    await dispatcher.close()
    await quiet(ends)
  })

  it('speaks HTTP/2 inside the tunnel when asked to', async () => {
    const { certificateChain, privateKey } = await identities.ca.issueServerCertificate({
      dnsNames: ['app.shop'],
      ipAddresses: [],
    })
    const { createSecureServer } = await import('node:http2')
    const app = createSecureServer({ cert: certificateChain, key: privateKey, allowHTTP1: true })
    app.on('request', (request, response) => response.end(request.httpVersion))
    const [ends, { port }] = [await tunnels(), await listening(app)]
    const connect = { ca: identities.ca.rootPem }
    const fetch = createHboneFetch({ open: ends.open, allowH2: true, connect })
    expect(await (await fetch(`https://app.shop:${port}/`)).text()).toBe('2.0')
    await fetch.close()
    await quiet(ends)
  })

  it('is told when it is missing, too old, too new, or not for this Node', () => {
    const having = (version: string) => (id: string) => {
      if (id === 'undici/package.json') return { version }
      throw new TypeError("Cannot read properties of undefined (reading 'bind')")
    }
    const missing = (): never => {
      throw Object.assign(new Error("Cannot find module 'undici/package.json'"), { code: 'MODULE_NOT_FOUND' })
    }
    const said = (require: (id: string) => unknown): string => {
      try {
        loadUndici(require)
      } catch (error) {
        if (error instanceof HboneError && error.code === 'AMBIENT_E_HBONE_DEPENDENCY') return error.message
      }
      return 'nothing'
    }
    expect(said(missing)).toBe('undici is not installed: npm install undici@7')
    expect(said(having('5.29.0'))).toContain('undici 5.29.0 is installed, 6.21 or later, 7 and 8 are known')
    expect(said(having('6.20.1'))).toContain('6.20.1')
    expect(said(having('9.0.0'))).toContain('9.0.0')
    expect(said(having('8.12.4'))).toBe(
      `undici 8.12.4 does not run on Node ${process.versions.node}: npm install undici@7`,
    )
    expect(() => readModule({ Agent: Map })).toThrow('not the module of undici')
  })

  it('ends a response that was cut as an error, never as an end', async () => {
    const { ends, url } = await meshedApp((request, response) => {
      response.writeHead(200)
      response.write('half')
      setImmediate(() => request.socket.resetAndDestroy())
    })
    const fetch = createHboneFetch({ open: ends.open })
    await expect(fetch(url).then(response => response.text())).rejects.toBeInstanceOf(TypeError)
    await fetch.close()
    await quiet(ends)
  })
})
