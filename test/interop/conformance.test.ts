/**
 * The conformance runner on peers that are not ours: what each of them does otherwise is written down here, so that a case
 * that is too strict, and one that has stopped looking, is seen. Needs nothing for Node's http2, curl 8.1 or later (`CURL`)
 * and Apache 2.4 with mod_http2 and mod_proxy_connect (`APACHE`) for theirs.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { createSecureServer, type ServerHttp2Session } from 'node:http2'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readHostPort } from '@ambient/core'
import { runClientConformance, runServerConformance } from '@ambient/hbone/conformance'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterEach, describe, expect, it } from 'vitest'

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

const APACHE = process.env.APACHE ?? ['/usr/sbin/apache2', '/usr/sbin/httpd'].find(existsSync) ?? 'apache2'
const MODULES = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/lib/httpd/modules']
const modules = MODULES.find(folder => existsSync(join(folder, 'mod_http2.so')))
const apacheProblem = unusableApache()

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
    const found = await deviations(await apache())
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

/** A forward proxy for loopback targets. */
async function apache(): Promise<number> {
  const folder = await temporaryFolder()
  const port = await freePort()
  await writeFile(join(folder, 'cert.pem'), db.certificateChain)
  await writeFile(join(folder, 'key.pem'), db.privateKey())
  await writeFile(join(folder, 'ca.pem'), db.trustBundle)
  await writeFile(join(folder, 'httpd.conf'), apacheConfig(folder, port))
  // Its workers are another user.
  await chmod(folder, 0o755)
  const child = spawn(APACHE, ['-f', join(folder, 'httpd.conf'), '-D', 'FOREGROUND'], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  later(async () => {
    child.kill('SIGTERM')
    await ended
  })
  await untilListening(port, child)
  return port
}

function apacheConfig(folder: string, port: number): string {
  const names = ['authz_core', 'authz_host', 'ssl', 'http2', 'proxy', 'proxy_connect']
  const load = (name: string): string => `LoadModule ${name}_module ${modules ?? ''}/mod_${name}.so`
  return `
ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
Mutex file:${folder} default
${existsSync(join(modules ?? '', 'mod_mpm_event.so')) ? load('mpm_event') : ''}
${existsSync(join(modules ?? '', 'mod_unixd.so')) ? load('unixd') : ''}
${process.getuid?.() === 0 ? 'User nobody' : ''}
${names.map(load).join('\n')}
Protocols h2 http/1.1
Listen 127.0.0.1:${port}
SSLEngine on
SSLCertificateFile ${folder}/cert.pem
SSLCertificateKeyFile ${folder}/key.pem
SSLCACertificateFile ${folder}/ca.pem
SSLVerifyClient require
ProxyRequests On
H2ProxyRequests On
AllowCONNECT 1024-65535
<Proxy "*">
  Require local
</Proxy>
`
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Apache ended with ${child.exitCode}`)
    const socket = connectTcp({ host: '127.0.0.1', port })
    const isThere = await Promise.race([once(socket, 'connect').then(() => true)]).catch(() => false)
    socket.destroy()
    if (isThere) return
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
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

function unusableApache(): string | undefined {
  try {
    execFileSync(APACHE, ['-v'], { stdio: 'ignore' })
  } catch {
    return 'there is no Apache (set APACHE to its program)'
  }
  return modules === undefined ? 'this Apache has no mod_http2' : undefined
}
