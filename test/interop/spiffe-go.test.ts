/**
 * go-spiffe as an independent peer of the SPIFFE Workload API and of what travels with it: its client takes from our
 * server, our client takes from a server made of its parts, each proves the other's certificates, bundles and tokens, and
 * both talk mutual TLS.
 *
 * Needs Go and, once, the module proxy; GO=path chooses the tool.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { fileURLToPath } from 'node:url'
import {
  createCertificateAuthority,
  createIdentityManager,
  createJwtAuthority,
  createLocalSigner,
  createWorkloadApiServer,
  createWorkloadApiSource,
  type DueIdentity,
} from '@ambient/identity'
import { type Credentials, parseSpiffeId } from '@ambient/core'
import { afterAll, afterEach, describe, expect, it } from 'vitest'

const sources = join(dirname(fileURLToPath(import.meta.url)), 'peers', 'spiffe')
const go = process.env['GO'] ?? 'go'
const folder = mkdtempSync(join(tmpdir(), 'ambient-go-'))
const program = join(folder, 'peer')
const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
const API = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/api')
const GO = parseSpiffeId('spiffe://go.example/peer')
const TIMEOUT_MS = 60_000

/** Why there is no program, `undefined` when there is. */
function missing(): string | undefined {
  const runs = (...args: string[]): boolean => {
    try {
      execFileSync(go, args, { cwd: sources, stdio: 'ignore', timeout: 240_000 })
      return true
    } catch {
      return false
    }
  }
  if (!runs('version')) return `there is no ${go} (GO=path chooses another)`
  return runs('build', '-o', program, '.') ? undefined : 'the Go program could not be built'
}

