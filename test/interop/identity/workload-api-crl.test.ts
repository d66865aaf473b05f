/** `ambient hbone serve --workload-api` ends what it carries for a peer that the Workload API's revocation list names. */
import { createPrivateKey } from 'node:crypto'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Credentials, parseSpiffeId, type SpiffeId } from '@ambient/core'
import { createHbonePool, type Tunnel } from '@ambient/hbone'
import {
  createCertificateAuthorityFiles,
  createIdentityManager,
  createLocalSigner,
  openCertificateAuthority,
  readPemCertificates,
} from '@ambient/identity'
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'

const AMBIENT = fileURLToPath(new URL('../../../packages/cli/dist/bin.js', import.meta.url))
const SERVER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/server')
const CLIENT = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client')
const OTHER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/other')

const cleanups: (() => unknown)[] = []
const atEnd = (run: () => unknown): void => void cleanups.push(run)
afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

/** A field of bytes, as Protocol Buffers write it. */
function field(number: number, bytes: Uint8Array): Uint8Array {
  const length: number[] = []
  for (let rest = bytes.length; ; rest >>>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest)
    if (rest <= 0x7f) break
  }
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes])
}

/** `X509SVIDResponse`: one identity, and the lists. */
function answer(own: Credentials, crlPem: string): Uint8Array {
  const ders = (pem: string): Uint8Array => Buffer.concat(readPemCertificates(pem))
  const svid = Buffer.concat([
    field(1, Buffer.from(own.id.uri)),
    field(2, ders(own.certificateChain)),
    field(3, createPrivateKey(own.privateKey()).export({ format: 'der', type: 'pkcs8' })),
    field(4, ders(own.trustBundle)),
  ])
  const lists = [...crlPem.matchAll(/-----BEGIN X509 CRL-----([^-]+)-----END/g)].map(([, text = '']) =>
    field(2, Buffer.from(text, 'base64')),
  )
  return Buffer.concat([field(1, svid), ...lists])
}

/** A Workload API of these bytes; `say` sends others. */
async function scripted(folder: string, first: Uint8Array) {
  const calls = new Set<ServerWritableStream<Uint8Array, Uint8Array>>()
  const server = new Server()
  const same = (bytes: Uint8Array): Buffer => Buffer.from(bytes)
  server.addService(
    {
      FetchX509SVID: {
        path: '/SpiffeWorkloadAPI/FetchX509SVID',
        requestStream: false,
        responseStream: true,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      },
    },
    {
      FetchX509SVID: (call: ServerWritableStream<Uint8Array, Uint8Array>) => {
        calls.add(call)
        call.write(first)
      },
    },
  )
  const address = `unix://${join(folder, 'agent.sock')}`
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    )
  })
  atEnd(() => server.forceShutdown())
  return {
    address,
    say(bytes: Uint8Array) {
      for (const call of calls) call.write(bytes)
    },
  }
}

async function serve(address: string): Promise<number> {
  const child = spawn(
    process.execPath,
    [AMBIENT, 'hbone', 'serve', '--listen', '127.0.0.1:0', '--echo', '--workload-api', address],
    { stdio: ['ignore', 'pipe', 'ignore'] },
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

describe('a revocation list from the Workload API', () => {
  it('ends the sessions of whom it names, and nobody else', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambient-crl-'))
    atEnd(() => rmSync(folder, { recursive: true, force: true }))
    const dir = join(folder, 'ca')
    await createCertificateAuthorityFiles({ dir, trustDomain: 'cluster.local' })
    const ca = await openCertificateAuthority({ dir })
    const manager = createIdentityManager({ signer: createLocalSigner(ca) })
    const pool = createHbonePool()
    atEnd(() => Promise.all([pool.close({ graceMs: 0 }), manager.close(), ca.close()]))
    const own = await manager.get(SERVER)
    const api = await scripted(folder, answer(own, await ca.revocationLists()))
    const port = await serve(api.address)
    const tunnelOf = async (id: SpiffeId): Promise<Tunnel> =>
      pool.connect({
        credentials: await manager.get(id),
        to: { address: '127.0.0.1', port },
        expect: [SERVER],
        authority: 'any.host:1',
      })
    const [revoked, other] = [(await tunnelOf(CLIENT)).socket(), (await tunnelOf(OTHER)).socket()]
    other.on('error', () => {})
    const cut = new Promise<Error>(resolve => revoked.once('error', resolve))
    await ca.revoke(
      (await manager.get(CLIENT)).certificateChain.replace(/(?<=END CERTIFICATE-----).*/s, '\n'),
    )
    api.say(answer(own, await ca.revocationLists()))
    expect(await cut).toMatchObject({ code: 'ECONNRESET' })
    await expect(tunnelOf(CLIENT)).rejects.toMatchObject({ code: expect.stringMatching(/^AMBIENT_E_/) })
    other.write('still here')
    expect(String((await once(other, 'data'))[0])).toBe('still here')
    other.destroy()
  })
})
