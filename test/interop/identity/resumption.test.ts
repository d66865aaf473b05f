/**
 * What a peer kept of one TLS session is replayed after trust changed: by `openssl s_client -sess_in` and by Node. A resumed
 * session would skip the certificate, and with it whatever changed; none is ever resumed. OPENSSL chooses the command.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { connect, createServer as createTlsServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import type { Credentials } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createHboneServer } from '@ambient/hbone'
import { createCredentials } from '@ambient/identity'
import { createTestIdentities, type TestIdentities } from '@ambient/identity/testing'
import { afterEach, describe, expect, it } from 'vitest'

const OPENSSL = process.env['OPENSSL'] ?? 'openssl'
const AMBIENT = fileURLToPath(new URL('../../../packages/cli/dist/bin.js', import.meta.url))

function hasOpenssl(): boolean {
  try {
    execFileSync(OPENSSL, ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Of the lenient server; or SETTINGS, type 4 on stream 0. */
const FIRST_WORD = /hello|\0.{2}\x04\0\0{4}/s

const skipped = hasOpenssl() ? '' : ` (skipped: there is no ${OPENSSL})`

const cleanups: (() => unknown)[] = []
const atEnd = (run: () => unknown): void => void cleanups.push(run)
afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

/** A peer that comes back with all that it was left. */
interface Visitor {
  /** Whether the session was resumed; rejects when there was no handshake. */
  visit(port: number): Promise<boolean>
}

type MakeVisitor = (own: Credentials) => Visitor

const opensslVisitor: MakeVisitor = own => {
  const folder = folderOf(own)
  const saved = join(folder, 'session')
  const files = ['-cert', join(folder, 'tls.crt'), '-key', join(folder, 'tls.key'), '-alpn', 'h2', '-tls1_3']
  return {
    async visit(port) {
      const replay = existsSync(saved) ? ['-sess_in', saved] : []
      const to = ['s_client', '-connect', `127.0.0.1:${port}`, '-sess_out', saved]
      const child = spawn(OPENSSL, [...to, ...files, ...replay], { stdio: ['pipe', 'pipe', 'pipe'] })
      atEnd(() => child.kill('SIGKILL'))
      child.stdin.on('error', () => {})
      let output = ''
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (bytes: Buffer) => {
          output += bytes.toString('latin1')
          // Whatever the server says after the handshake comes behind its tickets.
          if (/^(New|Reused), /m.test(output) && FIRST_WORD.test(output)) child.stdin.end()
        })
      await once(child, 'close')
      const [, how] = /^(New|Reused), /m.exec(output) ?? []
      if (how === undefined) throw new Error(output)
      return how === 'Reused'
    },
  }
}

const nodeVisitor: MakeVisitor = own => {
  const sessions: Buffer[] = []
  return {
    async visit(port) {
      const session = sessions.at(-1)
      const socket = connect({
        host: '127.0.0.1',
        port,
        cert: own.certificateChain,
        key: own.privateKey(),
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
        minVersion: 'TLSv1.3',
        ...(session === undefined ? {} : { session }),
      })
      socket.on('session', kept => sessions.push(kept))
      socket.on('error', () => {})
      await once(socket, 'secureConnect')
      const isReused = socket.isSessionReused()
      const closed = once(socket, 'close')
      // A first word, or the end of who is not believed.
      await Promise.race([once(socket, 'data'), closed])
      socket.destroy()
      await closed
      return isReused
    },
  }
}

function folderOf(own: Credentials): string {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-resumption-'))
  atEnd(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'tls.crt'), own.certificateChain)
  writeFileSync(join(folder, 'tls.key'), own.privateKey(), { mode: 0o600 })
  writeFileSync(join(folder, 'ca.crt'), own.trustBundle)
  return folder
}

interface World {
  readonly identities: TestIdentities
  /** The server's, as it is asked for each connection. */
  own: Credentials
  isRevoked: boolean
  isAllowed: boolean
  /** What each visit was judged as. */
  readonly judged: string[]
  port: number
  /** A server with all this. */
  serve(): Promise<number>
}

async function world(): Promise<World> {
  const identities = await createTestIdentities()
  const first = await identities.credentials({ namespace: 'shop', serviceAccount: 'server' })
  const it: World = {
    identities,
    own: first,
    isRevoked: false,
    isAllowed: true,
    judged: [],
    port: 0,
    async serve() {
      const server = createHboneServer({
        credentials: () => watching(it),
        onTunnel: request => request.refuse(it.isAllowed ? 404 : 403),
      })
      const listener = await listen({
        host: '127.0.0.1',
        port: 0,
        onConnection: socket => server.accept(socket),
      })
      atEnd(async () => {
        await listener.close()
        await server.close({ graceMs: 0 })
      })
      return listener.port
    },
  }
  it.port = await it.serve()
  return it
}

