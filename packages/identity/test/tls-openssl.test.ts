/** Our servers and clients with OpenSSL's and curl: nobody is served unproven, no session is resumed. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import * as https from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { parseSpiffeId } from '@ambient/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connectTls, peerIdentity, secureServer } from '../src/index.ts'
import { cleanup, listening, sourceOf, type TestSource } from './tls-fixtures.ts'

const has = (program: string, flag: string): boolean => spawnSync(program, [flag]).status === 0
const openssl = has('openssl', 'version')
const curl = has('curl', '--version')
const idOf = (account: string) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`)

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-openssl-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** `-cert` and `-key` of an identity, in OpenSSL's spelling or curl's. */
async function filesOf(source: TestSource, name: string, dashes = '-'): Promise<string[]> {
  const identity = await source.get()
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)]
  await writeFile(cert, identity.certificateChain)
  await writeFile(key, identity.privateKey(), { mode: 0o600 })
  return [`${dashes}cert`, cert, `${dashes}key`, key]
}

async function served() {
  const db = await sourceOf('db')
  const web = await sourceOf('web', db.identities)
  const asked: string[] = []
  const server = https.createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end(`for ${peerIdentity(request.socket)?.path}`)
  })
  const refused: string[] = []
  secureServer(server, db, { onRefused: ({ error }) => refused.push(error.message) })
  const port = await listening(server)
  return { db, web, port, asked, refused }
}

function clientOf(port: number, args: readonly string[]): Promise<string> {
  const program = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-ign_eof', ...args])
  program.stdin.on('error', () => {})
  program.stdin.write('GET /secret HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n')
  return text(program.stdout)
}

describe.skipIf(!openssl)(`openssl s_client${openssl ? '' : ' (openssl is not here)'}`, () => {
  it('is served with its certificate, and resumes no session that it kept', async () => {
    const { web, port, asked } = await served()
    const identity = await filesOf(web, 'web')
    const kept = join(folder, 'session')
    const first = await clientOf(port, [...identity, '-sess_out', kept])
    expect(first).toContain('for /ns/shop/sa/web')
    expect(first).toMatch(/New, TLSv1\.3/)
    expect(existsSync(kept)).toBe(true)
    const again = await clientOf(port, [...identity, '-sess_in', kept])
    expect(again).toContain('for /ns/shop/sa/web')
    expect(again).not.toMatch(/Reused/)
    // A session alone proves nobody.
    expect(await clientOf(port, ['-sess_in', kept])).not.toContain('HTTP/1.1')
    expect(asked).toEqual(['/secret', '/secret'])
  })

  it('is not served without a certificate, with one of another root, or over TLS 1.2', async () => {
    const { web, port, asked, refused } = await served()
    const stranger = await filesOf(await sourceOf('web'), 'stranger')
    const old = [...(await filesOf(web, 'web')), '-tls1_2']
    for (const args of [[], stranger, old]) expect(await clientOf(port, args)).not.toContain('HTTP/1.1')
    expect(asked).toEqual([])
    expect(refused).toEqual([
      expect.stringMatching(/presented no certificate/),
      expect.stringMatching(/no certificate of the trust bundle/),
    ])
  })
})

describe.skipIf(!curl)(`curl${curl ? '' : ' (it is not here)'}`, () => {
  it('is served with its certificate, before and after a rotation', async () => {
    const { db, web, port } = await served()
    const ask = async (): Promise<string> => {
      const files = await filesOf(web, 'web', '--')
      const args = ['-sS', '--insecure', '--http1.1', ...files, `https://127.0.0.1:${port}/`]
      return new Promise((resolve, reject) =>
        execFile('curl', args, (error, out) => (error ? reject(error) : resolve(out))),
      )
    }
    expect(await ask()).toBe('for /ns/shop/sa/web')
    await Promise.all([db.rotate(), web.rotate()])
    expect(await ask()).toBe('for /ns/shop/sa/web')
  })
})

describe.skipIf(!openssl)(`openssl s_server${openssl ? '' : ' (openssl is not here)'}`, () => {
  it('is spoken to when it is who was expected, and hears nothing else', async () => {
    const db = await sourceOf('db')
    const web = await sourceOf('web', db.identities)
    const port = await freePort()
    const bundle = join(folder, 'root.pem')
    await writeFile(bundle, db.current()?.trustBundle ?? '')
    const server = spawn('openssl', [
      's_server',
      ...['-accept', `127.0.0.1:${port}`, '-quiet', '-no_ign_eof', '-Verify', '3', '-verify_return_error'],
      ...['-CAfile', bundle, ...(await filesOf(db, 'db'))],
    ])
    cleanup(async () => {
      const closed = once(server, 'close')
      server.kill()
      await closed
    })
    server.stdin.on('error', () => {})
    const target = { host: '127.0.0.1', port }
    await reachable(port)
    await expect(
      connectTls(web, { ...target, expect: { kind: 'one-of', ids: [idOf('payments')] } }),
    ).rejects.toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY' })
    const socket = await connectTls(web, { ...target, expect: { kind: 'one-of', ids: [idOf('db')] } })
    const heard = once(server.stdout, 'data')
    socket.write('only this\n')
    const [bytes] = await heard
    expect(String(bytes)).toBe('only this\n')
    server.stdin.write('and back\n')
    const [answer] = await once(socket, 'data')
    expect(String(answer)).toBe('and back\n')
    socket.destroy()
  })
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** It says nothing when it begins to listen. */
async function reachable(port: number): Promise<void> {
  const { connect } = await import('node:net')
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port })
    const isThere = await new Promise(resolve =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    )
    socket.destroy()
    if (isThere === true) return
  }
}
