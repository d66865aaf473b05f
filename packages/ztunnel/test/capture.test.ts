/** The preload, in child processes of its own: what is captured, what stays local, what programs see when it fails. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '@ambient/core'
import { replySocks, type SocksReply, socksReplies } from '@ambient/hbone/socks'
import { createTestIdentities } from '@ambient/identity/testing'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acceptSocks } from '../src/outbound/capture/socks5.ts'
import { cleanup, connectTo, loopbackAddress, serve } from './sockets.ts'

let folder = ''
/** The preload as Node runs it, both ways. */
const preload = { import: '', require: '' }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'capture-'))
  const source = await readFile(fileURLToPath(new URL('../src/capture.ts', import.meta.url)), 'utf8')
  const transpile = (module: ts.ModuleKind): string =>
    ts.transpileModule(source, {
      compilerOptions: { module, target: ts.ScriptTarget.ES2022, esModuleInterop: true },
    }).outputText
  preload.import = join(folder, 'capture.mjs')
  preload.require = join(folder, 'capture.cjs')
  await writeFile(preload.import, transpile(ts.ModuleKind.ESNext))
  await writeFile(preload.require, transpile(ts.ModuleKind.CommonJS))
})

afterAll(() => rm(folder, { recursive: true }))

interface Entrance {
  readonly proxy: string
  /** `user:password host:port` of each request, in order. */
  readonly requests: string[]
}

/** A SOCKS5 entrance that sends every connection to one place, whatever was asked for. */
async function entrance(to: { address: string; port: number } | SocksReply): Promise<Entrance> {
  const requests: string[] = []
  const { port } = await serve(async socket => {
    let login = ''
    socket.pause()
    try {
      const request = await acceptSocks(socket, {
        clock: systemClock,
        checkPassword: async (username, password) => {
          login = `${username}:${password}`
          return password === 'p@ss'
        },
      })
      requests.push(`${login} ${request.host}:${request.port} from ${socket.remoteAddress}`)
      if (typeof to === 'number') {
        replySocks(socket, to)
        socket.end()
        return
      }
      const upstream = await connectTo(to.address, to.port)
      replySocks(socket, socksReplies.succeeded)
      socket.pipe(upstream)
      upstream.pipe(socket)
    } catch {
      socket.destroy()
    }
  })
  return { proxy: `socks5://shop%2Fweb-1:p%40ss@127.0.0.1:${port}`, requests }
}

interface Outcome {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

function run(
  script: string,
  env: Record<string, string>,
  how: 'import' | 'require' = 'import',
): Promise<Outcome> {
  return new Promise(resolve => {
    const child = execFile(
      process.execPath,
      [`--${how}`, preload[how], '--input-type=module', '--eval', script],
      { env: { ...env, NODE_NO_WARNINGS: '1' }, timeout: 15_000 },
      (error, stdout, stderr) =>
        resolve({ stdout, stderr, code: error === null ? 0 : Number(error.code ?? 1) }),
    )
    cleanup(() => void child.kill())
  })
}

async function httpApp(): Promise<{ address: string; port: number }> {
  const server = createHttpServer((request, response) => {
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
    })
    request.on('end', () => response.end(`${request.method} ${request.headers.host}${request.url} ${size}`))
  })
  return listenOnLoopback(server)
}

async function secureApp(certificate: {
  cert: string
  key: string
}): Promise<{ address: string; port: number }> {
  return listenOnLoopback(
    createHttpsServer(certificate, (request, response) =>
      response.end(`${request.headers.host} ${request.url}`),
    ),
  )
}

async function listenOnLoopback(server: Server): Promise<{ address: string; port: number }> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  cleanup(() => {
    server.closeAllConnections()
    return new Promise<void>(resolve => server.close(() => resolve()))
  })
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  return { address: bound.address, port: bound.port }
}