const absent = missing()
const closers: (() => Promise<unknown> | unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Peer {
  readonly child: ChildProcess
  readonly line: () => Promise<string>
  readonly say: (text: string) => void
}

function peer(...args: string[]): Peer {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const lines: Interface = createInterface({ input: child.stdout })
  const read = lines[Symbol.asyncIterator]()
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  closers.push(async () => {
    if (child.exitCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  })
  return {
    child,
    async line() {
      const { value, done } = await read.next()
      if (done === true) throw new Error(`the Go peer ended: ${errors}`)
      return value
    },
    say: text => void child.stdin.write(`${text}\n`),
  }
}

interface Served {
  readonly address: string
  readonly due: DueIdentity[]
  readonly manager: ReturnType<typeof createIdentityManager>
  readonly server: ReturnType<typeof createWorkloadApiServer>
}

async function serve(): Promise<Served> {
  const ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  const jwt = await createJwtAuthority({ trustDomain: 'cluster.local' })
  const manager = createIdentityManager({ signer: createLocalSigner(ca) })
  const address = `unix://${join(folder, `${closers.length}.sock`)}`
  const due: DueIdentity[] = [{ id: WEB, hint: 'internal' }, { id: API }]
  const server = createWorkloadApiServer({ listen: address, attest: () => due, credentials: manager, jwt })
  await server.start()
  closers.push(
    () => manager.close(),
    () => server.close(),
  )
  return { address, due, manager, server }
}

function chainOf(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = []
  const seen = new Set<string>()
  for (let at = socket.getPeerCertificate(true); at?.raw !== undefined; at = at.issuerCertificate) {
    if (seen.has(at.fingerprint256)) break
    seen.add(at.fingerprint256)
    chain.push(at.raw)
  }
  return chain
}

function tlsOf(credentials: Credentials): {
  cert: string
  key: string
  ca: string
  rejectUnauthorized: false
} {
  return {
    cert: credentials.certificateChain,
    key: credentials.privateKey(),
    ca: credentials.trustBundle,
    rejectUnauthorized: false,
  }
}

describe.skipIf(absent !== undefined)(
  `go-spiffe${absent === undefined ? '' : ` (skipped: ${absent})`}`,
  { timeout: TIMEOUT_MS },
  () => {
    it('takes X.509- and JWT-SVIDs and bundles from our Workload API, and each renewal', async () => {
      const { address, manager, server, due } = await serve()
      const client = peer('client', address, 'db')
      const first = JSON.parse(await client.line())
      expect(first).toMatchObject({
        ids: [WEB.uri, API.uri],
        hints: ['internal', ''],
        verified: [WEB.uri, API.uri],
        bundles: ['cluster.local'],
        tokenIds: [WEB.uri, WEB.uri],
      })
      const renewed = await manager.rotate(WEB)
      const second = JSON.parse(await client.line())
      expect(second.verified).toEqual([WEB.uri, API.uri])
      expect(second.serial).not.toBe(first.serial)
      expect(renewed.id.uri).toBe(WEB.uri)
      due.splice(1)
      server.refresh()
      expect(JSON.parse(await client.line()).ids).toEqual([WEB.uri])
    })

    it.each(['unix', 'tcp'])(
      'gives us X.509- and JWT-SVIDs, federation and withdrawals over %s',
      async kind => {
        const path = join(folder, 'go.sock')
        const go = peer('server', kind === 'unix' ? path : 'tcp')
        const bound = (await go.line()).replace('listening ', '')
        const root = Buffer.from((await go.line()).replace('root ', ''), 'base64')
        const source = createWorkloadApiSource({
          address: kind === 'unix' ? `unix://${path}` : `tcp://${bound}`,
        })
        closers.push(() => source.close())
        const first = await source.get()
        expect(first.id.uri).toBe(GO.uri)
        expect(source.svids().map(({ id, hint }) => `${id.path} ${hint}`)).toEqual([
          '/peer internal',
          '/second external',
        ])
        expect(source.bundles().get('go.example')?.x509Authorities).toEqual([root])
        const own = [Buffer.from(first.certificateChain.replace(/-----[^-]+-----/g, ''), 'base64')]
        expect(first.verifyPeer(own, { kind: 'one-of', ids: [GO] })).toMatchObject({ ok: true })
        const next = (): Promise<Credentials> =>
          new Promise(resolve => {
            const stop = source.watch(credentials => {
              stop()
              resolve(credentials)
            })
          })
        let changed = next()
        go.say('renew')
        expect((await changed).certificateChain).not.toBe(first.certificateChain)
        const partner = await createCertificateAuthority({ trustDomain: 'partner.example' })
        changed = next()
        go.say(`federate spiffe://partner.example ${partner.rootPem.replace(/-----[^-]+-----|\n/g, '')}`)
        expect([...(await changed).federatedBundles]).toEqual([['partner.example', partner.rootPem]])

        const { token, id } = await source.fetchJwtSvid({ audience: 'db' })
        expect(id.uri).toBe(GO.uri)
        expect(await source.validateJwtSvid({ token, audience: 'db' })).toMatchObject({
          ok: true,
          svid: { id: GO },
        })
        expect(await source.validateJwtSvid({ token, audience: 'x' })).toMatchObject({ problem: 'audience' })
        go.say(`jwt ${token} db`)
        expect(await go.line()).toBe('token good')

        go.say('withdraw')
        await expect.poll(() => source.current()).toBeUndefined()
        await expect(source.get()).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_WITHDRAWN' })
      },
    )

    it('and we prove each other over mutual TLS, in both directions', async () => {
      const { address } = await serve()
      const source = createWorkloadApiSource({ address })
      closers.push(() => source.close())
      const ours = await source.get()
      const echo = peer('echo', address, WEB.uri)
      const port = Number((await echo.line()).split(':').at(-1))
      const socket = connect({ host: '127.0.0.1', port, minVersion: 'TLSv1.3', ...tlsOf(ours) })
      await once(socket, 'secureConnect')
      expect(ours.verifyPeer(chainOf(socket), { kind: 'one-of', ids: [WEB] })).toMatchObject({ ok: true })
      socket.write('ping\n')
      const [answer]: Buffer[] = await once(socket, 'data')
      expect(String(answer)).toBe('ping\n')
      socket.destroy()

      const verdicts: unknown[] = []
      const server = createServer({ ...tlsOf(ours), requestCert: true, minVersion: 'TLSv1.3' }, accepted => {
        verdicts.push(ours.verifyPeer(chainOf(accepted), { kind: 'own-trust-domain' }))
        accepted.on('error', () => {})
        accepted.once('data', (chunk: Buffer) => accepted.end(chunk))
      })
      server.on('tlsClientError', () => {})
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      closers.push(() => new Promise(resolve => server.close(resolve)))
      const target = `127.0.0.1:${(server.address() as AddressInfo).port}`
      expect(await peer('dial', address, target, WEB.uri).line()).toBe('said hello')
      expect(verdicts).toMatchObject([{ ok: true, id: WEB }])
      await expect(peer('dial', address, target, API.uri).line()).rejects.toThrow(/unexpected ID/)
    })
  },
)
