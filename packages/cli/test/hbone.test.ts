/** `ambient hbone serve | forward | connect`: through real sockets, as scripts use them. */
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import net from 'node:net'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { run } from './host.ts'
import { answering, ask, atEnd, certificateFiles, start, tcpServer, typed } from './hbone-fixture.ts'

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client'
const SERVER = 'spiffe://cluster.local/ns/shop/sa/server'

describe('serve and forward', () => {
  it('carry a connection to its target, half-close both ways', async () => {
    const files = await certificateFiles()
    const app = await tcpServer(answering)
    const server = start([
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--allow-target',
      `127.0.0.1:${app.port}`,
      '-v',
      ...(await files.of('server')),
    ])
    const forward = start([
      'forward',
      '--via',
      `127.0.0.1:${await server.port()}`,
      '--peer',
      SERVER,
      '--forward',
      `127.0.0.1:0=127.0.0.1:${app.port}`,
      '--forward',
      `127.0.0.1:0=localhost:${app.port}`,
      '-v',
      ...(await files.of('client')),
    ])
    expect(await ask(await forward.port(), 'a question')).toBe('heard a question')
    expect(await ask(await forward.port(), 'another')).toBe('heard another')
    await expect
      .poll(server.err)
      .toMatch(
        new RegExp(
          `tunnel ended peer=${CLIENT} authority=127.0.0.1:${app.port} received=7 sent=13 ending=ended`,
        ),
      )
    // By name it was not allowed.
    await expect(ask(await forward.port(1), 'a question')).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(server.err()).toContain(`tunnel refused peer=${CLIENT} authority=localhost:${app.port} status=401`)
    const ends = async (index: number): Promise<string> =>
      `listener=127.0.0.1:${await forward.port(index)} client=127.0.0.1:\\d+ target`
    const refused = `code=AMBIENT_E_HBONE_REFUSED error="http status: 401: .*" hint=".*--allow-target`
    expect(forward.err()).toMatch(
      new RegExp(`warn connection reset ${await ends(1)}=localhost:${app.port} ${refused}`),
    )
    const carried = `peer=${SERVER} sent=10 received=16 ending=ended`
    const ended = new RegExp(`info connection ended ${await ends(0)}=127.0.0.1:${app.port} ${carried}`)
    await expect.poll(forward.err).toMatch(ended)
    expect(app.connections()).toBe(2)
    forward.interrupt()
    expect(await forward.code).toBe(0)
    server.interrupt()
    expect(await server.code).toBe(0)
  })

  it('allow a block of addresses, and everything', async () => {
    const files = await certificateFiles()
    const app = await tcpServer(answering)
    const server = start([
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--allow-target',
      `127.0.0.0/8:${app.port}`,
      ...(await files.of('server')),
    ])
    const every = start([
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--allow-target',
      '*',
      ...(await files.of('server')),
    ])
    for (const { port } of [server, every]) {
      const args = ['connect', '--via', `127.0.0.1:${await port()}`, ...(await files.of('client'))]
      const output = new PassThrough()
      const command = start([...args, '--target', `127.0.0.1:${app.port}`], { input: typed('hi'), output })
      expect(await command.code).toBe(0)
      expect(await text(output)).toBe('heard hi')
    }
  })

  it('answer 503 when the target does not, and reset when it resets', async () => {
    const files = await certificateFiles()
    const app = await tcpServer(socket => socket.once('data', () => socket.resetAndDestroy()))
    const gone = await tcpServer(() => {})
    const server = start([
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--allow-target',
      '*',
      ...(await files.of('server')),
    ])
    const args = ['connect', '--via', `127.0.0.1:${await server.port()}`, ...(await files.of('client'))]
    const cut = start([...args, '--target', `127.0.0.1:${app.port}`], { input: typed('hi') })
    expect(await cut.code).toBe(1)
    expect(cut.err()).toMatch(
      new RegExp(
        `127.0.0.1:${app.port}: the tunnel through ${args[2]} was cut: .*CONNECT_ERROR \\[AMBIENT_E_CLI_CONNECT\\]`,
      ),
    )
    // A port below the ephemeral ones, that nobody has here.
    const refused = start([...args, '--target', '127.0.0.1:1'], { input: typed('hi') })
    expect(await refused.code).toBe(1)
    expect(refused.err()).toContain('http status: 503')
    expect(gone.connections()).toBe(0)
  })

  it('believe only the peers that are named', async () => {
    const files = await certificateFiles()
    const app = await tcpServer(answering)
    const server = start([
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--allow-target',
      '*',
      '--peer',
      CLIENT,
      ...(await files.of('server')),
    ])
    const via = ['connect', '--via', `127.0.0.1:${await server.port()}`, '--target', `127.0.0.1:${app.port}`]
    const wrongServer = start([...via, '--peer', CLIENT, ...(await files.of('client'))], { input: typed('') })
    expect(await wrongServer.code).toBe(1)
    expect(wrongServer.err()).toContain(`peer is ${SERVER}, expected ${CLIENT}`)
    const wrongClient = start([...via, ...(await files.of('stranger'))], { input: typed('') })
    expect(await wrongClient.code).toBe(1)
    await expect
      .poll(server.err)
      .toContain(`peer is spiffe://cluster.local/ns/shop/sa/stranger, expected ${CLIENT}`)
    const wrongDomain = start([...via, '--trust-domain', 'elsewhere', ...(await files.of('client'))], {
      input: typed(''),
    })
    expect(await wrongDomain.code).toBe(1)
    expect(wrongDomain.err()).toContain('trust domain is not ours, elsewhere')
    expect(app.connections()).toBe(0)
  })

  it('read renewed certificates, and keep the last good ones', async () => {
    const files = await certificateFiles()
    const server = start(['serve', '--listen', '127.0.0.1:0', '--echo', '-v', ...(await files.of('server'))])
    const client = await files.of('client')
    const port = await server.port()
    const asks = async (...more: string[]): Promise<number> =>
      start(['connect', '--via', `127.0.0.1:${port}`, '--target', '10.0.0.1:80', ...more, ...client], {
        input: typed(''),
      }).code
    expect(await asks('--peer', SERVER)).toBe(0)
    await files.of('renewed', 'server')
    expect(await asks('--peer', SERVER)).toBe(1)
    expect(await asks('--peer', 'spiffe://cluster.local/ns/shop/sa/renewed')).toBe(0)
    await files.of('client', 'other')
    const { copyFile } = await import('node:fs/promises')
    await copyFile(`${files.folder}/other.key`, `${files.folder}/server.key`)
    expect(await asks('--peer', 'spiffe://cluster.local/ns/shop/sa/renewed')).toBe(0)
    expect(server.err()).toContain('the renewed certificate cannot be used: the last one stays')
  })
})