describe('captured', () => {
  it.each(['import', 'require'] as const)('http and fetch, with names unresolved (--%s)', async how => {
    const own = loopbackAddress()
    const { proxy, requests } = await entrance(await httpApp())
    const script = `
      import http from 'node:http'
      const viaFetch = await (await fetch('http://reviews:9080/a', { method: 'POST', body: 'x'.repeat(100000) })).text()
      const viaHttp = await new Promise(resolve => http.get('http://ratings.shop:9080/b', response => {
        let text = ''
        response.on('data', chunk => { text += chunk }).on('end', () => resolve(text))
      }))
      console.log(viaFetch)
      console.log(viaHttp)`
    const { stdout, stderr } = await run(
      script,
      { AMBIENT_CAPTURE_PROXY: proxy, AMBIENT_CAPTURE_ADDRESS: own },
      how,
    )
    expect(stderr).toBe('')
    expect(stdout).toBe('POST reviews:9080/a 100000\nGET ratings.shop:9080/b 0\n')
    expect(requests).toEqual([
      `shop/web-1:p@ss reviews:9080 from ${own}`,
      `shop/web-1:p@ss ratings.shop:9080 from ${own}`,
    ])
  })

  it('programs that resolve a name first, as grpc-js does, reach it by that name', async () => {
    const { proxy, requests } = await entrance(await httpApp())
    const script = `
      import http from 'node:http'
      import dns, { promises } from 'node:dns'
      const get = host => new Promise(resolve =>
        http.get({ host, port: 9080, agent: false }, response => response.resume().on('end', resolve)))
      const [{ address }] = await promises.lookup('greeter.shop', { all: true })
      const again = await new Promise(resolve => dns.lookup('greeter.shop', (_, found) => resolve(found)))
      const other = await new Promise(resolve => dns.lookup('reviews', 4, (_, found) => resolve(found)))
      await get(address)
      await get(other)
      const local = await promises.lookup('localhost', 4)
      console.log(JSON.stringify([address === again, address === other, local.address]))`
    const { stdout, stderr } = await run(script, { AMBIENT_CAPTURE_PROXY: proxy })
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual([true, false, '127.0.0.1'])
    expect(requests.map(request => request.split(' ')[1])).toEqual(['greeter.shop:9080', 'reviews:9080'])
  })

  it('raw sockets: the server may speak first, writes before the connection are kept, halves close apart', async () => {
    const app = await serve(socket => {
      socket.write('banner\n')
      let text = ''
      socket.on('data', chunk => {
        text += chunk
      })
      socket.on('end', () => socket.end(`got ${text}`))
    })
    const { proxy, requests } = await entrance(app)
    const script = `
      import net from 'node:net'
      const socket = net.connect(3306, '127.77.1.2')
      const events = []
      for (const event of ['connect', 'ready', 'end', 'close']) socket.on(event, () => events.push(event))
      events.push('connecting ' + socket.connecting)
      socket.write('one ')
      socket.end('two')
      let text = ''
      socket.on('data', chunk => { text += chunk })
      socket.on('close', () => console.log(JSON.stringify({ text, events })))`
    const { stdout, stderr } = await run(script, { AMBIENT_CAPTURE_PROXY: proxy })
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({
      text: 'banner\ngot one two',
      events: ['connecting true', 'connect', 'ready', 'end', 'close'],
    })
    expect(requests[0]).toContain('127.77.1.2:3306')
  })

  it('tls and https, which speak to the application and not to the entrance', async () => {
    const ca = await createTestIdentities()
    const { certificateChain, privateKey } = await ca.ca.issueServerCertificate({
      dnsNames: ['secure'],
      ipAddresses: [],
    })
    const app = await secureApp({ cert: certificateChain, key: privateKey })
    const { proxy, requests } = await entrance(app)
    const script = `
      import https from 'node:https'
      import tls from 'node:tls'
      const ca = process.env.ROOT
      const socket = tls.connect({ host: 'secure', port: 443, servername: 'secure', ca })
      socket.on('secureConnect', () => socket.end('GET /raw HTTP/1.1\\r\\nhost: secure\\r\\nconnection: close\\r\\n\\r\\n'))
      let text = ''
      socket.on('data', chunk => { text += chunk })
      await new Promise(resolve => socket.on('close', resolve))
      console.log(socket.authorized, text.split('\\r\\n').at(-1))
      https.get('https://secure/b', { ca, agent: false }, response => {
        response.on('data', chunk => console.log(String(chunk)))
      })`
    const { stdout, stderr } = await run(script, { AMBIENT_CAPTURE_PROXY: proxy, ROOT: ca.ca.rootPem })
    expect(stderr).toBe('')
    expect(stdout).toBe('true secure /raw\nsecure /b\n')
    expect(requests).toHaveLength(2)
  })
})