function watching(of: World): Credentials {
  const own = createCredentials({
    certificateChain: of.own.certificateChain,
    privateKey: of.own.privateKey(),
    trustBundle: of.own.trustBundle,
    revocations: {
      problemOf: () => (of.isRevoked ? { problem: 'revoked', reason: 'the leaf was revoked' } : undefined),
    },
  })
  return {
    ...own,
    verifyPeer(chain, expected, at) {
      const verdict = own.verifyPeer(chain, expected, at)
      of.judged.push(verdict.ok ? 'believed' : verdict.problem)
      return verdict
    },
  }
}

interface Change {
  readonly name: string
  apply(of: World): unknown
  /** What the second visit is judged as. */
  readonly verdict: string
}

const changes: readonly Change[] = [
  { name: 'nothing changed', apply: () => {}, verdict: 'believed' },
  {
    name: "the server's identity was renewed",
    async apply(of) {
      of.own = await of.identities.credentials(of.own.id.uri)
    },
    verdict: 'believed',
  },
  {
    name: 'the CA was replaced',
    async apply(of) {
      const others = await createTestIdentities()
      of.own = await others.credentials(of.own.id.uri)
    },
    verdict: 'untrusted',
  },
  {
    name: 'the visitor was revoked',
    apply(of) {
      of.isRevoked = true
    },
    verdict: 'revoked',
  },
  {
    name: 'the policy changed',
    apply(of) {
      of.isAllowed = false
    },
    verdict: 'believed',
  },
  {
    name: 'another server of the process has the same certificate',
    async apply(of) {
      of.port = await of.serve()
    },
    verdict: 'believed',
  },
]

const visitors: readonly (readonly [string, MakeVisitor, string])[] = [
  [`openssl s_client${skipped}`, opensslVisitor, skipped],
  ['Node', nodeVisitor, ''],
]

describe.each(visitors)('%s', { timeout: 60_000 }, (_name, makeVisitor, reason) => {
  const visitorOf = async ({ identities }: World): Promise<Visitor> =>
    makeVisitor(await identities.credentials({ namespace: 'shop', serviceAccount: 'visitor' }))

  it.skipIf(reason !== '')('resumes a session of a server that lets it', async () => {
    const of = await world()
    const visitor = await visitorOf(of)
    const lenient = createTlsServer({
      cert: of.own.certificateChain,
      key: of.own.privateKey(),
      ALPNProtocols: ['h2'],
    })
    lenient.on('secureConnection', socket => socket.on('error', () => {}).end('hello'))
    lenient.listen(0, '127.0.0.1')
    await once(lenient, 'listening')
    atEnd(() => lenient.close())
    const { port } = lenient.address() as AddressInfo
    expect([await visitor.visit(port), await visitor.visit(port)]).toEqual([false, true])
  })

  for (const { name, apply, verdict } of changes)
    it.skipIf(reason !== '')(`resumes none of ours: ${name}`, async () => {
      const of = await world()
      const visitor = await visitorOf(of)
      expect(await visitor.visit(of.port)).toBe(false)
      await apply(of)
      expect(await visitor.visit(of.port)).toBe(false)
      // The certificate was shown and judged both times.
      expect(of.judged).toEqual(['believed', verdict])
    })

  it.skipIf(reason !== '')('resumes none of ours: another process has the same certificate', async () => {
    const of = await world()
    const folder = folderOf(of.own)
    const visitor = await visitorOf(of)
    for (const port of [await anotherProcess(folder), await anotherProcess(folder)])
      expect([await visitor.visit(port), await visitor.visit(port)]).toEqual([false, false])
  })
})

/** `ambient hbone serve`; its port. */
async function anotherProcess(folder: string): Promise<number> {
  const files = ['--cert', 'tls.crt', '--key', 'tls.key', '--ca', 'ca.crt']
  const child = spawn(
    process.execPath,
    [AMBIENT, 'hbone', 'serve', '--listen', '127.0.0.1:0', '--echo', ...files],
    { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const gone = once(child, 'exit')
  atEnd(async () => {
    child.kill('SIGKILL')
    await gone
  })
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    gone.then(() => Promise.reject(new Error('the server ended'))),
  ])
  return Number(/^listening 127\.0\.0\.1:(\d+)$/.exec(line)?.[1])
}
