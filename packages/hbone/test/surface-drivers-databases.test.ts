/** Database drivers over tunnels: pg with a real PostgreSQL where there is one, mysql2, ioredis. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createLazyTunnelSocket } from '@ambient/hbone'
import { AbstractConnector, Redis } from 'ioredis'
import mysql from 'mysql2'
import mysqlPromise from 'mysql2/promise'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listening, quiet, type Tunnels, tunnels } from './tunnels.ts'

/** Name and port of a database lead through a tunnel that opens while the driver waits for `'connect'`. */
function lazily(ends: Tunnels, port: number) {
  return createLazyTunnelSocket(signal => ends.open({ host: 'db.shop', port }, { signal }))
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

const hasPostgres = ['initdb', 'postgres'].every(name => spawnSync(name, ['--version']).status === 0)
const postgresTitle = hasPostgres
  ? 'pg with a real PostgreSQL'
  : 'pg with a real PostgreSQL (skipped: no initdb and postgres in PATH)'

describe.skipIf(!hasPostgres)(postgresTitle, () => {
  let folder = ''
  let port = 0
  let database: ChildProcess | undefined

  beforeAll(async () => {
    // It refuses to run as root.
    const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
    folder = mkdtempSync(join(tmpdir(), 'hbone-postgres-'))
    if (user.uid !== undefined) chownSync(folder, user.uid, user.gid)
    const data = join(folder, 'data')
    const options = ['-D', data, '-U', 'shop', '-A', 'trust', '--no-sync', '--no-locale', '-E', 'UTF8']
    execFileSync('initdb', options, { ...user, cwd: folder, stdio: 'ignore' })
    port = await freePort()
    const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off']
    const args = ['-D', data, '-p', String(port), ...settings.flatMap(setting => ['-c', setting])]
    database = spawn('postgres', args, { ...user, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
    const lines = createInterface({ input: database.stderr ?? process.stdin })
    for await (const line of lines) if (line.includes('ready to accept connections')) break
    database.stderr?.resume()
  })

  afterAll(async () => {
    if (database !== undefined) {
      const ended = once(database, 'exit')
      database.kill('SIGINT')
      await ended
    }
    rmSync(folder, { recursive: true, force: true })
  })

  const config = { user: 'shop', database: 'postgres' }

  it('queries, sends and receives large values, listens', async () => {
    const ends = await tunnels()
    const client = new pg.Client({ ...config, stream: () => lazily(ends, port) })
    await client.connect()
    const { rows } = await client.query<{ answer: number }>('select 6 * $1::int as answer', [7])
    expect(rows).toEqual([{ answer: 42 }])
    const large = 'x'.repeat(3_000_000)
    const echo = await client.query<{ value: string }>('select $1::text as value', [large])
    expect(echo.rows[0]?.value).toBe(large)
    const notified = once(client, 'notification')
    await client.query('listen orders')
    await client.query("select pg_notify('orders', 'seven')")
    expect(((await notified) as [pg.Notification])[0].payload).toBe('seven')
    await client.end()
    await quiet(ends)
  })

  it('shares connections in a pool, and replaces one that the server ended', async () => {
    const ends = await tunnels()
    const pool = new pg.Pool({ ...config, max: 4, stream: () => lazily(ends, port) })
    const lost = once(pool, 'error')
    const asked = Array.from({ length: 20 }, (_, index) => pool.query<{ n: number }>(`select ${index} as n`))
    expect((await Promise.all(asked)).map(({ rows }) => rows[0]?.n)).toEqual([...Array(20).keys()])
    expect(ends.pool.tunnels).toBe(4)
    const [first] = (await pool.query<{ pid: number }>('select pg_backend_pid() as pid')).rows
    const killer = new pg.Client({ ...config, stream: () => lazily(ends, port) })
    await killer.connect()
    await killer.query('select pg_terminate_backend($1)', [first?.pid])
    await killer.end()
    await lost
    expect((await pool.query('select 1')).rowCount).toBe(1)
    await pool.end()
    await quiet(ends)
  })
})

describe('pg', () => {
  it('connects through a tunnel that is there, and hears when the server closes', async () => {
    const sockets: Socket[] = []
    const server = createServer(socket => {
      sockets.push(socket)
      speakPostgres(socket)
    })
    const [ends, { port }] = [await tunnels(), await listening(server)]
    const tunnel = await ends.open({ host: 'db.shop', port })
    const client = new pg.Client({ user: 'shop', stream: () => tunnel.socket() })
    await client.connect()
    expect((await client.query<{ answer: string }>('select 42')).rows).toEqual([{ answer: '42' }])
    // A server that ends without a word: the driver waits for 'close'.
    const ended = new Promise<void>(resolve => void client.once('end', resolve))
    client.on('error', () => {})
    for (const socket of sockets) socket.end()
    await ended
    await quiet(ends)
  })

  it('fails with the reason when there is no tunnel', async () => {
    const ends = await tunnels()
    const client = new pg.Client({ user: 'shop', stream: () => lazily(ends, 1) })
    await expect(client.connect()).rejects.toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED', status: 503 })
  })
})

describe('mysql2', () => {
  it('queries, receives large rows, and hears when the server closes', async () => {
    const server = mysql.createServer(connection => {
      connection.serverHandshake({
        protocolVersion: 10,
        serverVersion: '8.0.0',
        connectionId: 1,
        statusFlags: 2,
        characterSet: 8,
        capabilityFlags: 0xffffff ^ 0x800,
        authCallback: (_parameters: object, done: (error: null) => void) => {
          done(null)
          connection.sequenceId = 0
        },
      })
      connection.on('query', (query: string) => {
        if (query === 'bye') return connection.end()
        const column = { catalog: 'def', schema: '', table: '', orgTable: '', name: 'answer', orgName: '' }
        const meta = { characterSet: 33, columnLength: 3_000_000, columnType: 253, flags: 0, decimals: 0 }
        connection.writeTextResult([{ answer: query.repeat(100_000) }], [{ ...column, ...meta }])
        // Each command counts its packets anew, which mysql2 leaves to whoever plays the server.
        connection.sequenceId = 0
      })
      connection.on('error', () => {})
    })
    // Its own listener takes every address.
    const listener = createServer(socket =>
      Reflect.apply(Reflect.get(server, '_handleConnection'), server, [socket]),
    )
    const { port } = await listening(listener)
    const ends = await tunnels()
    const client = await mysqlPromise.createConnection({ user: 'shop', stream: lazily(ends, port) })
    const [rows] = await client.query('select 42')
    expect(rows).toEqual([{ answer: 'select 42'.repeat(100_000) }])
    await expect(client.query('bye')).rejects.toMatchObject({ code: 'PROTOCOL_CONNECTION_LOST' })
    client.destroy()
    await quiet(ends)
  })
})

describe('ioredis', () => {
  it('pipelines, and connects anew when the connection is lost', async () => {
    const sockets: Socket[] = []
    const server = createServer(socket => {
      sockets.push(socket)
      speakRedis(socket)
    })
    const [ends, { port }] = [await tunnels(), await listening(server)]
    class TunnelConnector extends AbstractConnector {
      constructor() {
        super(2_000)
      }

      async connect(): Promise<Socket> {
        this.stream = lazily(ends, port)
        return this.stream as Socket
      }
    }
    const redis = new Redis({
      Connector: TunnelConnector,
      enableReadyCheck: false,
      disableClientInfo: true,
      retryStrategy: () => 1,
    })
    expect(await redis.set('key', 'value')).toBe('OK')
    const large = 'x'.repeat(1_000_000)
    expect(await Promise.all([redis.get(large), redis.get('b'), redis.get('c')])).toEqual([large, 'b', 'c'])
    redis.on('error', () => {})
    const ready = new Promise<void>(resolve => void redis.once('ready', resolve))
    for (const socket of sockets) socket.resetAndDestroy()
    await ready
    expect(await redis.get('again')).toBe('again')
    await redis.quit()
    await quiet(ends)
  })
})

/** As much of PostgreSQL as a driver needs: everybody may come in, and the answer is 42. */
function speakPostgres(socket: Socket): void {
  const message = (type: string, ...parts: readonly Buffer[]): Buffer => {
    const body = Buffer.concat(parts)
    const head = Buffer.from([type.charCodeAt(0), 0, 0, 0, 0])
    head.writeInt32BE(body.length + 4, 1)
    return Buffer.concat([head, body])
  }
  const ready = message('Z', Buffer.from('I'))
  const column = Buffer.from('\0\x01answer\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0', 'latin1')
  const row = Buffer.from('\0\x01\0\0\0\x0242', 'latin1')
  socket.once('data', () => {
    socket.write(Buffer.concat([message('R', Buffer.alloc(4)), ready]))
    socket.on('data', bytes => {
      if (bytes[0] !== 'Q'.charCodeAt(0)) return
      socket.write(
        Buffer.concat([
          message('T', column),
          message('D', row),
          message('C', Buffer.from('SELECT 1\0')),
          ready,
        ]),
      )
    })
  })
  socket.on('error', () => {})
}

/** As much of Redis: GET answers with its key, everything else is OK. */
function speakRedis(socket: Socket): void {
  let text = ''
  socket.on('error', () => {})
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    for (;;) {
      const words: string[] = []
      const head = /^\*(\d+)\r\n/.exec(text)
      let at = head?.[0].length ?? 0
      while (head !== null && words.length < Number(head[1])) {
        const length = /^\$(\d+)\r\n/.exec(text.slice(at, at + 20))
        const begin = at + (length?.[0].length ?? 0)
        const end = begin + Number(length?.[1])
        if (length === null || text.length < end + 2) return
        words.push(text.slice(begin, end))
        at = end + 2
      }
      if (head === null) return
      text = text.slice(at)
      const [command = '', key = ''] = words
      socket.write(command.toLowerCase() === 'get' ? `$${key.length}\r\n${key}\r\n` : '+OK\r\n')
      if (command.toLowerCase() === 'quit') socket.end()
    }
  })
}