describe('serve', () => {
  it('says which options do nothing', async () => {
    const files = await certificateFiles()
    const everything = ['--echo', '--allow-target', '*', '--peer', CLIENT, ...(await files.of('server'))]
    const plain = start(['serve', '--listen', '127.0.0.1:0', '--plaintext', ...everything])
    await plain.port()
    await expect.poll(plain.err).toContain('--allow-target does nothing: --echo dials no target')
    await expect
      .poll(plain.err)
      .toContain('without effect: --cert, --key, --ca, --peer: --plaintext proves nobody')
    const useful = start([
      'serve',
      '--listen',
      '127.0.0.1:0',
      ...everything.slice(0, 1),
      ...everything.slice(3),
    ])
    await useful.port()
    for (const server of [plain, useful]) server.interrupt()
    expect(await plain.code).toBe(0)
    expect(await useful.code).toBe(0)
    expect(useful.err()).not.toContain('warn')
  })
})

describe('the end', () => {
  it('lets open tunnels finish; a second Ctrl-C cuts them', async () => {
    const files = await certificateFiles()
    const server = start(['serve', '--listen', '127.0.0.1:0', '--echo', ...(await files.of('server'))])
    const forward = start([
      'forward',
      '--via',
      `127.0.0.1:${await server.port()}`,
      '--forward',
      '127.0.0.1:0=10.0.0.1:80',
      ...(await files.of('client')),
    ])
    const port = await forward.port()
    const [first, second] = [1, 2].map(() =>
      net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }),
    ) as [net.Socket, net.Socket]
    atEnd(() => [first, second].map(socket => socket.destroy()))
    for (const socket of [first, second]) {
      socket.write('ping')
      expect(String((await once(socket, 'data'))[0])).toBe('ping')
    }
    server.interrupt()
    first.end('pong')
    expect(await text(first)).toBe('pong')
    server.interrupt()
    await expect(once(second, 'end')).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(await server.code).toBe(0)
  })
})

describe('plaintext', () => {
  it('speaks HTTP/2 without certificates, and 400 to what is no CONNECT', async () => {
    const server = start(['serve', '--listen', '127.0.0.1:0', '--plaintext', '--echo'])
    const session = connectHttp2(`http://127.0.0.1:${await server.port()}`)
    atEnd(() => session.destroy())
    const get = session.request({ ':path': '/' })
    const [head] = await once(get, 'response')
    expect(head[':status']).toBe(400)
    expect((await text(get)).length).toBeGreaterThanOrEqual(28)
    const tunnel = session.request({ ':method': 'CONNECT', ':authority': '10.0.0.1:80' })
    tunnel.end('echoed')
    expect(await text(tunnel)).toBe('echoed')
  })

  it.each(['10.0.0.1', '127.example.com'])('is for loopback only (%s)', async host => {
    const { code, err } = await run('hbone', 'serve', '--listen', `${host}:0`, '--plaintext', '--echo')
    expect({ code, err }).toEqual({
      code: 2,
      err: `error: --plaintext proves nobody, so it listens on loopback only, not on ${host}:0 [AMBIENT_E_CLI_USAGE]\n`,
    })
  })
})

