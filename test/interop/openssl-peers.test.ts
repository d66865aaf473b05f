/**
 * Peers that are not ours show every certificate fault to our two ends of HBONE, both ways: `openssl s_client` and curl to our
 * server, `openssl s_server` and Apache to our client. A refused peer never gets to a frame of HTTP/2, and no session is ever
 * resumed. OPENSSL, CURL and APACHE choose the commands.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import type { Credentials } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createHbonePool, createHboneServer, type HboneError } from '@ambient/hbone'
import { createCredentials } from '@ambient/identity'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { apacheProblem, startApacheShowing } from './apache.ts'
import { CA, createOpensslMaker, LEAF, missing, OPENSSL, type Signed } from './openssl-fixtures.ts'
import { createWorld, type Row, rows } from './openssl-rows.ts'

const CURL = process.env['CURL'] ?? 'curl'

const why = missing(OPENSSL, 'version')
const maker = why === undefined ? createOpensslMaker() : undefined
const world = maker && createWorld(maker)
const carried = rows.filter(({ onlyBytes, needsFaketime }) => onlyBytes !== true && needsFaketime !== true)
const label = (name: string, gone: string | undefined): string =>
  `${name}${gone === undefined ? '' : ` (skipped: ${gone})`}`

const cleanups: (() => Promise<unknown>)[] = []
const later = (cleanup: () => Promise<unknown>): void => void cleanups.push(cleanup)
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => maker && rmSync(maker.folder, { recursive: true, force: true }))

function made(): NonNullable<typeof world> {
  if (world === undefined) throw new Error('no OpenSSL')
  return world
}

let cached: Credentials | undefined
function ours(): Credentials {
  const { maker: by, root } = made()
  const signed = (): Signed => by.sign('ours', { signer: root, extensions: LEAF })
  const own = cached === undefined ? signed() : undefined
  cached ??= createCredentials({
    certificateChain: own?.chainPem ?? '',
    privateKey: own === undefined ? '' : readFileSync(own.keyFile, 'utf8'),
    trustBundle: root.certPem,
  })
  return cached
}

interface Server {
  readonly port: number
  /** The next connection that did not become a session. */
  readonly failure: Promise<HboneError>
  readonly chains: number[]
}

/** Our server, and how long each chain was that it had to judge. */
async function ourServer(credentials: () => Credentials = ours): Promise<Server> {
  const chains: number[] = []
  let failed: (error: HboneError) => void = () => {}
  const failure = new Promise<HboneError>(resolve => {
    failed = resolve
  })
  // The same object for the same credentials: contexts are made once for each, and tickets are a context's.
  const known = new Map<Credentials, Credentials>()
  const watched = (): Credentials => {
    const own = credentials()
    const seen = known.get(own) ?? {
      ...own,
      verifyPeer(chain, expected, at) {
        chains.push(chain.length)
        return own.verifyPeer(chain, expected, at)
      },
    }
    known.set(own, seen)
    return seen
  }
  const server = createHboneServer({
    credentials: watched,
    onTunnel: request => request.refuse(404),
    onFailure: ({ error }) => failed(error),
  })
  const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  later(async () => {
    await port.close()
    await server.close({ graceMs: 0 })
  })
  return { port: port.port, failure, chains }
}

interface Running {
  readonly child: ChildProcess
  readonly exit: Promise<unknown>
  output(): string
  /** Resolves when the output has it, or the program ended. */
  printed(what: RegExp): Promise<string>
}

function start(command: string, args: readonly string[]): Running {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  let look: () => void = () => {}
  // Not `exit`: what it printed last may still be on its way.
  let hasEnded = false
  const ended = (): void => {
    hasEnded = true
    look()
  }
  const exit = once(child, 'close').then(ended, ended)
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => {
      output += bytes.toString('latin1')
      look()
    })
  child.stdin.on('error', () => {})
  later(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return {
    child,
    exit,
    output: () => output,
    printed: what =>
      new Promise(resolve => {
        look = () => {
          if (what.test(output) || hasEnded) resolve(output)
        }
        look()
      }),
  }
}

/** What a peer with these files needs to speak TLS, whatever OpenSSL itself thinks of them. */
const files = ({ certFile, keyFile, chainFile }: Signed): readonly string[] => [
  ...['-cert', certFile, '-key', keyFile, '-cert_chain', chainFile],
  ...['-cipher', 'DEFAULT@SECLEVEL=0', '-alpn', 'h2', '-tls1_3'],
]

