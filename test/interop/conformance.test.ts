/**
 * The conformance runner on peers that are not ours: what each of them does otherwise is written down here, so that a case
 * that is too strict, and one that has stopped looking, is seen. Needs nothing for Node's http2, curl 8.1 or later (`CURL`)
 * and Apache 2.4 with mod_http2 and mod_proxy_connect (`APACHE`) for theirs.
 */
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createSecureServer, type ServerHttp2Session } from 'node:http2'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readHostPort } from '@ambient/core'
import { runClientConformance, runServerConformance } from '@ambient/hbone/conformance'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { apacheProblem, startApache } from './apache.ts'

const run = promisify(execFile)
const identities = await createTestIdentities()
const [web, db, foreign] = await Promise.all([
  identities.credentials({ namespace: 'shop', serviceAccount: 'web' }),
  identities.credentials({ namespace: 'shop', serviceAccount: 'db' }),
  createTestIdentities().then(all => all.credentials({ namespace: 'shop', serviceAccount: 'db' })),
])

const cleanups: (() => Promise<unknown>)[] = []
const later = (cleanup: () => Promise<unknown>): void => void cleanups.push(cleanup)
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** What a server does otherwise: `fail MUST id`. */
async function deviations(port: number): Promise<readonly string[]> {
  const results = await runServerConformance({
    target: { address: '127.0.0.1', port },
    credentials: web,
    expect: [db.id],
    foreign,
    timeoutMs: 600,
  })
  return otherwise(results)
}

function otherwise(results: readonly { outcome: string; level: string; id: string }[]): readonly string[] {
  return results
    .filter(({ outcome }) => outcome !== 'pass')
    .map(({ outcome, level, id }) => `${outcome} ${level} ${id}`)
}

describe('Node’s http2 as a CONNECT proxy', () => {
  // `pipe` knows no resets, OpenSSL sends the root that it was given to check clients, and nghttp2 ends the session over
  // what the RFC calls an error of a stream. Fields with a line break in them are dropped, and the rest is taken.
  const known = [
    'fail SHOULD chain-without-root',
    'fail SHOULD no-resumption',
    'fail MUST stream-limit-kept',
    'fail MUST malformed-line-break',
    'fail SHOULD reset-of-application',
    'fail SHOULD reset-of-client',
    'fail SHOULD loss-of-session',
    'fail MUST error-stream-backwards',
    'fail SHOULD error-of-a-stream',
  ]
  // Until 22, sessions that ended by an error stayed open, or ended with another code.
  const knownOf20 = /^fail (MUST (error-|frame-too-long$|window-overflow$)|SHOULD error-says-goaway$)/

  it('differs where it is known to', async () => {
    const found = await deviations(await nodeProxy())
    const isOld = process.versions.node.startsWith('20.')
    expect(found.filter(one => !known.includes(one) && !(isOld && knownOf20.test(one)))).toEqual([])
    expect(known.filter(one => !found.includes(one))).toEqual([])
  }, 120_000)
})

const CURL = process.env.CURL ?? 'curl'
const curlProblem = unusableCurl()

describe.skipIf(curlProblem !== undefined)(`curl as a client${skipped(curlProblem)}`, () => {
  it('differs where it is known to', async () => {
    const folder = await temporaryFolder()
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    await writeFile(cert, web.certificateChain)
    await writeFile(key, web.privateKey())
    let isDone = false
    let driving = Promise.resolve()
    const drive = async (port: number): Promise<void> => {
      const fixed = ['--silent', '--http1.1', '--max-time', '5', '--noproxy', '', '--output', '/dev/null']
      const proxy = [
        '--proxytunnel',
        '--proxy-http2',
        '--proxy',
        `https://127.0.0.1:${port}`,
        '--proxy-insecure',
      ]
      const own = ['--proxy-cert', cert, '--proxy-key', key]
      while (!isDone) await run(CURL, [...fixed, ...proxy, ...own, 'http://10.0.0.7:8080/']).catch(() => {})
    }
    const results = await runClientConformance({
      listen: { host: '127.0.0.1', port: 0 },
      credentials: db,
      foreign,
      timeoutMs: 1_500,
      onListening: ({ port }) => {
        driving = drive(port)
      },
    }).finally(() => {
      isDone = true
    })
    await driving
    // It knows nothing of meshes, offers HTTP/1 as well, and was told to believe any server: SPIFFE IDs are no host names.
    expect(otherwise(results)).toEqual([
      'fail MUST client-alpn',
      'fail SHOULD client-baggage',
      'skip MUST client-baggage-form',
      'fail SHOULD client-forwarded',
      'skip MUST client-forwarded-form',
      'fail SHOULD client-traceparent',
      'skip MUST client-traceparent-form',
      'fail MUST client-server-identity',
    ])
  }, 60_000)
})

