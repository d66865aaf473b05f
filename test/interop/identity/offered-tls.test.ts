/** What the HBONE port offers, asked by OpenSSL: TLS 1.3 with AES-GCM and nothing else. OPENSSL chooses the command. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import type { Credentials } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { connect, createHboneServer } from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const OPENSSL = process.env['OPENSSL'] ?? 'openssl'

/** What OpenSSL itself can do. */
function ask(...args: readonly string[]): string | undefined {
  try {
    return execFileSync(OPENSSL, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    return undefined
  }
}

const skipped = ask('version') === undefined ? ` (skipped: there is no ${OPENSSL})` : ''

interface Question {
  readonly name: string
  readonly args: readonly string[]
  /** What the server says: a version and a suite, or the number of a TLS alert. */
  readonly answer: RegExp
}

/** RFC 8446 §6.2. */
const HANDSHAKE_FAILURE = /^alert 40$/
const PROTOCOL_VERSION = /^alert 70$/

const suite = (name: string, answer: RegExp): Question => ({
  name: `TLS 1.3 with ${name}`,
  args: ['-tls1_3', '-ciphersuites', name],
  answer,
})
const old = (version: string, cipher = 'ALL:@SECLEVEL=0'): Question => ({
  name: `${version.replace('_', '.')} with ${cipher}`,
  args: [`-${version}`, '-cipher', cipher],
  answer: PROTOCOL_VERSION,
})
const questions: readonly Question[] = [
  suite('TLS_AES_256_GCM_SHA384', /^TLSv1\.3 TLS_AES_256_GCM_SHA384$/),
  suite('TLS_AES_128_GCM_SHA256', /^TLSv1\.3 TLS_AES_128_GCM_SHA256$/),
  suite('TLS_CHACHA20_POLY1305_SHA256', HANDSHAKE_FAILURE),
  suite('TLS_AES_128_CCM_SHA256', HANDSHAKE_FAILURE),
  suite('TLS_AES_128_CCM_8_SHA256', HANDSHAKE_FAILURE),
  old('tls1_2'),
  old('tls1_2', 'ECDHE-ECDSA-AES256-GCM-SHA384'),
  old('tls1_2', 'ECDHE-ECDSA-CHACHA20-POLY1305'),
  old('tls1_1'),
  old('tls1'),
]

const closers: (() => unknown)[] = []
let ours: Credentials
let theirs: Credentials
let own: readonly string[] = []
let hbone = 0
/** A server that takes whatever it is offered: whoever gets nowhere with ours gets there. */
let lenient = 0

beforeAll(async () => {
  const identities = await createTestIdentities()
  ours = await identities.credentials({ namespace: 'shop', serviceAccount: 'server' })
  theirs = await identities.credentials({ namespace: 'shop', serviceAccount: 'client' })
  const folder = mkdtempSync(join(tmpdir(), 'ambient-offered-'))
  writeFileSync(join(folder, 'chain.pem'), theirs.certificateChain)
  writeFileSync(join(folder, 'key.pem'), theirs.privateKey(), { mode: 0o600 })
  own = ['-cert', join(folder, 'chain.pem'), '-key', join(folder, 'key.pem'), '-alpn', 'h2']
  const server = createHboneServer({ credentials: () => ours, onTunnel: request => request.refuse(404) })
  const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  hbone = listener.port
  const all = [...questions.map(({ args }) => args[2]).filter(name => name?.startsWith('TLS_')), 'ALL']
  const other = createTlsServer({
    cert: ours.certificateChain,
    key: ours.privateKey(),
    minVersion: 'TLSv1',
    ciphers: `${all.join(':')}:@SECLEVEL=0`,
    ALPNProtocols: ['h2'],
  })
  other.on('secureConnection', socket => socket.on('error', () => {}).end('hello'))
  other.on('tlsClientError', () => {})
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  lenient = (other.address() as AddressInfo).port
  closers.push(
    () => rmSync(folder, { recursive: true, force: true }),
    () => listener.close(),
    () => server.close({ graceMs: 0 }),
    () => other.close(),
  )
})
afterAll(async () => {
  for (const close of closers) await close()
})

/** What the server made of it. */
async function answerOf(port: number, args: readonly string[]): Promise<string> {
  const command = ['s_client', '-connect', `127.0.0.1:${port}`, ...own, ...args]
  // Its standard input ends at once: it leaves after the handshake.
  const client = spawn(OPENSSL, command, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [client.stdout, client.stderr])
    stream.on('data', (bytes: Buffer) => {
      output += bytes.toString('latin1')
    })
  await once(client, 'close')
  const [, alert] = /SSL alert number (\d+)/.exec(output) ?? []
  if (alert !== undefined) return `alert ${alert}`
  const [, cipher] = /^New, \S+, Cipher is (\S+)$/m.exec(output) ?? []
  const [, version] = /^ *Protocol *: (\S+)$|^New, (?=TLSv1\.3)/m.exec(output) ?? []
  return cipher === undefined ? output : `${version ?? 'TLSv1.3'} ${cipher}`
}

describe.skipIf(skipped !== '')(`the HBONE port${skipped}`, () => {
  for (const { name, args, answer } of questions)
    it(`${answer.source.startsWith('^alert') ? 'refuses' : 'takes'} ${name}`, async () => {
      expect(await answerOf(hbone, args)).toMatch(answer)
      expect(await answerOf(lenient, args), 'OpenSSL itself can').toMatch(/^TLSv1\S* \S{6,}$/)
    })
})

describe('our client', () => {
  it('offers the same two suites, TLS 1.3 alone, h2 alone, no name and no ticket', async () => {
    const server = createTcpServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const tunnel = connect({
      credentials: theirs,
      to: { address: '127.0.0.1', port },
      expect: [ours.id],
      authority: '127.0.0.1:9',
    }).catch(() => {})
    const [socket] = await once(server, 'connection')
    const [bytes] = await once(socket, 'data')
    socket.destroy()
    await tunnel
    server.close()
    const { suites, extensions } = readClientHello(bytes)
    // 0x00ff says that it is not renegotiating (RFC 5746 §3.3); it is no suite.
    expect(suites.filter(number => number !== 0x00ff)).toEqual([0x1302, 0x1301])
    // RFC 8446 §4.2: supported_versions, ALPN, server_name, session_ticket, pre_shared_key.
    expect(extensions.get(43)).toEqual('020304')
    expect(extensions.get(16)).toEqual('0003026832')
    for (const absent of [0, 41]) expect(extensions.has(absent)).toBe(false)
    expect(extensions.get(35) ?? '').toBe('')
  })
})

/** RFC 8446 §4.1.2, in one record. */
function readClientHello(record: Buffer): {
  readonly suites: readonly number[]
  readonly extensions: ReadonlyMap<number, string>
} {
  let at = 5 + 4 + 2 + 32
  const take = (lengthBytes: number): Buffer => {
    const from = at + lengthBytes
    at = from + record.readUIntBE(at, lengthBytes)
    return record.subarray(from, at)
  }
  take(1)
  const suites = take(2)
  take(1)
  const end = at + 2 + record.readUInt16BE(at)
  at += 2
  const extensions = new Map<number, string>()
  while (at < end) {
    const type = record.readUInt16BE(at)
    at += 2
    extensions.set(type, take(2).toString('hex'))
  }
  return {
    suites: Array.from({ length: suites.length / 2 }, (_, index) => suites.readUInt16BE(index * 2)),
    extensions,
  }
}
