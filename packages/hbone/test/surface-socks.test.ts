/** The SOCKS5 listener over real HBONE: curl, whole transfers, ends and resets, what a refusal says, limits, the drain. */
import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { promisify } from 'node:util'
import { silentLogger } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { createSocksListener, requestSocks } from '@ambient/hbone/socks'
import { describe, expect, it } from 'vitest'
import { deferred } from './harness.ts'
import { drain, front, take, webServer } from './proxy-harness.ts'

const run = promisify(execFile)
const hasCurl = spawnSync('curl', ['--version']).status === 0
const timeoutMs = 5_000

/** The reply to CONNECT. */
function ask(socket: Socket, host: string, port = 80): Promise<number> {
  return requestSocks(socket, { host, port }, { timeoutMs })
}

describe('a SOCKS5 listener', () => {
  it.skipIf(!hasCurl)('serves curl, names unresolved (needs curl)', async () => {
    const { proxy, asked } = await front(createSocksListener)
    const { port } = await webServer()
    const { stdout } = await run('curl', [
      ...['--silent', '--noproxy', '', '--socks5-hostname', `127.0.0.1:${proxy.port}`],
      `http://reviews.shop.svc.cluster.local:${port}/a`,
    ])
    expect(stdout).toBe(`GET /a of reviews.shop.svc.cluster.local:${port}\n`)
    expect(asked).toEqual([`reviews.shop.svc.cluster.local:${port}`])
  })

  it('carries a megabyte each way, and an end in either direction', async () => {
    const { client } = await front(createSocksListener)
    const socket = await client()
    expect(await ask(socket, 'echo.test')).toBe(0)
    const bytes = randomBytes(1 << 20)
    socket.end(bytes)
    const back = await drain(socket)
    expect(back.end).toBe('fin')
    expect(back.bytes.equals(bytes)).toBe(true)
  })

  it('passes what came in the same flight as the request', async () => {
    const { client } = await front(createSocksListener)
    const socket = await client()
    const name = Buffer.from('echo.test')
    socket.end(
      Buffer.concat([Buffer.from([5, 1, 0, 5, 1, 0, 3, name.length]), name, Buffer.from('\0\x50early')]),
    )
    expect((await drain(socket)).bytes.subarray(2 + 10).toString()).toBe('early')
  })

  it('passes a reset of the far side', async () => {
    const { client } = await front(createSocksListener)
    const socket = await client()
    expect(await ask(socket, 'reset.test')).toBe(0)
    socket.write('x')
    expect((await drain(socket)).end).toBe('reset')
  })

  it.each([
    ['10.0.0.7', '10.0.0.7:8080'],
    ['fd00::7', '[fd00::7]:8080'],
    ['Echo.Test', 'echo.test:8080'],
  ])('asks for %s as %s', async (host, authority) => {
    const reached = deferred<string>()
    const { client } = await front(createSocksListener, {
      open: async target => {
        reached.resolve(
          target.host.includes(':') ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`,
        )
        throw new Error('far enough')
      },
    })
    expect(await ask(await client(), host, 8080)).toBe(4)
    expect(await reached.promise).toBe(authority)
  })

  it.each([
    ['status-401.test', 2],
    ['status-403.test', 2],
    ['status-404.test', 4],
    ['status-503.test', 5],
    ['status-504.test', 6],
    ['status-400.test', 1],
    ['a..b', 8],
  ])('answers for %s with reply %i and ends', async (host, reply) => {
    const { client, failures } = await front(createSocksListener)
    const socket = await client()
    expect(await ask(socket, host)).toBe(reply)
    expect(await drain(socket)).toMatchObject({ end: 'fin' })
    expect(failures).toMatchObject([{ target: { host, port: 80 }, source: { address: '127.0.0.1' } }])
  })

  it('answers although the listener of failures throws, and tells the logger', async () => {
    const told: unknown[] = []
    const { client } = await front(createSocksListener, {
      onFailure: () => {
        throw new Error('a mistake')
      },
      logger: { ...silentLogger, error: fields => told.push(fields['error']) },
    })
    // Before there is a target, and after.
    const early = await client()
    early.end('no SOCKS')
    expect((await drain(early)).end).toBe('fin')
    const socket = await client()
    expect(await ask(socket, 'status-503.test')).toBe(5)
    expect((await drain(socket)).end).toBe('fin')
    expect(told).toEqual(['a mistake', 'a mistake'])
  })

  it('says that the HBONE peer cannot be reached', async () => {
    const { client, failures } = await front(createSocksListener, {
      open: () => Promise.reject(new Error('connecting to 127.0.0.1:1 failed')),
    })
    expect(await ask(await client(), 'echo.test')).toBe(4)
    expect(failures[0]?.error.code).toBe('AMBIENT_E_HBONE_UNREACHABLE')
  })

  it('asks for user name and password when it has somebody to ask', async () => {
    const checkLogin = (user: string, password: string): boolean => user === 'me' && password === 'it'
    const { client, failures } = await front(createSocksListener, { checkLogin })
    const target = { host: 'echo.test', port: 80 }
    const asking = async (password: string): Promise<number> =>
      requestSocks(await client(), target, { timeoutMs, login: { username: 'me', password } })
    expect(await asking('it')).toBe(0)
    await expect(asking('not it')).rejects.toMatchObject({ code: 'AMBIENT_E_SOCKS5' })
    await expect(requestSocks(await client(), target, { timeoutMs })).rejects.toThrow(
      'another authentication',
    )
    expect(failures.map(({ error }) => error.message)).toEqual([
      'the user name or password is wrong',
      'the client offers no user name and password',
    ])
  })
})

describe('a login that a SOCKS5 listener cannot check', () => {
  const target = { host: 'echo.test', port: 80 }
  const login = { username: 'me', password: 'it' }
  const cause = new Error('the directory is down')

  it.each([
    ['rejects', () => Promise.reject(cause)],
    [
      'throws',
      () => {
        throw cause
      },
    ],
  ])('is refused as a wrong one: a check that %s', async (_, checkLogin) => {
    const { client, asked, failures, proxy } = await front(createSocksListener, { checkLogin })
    const socket = await client()
    await expect(requestSocks(socket, target, { timeoutMs, login })).rejects.toThrow(
      'does not take this user name and password',
    )
    expect(failures.map(({ error }) => [error.code, error.cause])).toEqual([['AMBIENT_E_LOGIN_CHECK', cause]])
    expect(await drain(socket)).toEqual({ bytes: Buffer.alloc(0), end: 'fin' })
    socket.end()
    await until(() => proxy.connections === 0)
    expect(asked).toEqual([])
  })

  it('is refused after a time: a check that says nothing', async () => {
    const clock = createManualClock()
    let checks = 0
    const { client, failures, proxy } = await front(createSocksListener, {
      clock,
      checkLogin: () => {
        checks++
        return new Promise(() => {})
      },
    })
    const socket = await client()
    const refused = expect(requestSocks(socket, target, { timeoutMs, login })).rejects.toThrow(
      'does not take this user name and password',
    )
    await until(() => checks === 1)
    clock.advance(10_000)
    await refused
    expect(failures.map(({ error }) => error.code)).toEqual(['AMBIENT_E_LOGIN_CHECK'])
    socket.destroy()
    await until(() => proxy.connections === 0)
    expect(clock.pending).toBe(0)
  })
})

describe('a SOCKS5 listener bounds', () => {
  it('who may reach it', () => {
    const open = (): Promise<never> => Promise.reject(new Error('unused'))
    for (const host of ['0.0.0.0', '::', '', '127.example.com', '127.'])
      expect(() => createSocksListener({ open, listen: { host, port: 0 } })).toThrow('checkLogin')
    for (const host of ['127.0.0.1', '127.9.9.9', '::1'])
      createSocksListener({ open, listen: { host, port: 0 } })
    createSocksListener({ open, listen: { host: '0.0.0.0', port: 0 }, checkLogin: () => true })
    const limits = { maxPendingRequests: 0 }
    expect(() => createSocksListener({ open, listen: { host: '127.0.0.1', port: 0 }, limits })).toThrow(
      'limits.maxPendingRequests',
    )
  })

  it('how long a client may be silent', async () => {
    const clock = createManualClock()
    const { client, failures, proxy } = await front(createSocksListener, { clock })
    const socket = await client()
    socket.write(Buffer.from([5]))
    await until(() => clock.pending > 0)
    clock.advance(10_000)
    expect(await drain(socket)).toMatchObject({ end: 'fin' })
    socket.end()
    await until(() => proxy.connections === 0)
    expect(failures[0]?.error.code).toBe('AMBIENT_E_HBONE_TIMEOUT')
    expect(clock.pending).toBe(0)
  })

  it('how long a client that was refused may stay', async () => {
    const clock = createManualClock()
    const { client, proxy } = await front(createSocksListener, { clock })
    const socket = await client()
    expect(await ask(socket, 'status-401.test')).toBe(2)
    await until(() => clock.pending > 0)
    clock.advance(2_000)
    await until(() => proxy.connections === 0)
  })

  it('how many wait for their tunnels, and how many there are', async () => {
    const { client, proxy } = await front(createSocksListener, {
      limits: { maxPendingRequests: 2, maxConnections: 3 },
    })
    const open = await client()
    expect(await ask(open, 'echo.test')).toBe(0)
    const waiting = [await client(), await client()]
    await until(() => proxy.connections === 3)
    await drain(await client())
    waiting[0]?.destroy()
    await until(() => proxy.connections === 2)
    expect(await ask(await client(), 'echo.test')).toBe(0)
    await until(() => proxy.connections === 3)
    await drain(await client())
  })
})

describe('the end of a SOCKS5 listener', () => {
  it('lets connections finish and takes no more', async () => {
    const { client, proxy } = await front(createSocksListener)
    const socket = await client()
    expect(await ask(socket, 'echo.test')).toBe(0)
    const closing = proxy.close({ graceMs: 60_000 })
    socket.write('still')
    expect((await take(socket, 5)).toString()).toBe('still')
    await expect(client()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    socket.end()
    await drain(socket)
    await closing
  })

  it('cuts what is left, with a reset, and gives up tunnels that nobody waits for', async () => {
    const { client, proxy, asked } = await front(createSocksListener)
    const socket = await client()
    expect(await ask(socket, 'echo.test')).toBe(0)
    const waiting = await client()
    const answer = ask(waiting, 'never.test').catch((error: Error) => error.message)
    await until(() => asked.length === 2)
    await proxy.close({ graceMs: 1 })
    expect((await drain(socket)).end).toBe('reset')
    expect(await answer).not.toBe(0)
    expect(proxy.connections).toBe(0)
    await expect(proxy.start()).rejects.toMatchObject({ code: 'AMBIENT_E_CLOSED' })
  })
})

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setImmediate(resolve))
}