describe('failures are Node’s own errors', () => {
  it.each([
    [socksReplies.notAllowed, 'EACCES'],
    [socksReplies.networkUnreachable, 'ENETUNREACH'],
    [socksReplies.hostUnreachable, 'EHOSTUNREACH'],
    [socksReplies.connectionRefused, 'ECONNREFUSED'],
    [socksReplies.generalFailure, 'ECONNRESET'],
  ])('reply %i is %s', async (reply, code) => {
    const { proxy } = await entrance(reply)
    const script = `
      import net from 'node:net'
      net.connect(80, 'reviews', () => console.log('connected'))
        .on('error', error => console.log(error.code + ' ' + error.message))`
    const { stdout } = await run(script, { AMBIENT_CAPTURE_PROXY: proxy })
    expect(stdout).toMatch(new RegExp(`^${code} connect ${code} reviews:80 \\(`))
  })

  it('a wrong password is EACCES, an entrance that is away ECONNREFUSED', async () => {
    const { proxy } = await entrance(socksReplies.succeeded)
    const script = `
      import net from 'node:net'
      net.connect(80, 'reviews').on('error', error => console.log(error.code))`
    const wrong = await run(script, { AMBIENT_CAPTURE_PROXY: proxy.replace('p%40ss', 'wrong') })
    expect(wrong.stdout).toBe('EACCES\n')
    const away = await run(script, { AMBIENT_CAPTURE_PROXY: 'socks5://a:b@127.0.0.1:1' })
    expect(away.stdout).toBe('ECONNREFUSED\n')
  })
})

describe('fails closed', () => {
  it('an entrance that cannot be read ends the program before it calls anybody', async () => {
    const { stdout, stderr } = await run(`console.log('started')`, {
      AMBIENT_CAPTURE_PROXY: 'socks5://a:b@localhost:1',
    })
    expect(stdout).toBe('')
    expect(stderr).toContain('AMBIENT_CAPTURE_PROXY is set, but not to socks5://')
  })

  it('a socket that reads past its stream is refused, not sent out in plaintext', async () => {
    const { proxy } = await entrance(socksReplies.succeeded)
    const script = `
      import net from 'node:net'
      const onread = { buffer: Buffer.alloc(100), callback: () => console.log('read') }
      net.connect({ port: 80, host: 'reviews', onread }).on('error', error => console.log(error.message))`
    const { stdout } = await run(script, { AMBIENT_CAPTURE_PROXY: proxy })
    expect(stdout).toContain('cannot be captured')
  })
})

describe('left alone', () => {
  it('localhost, 127.0.0.0/24, the own address, unix sockets', async () => {
    const own = loopbackAddress()
    const { proxy, requests } = await entrance(socksReplies.hostUnreachable)
    const local = await serve(socket => socket.end('local'))
    const script = `
      import net from 'node:net'
      import http from 'node:http'
      const read = options => new Promise((resolve, reject) => {
        let text = ''
        net.connect(options).on('data', chunk => { text += chunk }).on('end', () => resolve(text)).on('error', reject)
      })
      const unix = net.createServer(socket => socket.end('unix')).listen('\\0ambient-capture-${process.pid}')
      const app = http.createServer((request, response) => response.end('own')).listen(0)
      await new Promise(resolve => app.on('listening', resolve))
      console.log(await read({ port: ${local.port}, host: '127.0.0.1' }))
      console.log(await read({ port: ${local.port}, host: 'localhost', family: 4 }))
      console.log(await read({ port: ${local.port} , family: 4 }))
      console.log(await read({ path: '\\0ambient-capture-${process.pid}' }))
      console.log(app.address().address)
      console.log(await (await fetch('http://${own}:' + app.address().port, { headers: { connection: 'close' } })).text())
      unix.close()
      app.close()`
    const { stdout, stderr } = await run(script, {
      AMBIENT_CAPTURE_PROXY: proxy,
      AMBIENT_CAPTURE_ADDRESS: own,
    })
    expect(stderr).toBe('')
    expect(stdout).toBe(`local\nlocal\nlocal\nunix\n${own}\nown\n`)
    expect(requests).toEqual([])
  })

  it('every form of listen binds the workload’s address, unless it names one', async () => {
    const own = loopbackAddress()
    const script = `
      import net from 'node:net'
      const forms = [[0], ['0'], [0, '0.0.0.0'], [0, '::', 10], [{ port: 0 }], [{ port: 0, host: '' }], [], [0, '127.0.0.1'], [{ port: 0, host: '127.0.0.1' }]]
      for (const form of forms) {
        const server = net.createServer()
        await new Promise(resolve => server.listen(...form, resolve))
        console.log(server.address().address)
        server.close()
      }`
    const { stdout, stderr } = await run(script, { AMBIENT_CAPTURE_ADDRESS: own })
    expect(stderr).toBe('')
    expect(stdout.split('\n')).toEqual([...Array(7).fill(own), '127.0.0.1', '127.0.0.1', ''])
  })

  it('everything, without the variables', async () => {
    const local = await serve(socket => socket.end('direct'))
    const script = `
      import net from 'node:net'
      net.connect(${local.port}, '127.0.0.1').on('data', chunk => console.log(String(chunk)))`
    expect((await run(script, {})).stdout).toBe('direct\n')
  })
})