describe('what cannot be', () => {
  const serve = ['hbone', 'serve', '--listen', '127.0.0.1:0']
  it.each([
    [[...serve], 2, /--cert, --key, --ca missing: HBONE peers prove themselves with certificates/],
    [
      [...serve, '--cert', 'a', '--key', 'b', '--ca', 'nosuch.pem'],
      1,
      /nosuch.pem cannot be read: .* \[AMBIENT_E_CLI_CREDENTIALS\]/,
    ],
    [[...serve, '--allow-target', '10.0.0.0/33:80'], 2, /no block of addresses/],
    [[...serve, '--allow-target', '10.0.0.1'], 2, /port is missing/],
    [[...serve, '--allow-target', '10.0.0.0/8:0'], 2, /expected CIDR:PORT/],
    [['hbone', 'serve', '--listen', '15008'], 2, /expected HOST:PORT: port is missing/],
    [[...serve, '--peer', 'client'], 2, /expected a SPIFFE ID/],
    [[...serve, '--max-frame', '1'], 2, /from 16384 to 16777215/],
    [[...serve, '--trust-domain', 'Cluster Local'], 2, /expected a trust domain such as cluster.local/],
    [['hbone', 'forward', '--via', '127.0.0.1:1', '--forward', '127.0.0.1:1'], 2, /expected LISTEN=TARGET/],
    [['hbone', 'forward', '--via', '127.0.0.1:1', '--forward', '6432=a:1'], 2, /LISTEN "6432": .*port is/],
    [['hbone', 'connect', '--via', '127.0.0.1:1'], 2, /required option '--target <host:port>' not specified/],
  ])('%j is said plainly', async (args, code, message) => {
    const result = await run(...args)
    expect(result.err).toMatch(message)
    expect(result.code).toBe(code)
  })

  it('files that do not go together, each by its option', async () => {
    const files = await certificateFiles()
    const [, cert = '', , key = '', , ca = ''] = await files.of('server')
    const [, , , otherKey = ''] = await files.of('client')
    const problem = async (...given: string[]): Promise<string> =>
      (await run(...serve, ...['--cert', '--key', '--ca'].flatMap((name, i) => [name, given[i] ?? '']))).err
    expect(await problem(key, cert, ca)).toMatch(
      /^error: --cert \S+server.key: the certificate chain is empty/,
    )
    expect(await problem(cert, otherKey, ca)).toMatch(
      /^error: --cert \S+server.crt, --key \S+client.key: .*not that of its certificate/,
    )
    expect(await problem(cert, key, key)).toMatch(/^error: --ca \S+server.key: .*the trust bundle holds no/)
  })

  it('a peer that does not speak HBONE, by its name and with what to do', async () => {
    const files = await certificateFiles()
    const plain = await tcpServer(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    const nobody = { port: 1 }
    const client = await files.of('client')
    const via = ({ port }: { port: number }): string[] => ['connect', '--via', `127.0.0.1:${port}`, ...client]
    const failed = async (args: readonly string[]): Promise<string> => {
      const command = start([...args, '--target', 'a:1'], { input: typed('') })
      expect(await command.code).toBe(1)
      return command.err()
    }
    expect(await failed(via(plain))).toMatch(
      new RegExp(`TLS with 127.0.0.1:${plain.port} failed.*\\nhint: does the peer speak HBONE`),
    )
    expect(await failed(via(nobody))).toMatch(/127\.0\.0\.1:1.*UNREACHABLE\]\nhint: is the peer up/)
    const refuses = start(['serve', '--listen', '127.0.0.1:0', ...(await files.of('server'))])
    expect(await failed(via({ port: await refuses.port() }))).toMatch(/status: 401.*\nhint: .*--allow-target/)
    expect(refuses.err()).toContain('every tunnel is refused: no --allow-target and no --echo was given')
  })

  it('peers of another trust domain than the one that is named', async () => {
    const files = await certificateFiles()
    const { code, err } = await run(
      ...serve,
      ...(await files.of('server')),
      '--peer',
      CLIENT,
      '--trust-domain',
      'elsewhere',
    )
    expect(err).toContain('is not of --trust-domain elsewhere')
    expect(code).toBe(2)
  })
})