describe.skipIf(apacheProblem !== undefined)(`Apache as a server${skipped(apacheProblem)}`, () => {
  // Its tunnels end when one side ends, resets become ends, errors of a proxy are 502 and 403, one thread carries one tunnel.
  const always = [
    'fail MUST alpn-other',
    'fail SHOULD chain-without-root',
    'fail SHOULD not-connect-400',
    'fail SHOULD authority-400',
    'fail SHOULD unreachable-503',
    'fail SHOULD reset-of-application',
  ]
  const byVersion = [
    'fail SHOULD tls-1.2',
    'fail SHOULD no-resumption',
    'fail MUST stream-limit-kept',
    'fail MUST many-tunnels',
    'fail MUST end-of-application',
    'fail MUST end-of-client',
    'fail MUST end-before-close',
    'fail SHOULD reset-of-client',
    'fail SHOULD loss-of-session',
    'fail MUST error-stream-backwards',
    'fail SHOULD error-of-a-stream',
  ]

  it('differs where it is known to', async () => {
    const { port, close } = await startApache(db)
    later(close)
    const found = await deviations(port)
    expect(found.filter(one => !always.includes(one) && !byVersion.includes(one))).toEqual([])
    expect(always.filter(one => !found.includes(one))).toEqual([])
  }, 120_000)
})

function skipped(problem: string | undefined): string {
  return problem === undefined ? '' : ` (skipped: ${problem})`
}

/** What its documentation shows, with a certificate asked of clients. */
async function nodeProxy(): Promise<number> {
  const server = createSecureServer({
    cert: db.certificateChain,
    key: db.privateKey(),
    ca: db.trustBundle,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    settings: { maxConcurrentStreams: 200 },
  })
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', session => {
    sessions.add(session)
    session.on('error', () => {})
    session.on('close', () => sessions.delete(session))
  })
  server.on('tlsClientError', () => {})
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    if (headers[':method'] !== 'CONNECT') return stream.respond({ ':status': 400 }, { endStream: true })
    const to = readHostPort(headers[':authority'] ?? '')
    if (!to.ok) return stream.respond({ ':status': 400 }, { endStream: true })
    const socket = connectTcp({ ...to.value, allowHalfOpen: true })
    socket.on('error', () => {
      if (!stream.headersSent && !stream.destroyed) stream.respond({ ':status': 503 }, { endStream: true })
      else stream.close(10)
    })
    socket.once('connect', () => {
      if (stream.destroyed) return void socket.destroy()
      stream.respond({ ':status': 200 })
      stream.pipe(socket).pipe(stream)
    })
    stream.on('close', () => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-conformance-'))
  later(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** HTTP/2 to proxies came with 8.1. */
function unusableCurl(): string | undefined {
  try {
    const version = execFileSync(CURL, ['--version']).toString()
    const [, major = '0', minor = '0'] = /^curl (\d+)\.(\d+)/.exec(version) ?? []
    if (Number(major) * 100 + Number(minor) < 801) return `curl ${major}.${minor} is older than 8.1`
    return /\bHTTP2\b/.test(version) ? undefined : 'this curl has no HTTP/2'
  } catch {
    return 'there is no curl (set CURL to one of 8.1 or later)'
  }
}