/** SETTINGS, the first frame of our server: type 4 on stream 0. */
const SETTINGS = /\0.{2}\x04\0\0{4}/s

const NEW_OR_REUSED = /^(New|Reused), /m

function refusal({ problem, reason }: Row): unknown {
  return { code: 'AMBIENT_E_PEER_IDENTITY', problem, message: expect.stringMatching(withoutStart(reason)) }
}

/** Messages put the peer before the reason. */
function withoutStart({ source }: RegExp): RegExp {
  return new RegExp(source.replace(/^\^/, ''))
}

describe.skipIf(why !== undefined)(label('openssl s_client at our server', why), () => {
  for (const row of carried)
    it(`is ${row.problem === undefined ? 'believed' : 'refused'} with ${row.name}`, async () => {
      const { port, failure } = await ourServer()
      const client = start(OPENSSL, [
        ...['s_client', '-connect', `127.0.0.1:${port}`, '-quiet', '-ign_eof'],
        ...files(row.make(made())),
      ])
      if (row.problem === undefined) return expect(await client.printed(SETTINGS)).toMatch(SETTINGS)
      expect(await failure).toMatchObject({ ...Object(refusal(row)) })
      await client.exit
      expect(client.output()).not.toMatch(SETTINGS)
    })

  /** What it says of a session that it begins with what the last one left it. */
  async function visitTwice(peer: Signed, port: number, isThere: RegExp): Promise<readonly string[]> {
    const saved = join(made().maker.folder, `${port}.session`)
    const said: string[] = []
    for (const option of ['-sess_out', '-sess_in']) {
      // Without a session there is nothing to write, and nothing to read.
      const replay = option === '-sess_out' || existsSync(saved) ? [option, saved] : []
      const to = ['s_client', '-connect', `127.0.0.1:${port}`]
      const client = start(OPENSSL, [...to, ...files(peer), ...replay])
      await client.printed(isThere)
      // What it says itself goes through a buffer, what it received does not.
      const [, word = client.output()] = NEW_OR_REUSED.exec(await client.printed(NEW_OR_REUSED)) ?? []
      // The end of its input is its own end; killed, it may leave half a session behind.
      client.child.stdin?.end()
      await client.exit
      said.push(word)
    }
    return said
  }

  it('resumes a session of a server that lets it: so would an attacker', async () => {
    const { maker: by, root } = made()
    const peer = by.sign('leaf', { signer: root, extensions: LEAF })
    const own = { cert: ours().certificateChain, key: ours().privateKey() }
    const server = createTlsServer({
      ...own,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    })
    const reused: boolean[] = []
    server.on('secureConnection', socket => {
      reused.push(socket.isSessionReused())
      socket.on('error', () => {}).write('hello')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    later(async () => void server.close())
    const { port } = server.address() as AddressInfo
    expect(await visitTwice(peer, port, /hello/)).toEqual(['New', 'Reused'])
    expect(reused).toEqual([false, true])
  })

  it('never resumes one of ours: each visit is judged anew, by whom we believe then', async () => {
    const { maker: by, root, otherRoot } = made()
    const ca = by.sign('ca', { signer: root, subject: '/CN=ca', extensions: CA })
    const peer = by.sign('leaf', { signer: ca, extensions: LEAF })
    let credentials = ours()
    const { port, chains, failure } = await ourServer(() => credentials)
    expect(await visitTwice(peer, port, SETTINGS)).toEqual(['New', 'New'])
    // The server was shown the whole chain again: of a resumed session it would know the leaf alone.
    expect(chains).toEqual([2, 2])
    credentials = createCredentials({
      certificateChain: ours().certificateChain,
      privateKey: ours().privateKey(),
      trustBundle: otherRoot.certPem,
    })
    const saved = join(by.folder, `${port}.session`)
    const refused = start(OPENSSL, [
      ...['s_client', '-connect', `127.0.0.1:${port}`, '-quiet', '-ign_eof', ...files(peer)],
      ...(existsSync(saved) ? ['-sess_in', saved] : []),
    ])
    expect(await failure).toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY', problem: 'untrusted' })
    await refused.exit
    expect(chains).toEqual([2, 2, 2])
    expect(refused.output()).not.toMatch(SETTINGS)
  })
})

/** What our client makes of whoever listens there. */
async function visit(port: number): Promise<HboneError> {
  const pool = createHbonePool()
  later(() => pool.close({ graceMs: 0 }))
  return pool
    .connect({
      credentials: ours(),
      to: { address: '127.0.0.1', port },
      expect: [ours().id],
      authority: '127.0.0.1:9',
    })
    .then(
      () => Promise.reject(new Error('a tunnel')),
      (error: HboneError) => error,
    )
}

describe.skipIf(why !== undefined)(label('openssl s_server at our client', why), () => {
  for (const row of carried)
    it(`is ${row.problem === undefined ? 'believed' : 'refused'} with ${row.name}`, async () => {
      const server = start(OPENSSL, [
        's_server',
        '-accept',
        '127.0.0.1:0',
        '-Verify',
        '1',
        ...files(row.make(made())),
      ])
      const [, port = '0'] = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(await server.printed(/ACCEPT .*:\d+/)) ?? []
      const visited = visit(Number(port))
      if (row.problem === undefined) {
        // It speaks no HTTP/2, but it is spoken to.
        visited.catch(() => {})
        return expect(await server.printed(/PRI \* HTTP\/2\.0/)).toMatch(/PRI \* HTTP\/2\.0/)
      }
      expect(await visited).toMatchObject({ ...Object(refusal(row)) })
      expect(server.output()).not.toContain('PRI *')
    })
})

describe.skipIf(why !== undefined)(label('our client', why), () => {
  it('offers no session to a server that would resume it', async () => {
    const own = { cert: ours().certificateChain, key: ours().privateKey() }
    const server = createTlsServer({ ...own, ALPNProtocols: ['h2'] })
    const reused: boolean[] = []
    server.on('secureConnection', socket => {
      reused.push(socket.isSessionReused())
      // It has been believed, and has had its ticket: the first bytes are behind that.
      socket.on('error', () => {}).once('data', () => socket.destroy())
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    later(async () => void server.close())
    const { port } = server.address() as AddressInfo
    for (let visits = 1; visits <= 3; visits++) {
      expect(await visit(port)).not.toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY' })
      expect(reused).toEqual(Array.from({ length: visits }, () => false))
    }
  })
})

const noCurl = why ?? missing(CURL, '--version')
const SOME = [
  'everything in order',
  'an intermediate',
  'no key usage',
  'two URIs',
  'CA:TRUE',
  'an end in the past',
  'a NUL',
  'an unknown CA',
]

describe.skipIf(noCurl !== undefined)(label('curl at our server', noCurl), () => {
  for (const row of carried.filter(({ name }) => SOME.includes(name)))
    it(`is ${row.problem === undefined ? 'believed' : 'refused'} with ${row.name}`, async () => {
      const { port, failure } = await ourServer()
      const { chainFile, keyFile } = row.make(made())
      const curl = start(CURL, [
        ...['-sk', '--http2', '-m', '10', '-o', '/dev/null', '-w', 'status %{http_code} %{http_version}'],
        ...['--cert', chainFile, '--key', keyFile, `https://127.0.0.1:${port}/`],
      ])
      await curl.exit
      // Only a proven peer is answered at all; a GET is not what this server is for.
      if (row.problem === undefined) expect(curl.output()).toMatch(/status 4\d\d 2/)
      else {
        expect(curl.output()).toMatch(/status 000/)
        expect(await failure).toMatchObject({ ...Object(refusal(row)) })
      }
    })
})

const noApache = why ?? apacheProblem

describe.skipIf(noApache !== undefined)(label('Apache at our client', noApache), () => {
  it('is believed with what is in order, and refused with what is not, by the same rules', async () => {
    const shown = carried.filter(({ name }) => SOME.includes(name))
    const apache = await startApacheShowing(
      shown.map(row => {
        const { chainFile, keyFile } = row.make(made())
        return { chainPem: readFileSync(chainFile, 'utf8'), keyPem: readFileSync(keyFile, 'utf8') }
      }),
    )
    later(apache.close)
    for (const [index, row] of shown.entries()) {
      const error = await visit(apache.ports[index] ?? 0)
      // Apache has no tunnels here: that it says so over HTTP/2 is proof that it was believed.
      if (row.problem === undefined)
        expect(error, row.name).toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED' })
      else expect(error, row.name).toMatchObject({ ...Object(refusal(row)) })
    }
  })
})
