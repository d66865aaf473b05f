/** `ambient hbone serve | forward | connect --workload-api`: identities from a Workload API that rotates, restarts and revokes. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { parseSpiffeId, type SpiffeId } from '@ambient/core'
import { connect } from '@ambient/hbone'
import {
  attestBySelectors,
  createCertificateAuthority,
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiServer,
  type IdentityManager,
  readPemCertificates,
  type SpiffeBundle,
  type WorkloadApiServer,
} from '@ambient/identity'
import { describe, expect, it } from 'vitest'
import { answering, ask, atEnd, certificateFiles, start, tcpServer, typed } from './hbone-fixture.ts'

const SERVER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/server')
const CLIENT = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client')

interface Agent {
  /** `--workload-api` with the socket of one identity. */
  of(id: SpiffeId): readonly string[]
  readonly manager: IdentityManager
  bundle(): SpiffeBundle
  stop(): Promise<void>
  again(): Promise<void>
}

/** A socket for each identity, as where the kernel does not say who calls. */
async function agent(ids: readonly SpiffeId[] = [SERVER, CLIENT], foreign?: Agent): Promise<Agent> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-api-'))
  const socketOf = (id: SpiffeId): string => join(folder, `${ids.indexOf(id)}.sock`)
  const ca = await createCertificateAuthority({ trustDomain: ids[0]?.trustDomain ?? '' })
  const manager = createIdentityManager({ signer: createLocalSigner(ca) })
  const bundle = (): SpiffeBundle => ({
    trustDomain: ca.trustDomain,
    x509Authorities: readPemCertificates(ca.rootPem),
    jwtAuthorities: new Map(),
    ignored: [],
  })
  const others = foreign === undefined ? [] : [foreign.bundle()]
  const known = new Map(others.map(other => [other.trustDomain, other]))
  const open = async (): Promise<WorkloadApiServer> => {
    const server = createWorkloadApiServer({
      listen: ids.map(id => `unix://${socketOf(id)}`),
      attest: attestBySelectors(ids.map(id => ({ id, selectors: { socket: socketOf(id) } }))),
      credentials: manager,
      federation: { bundles: () => known, watch: () => () => {} },
    })
    await server.start()
    return server
  }
  let server = await open()
  atEnd(async () => {
    await server.close()
    await manager.close()
    await rm(folder, { recursive: true, force: true })
  })
  return {
    of: id => ['--workload-api', `unix://${socketOf(id)}`],
    manager,
    bundle,
    stop: () => server.close(),
    async again() {
      server = await open()
    },
  }
}

/** The serial number that the server at this port proves itself with. */
async function shownAt(port: number, manager: IdentityManager): Promise<string> {
  const own = await manager.get(CLIENT)
  let shown = ''
  const tunnel = connect({
    credentials: {
      ...own,
      verifyPeer(chain, expected, at) {
        shown = new X509Certificate(chain[0] ?? Buffer.of()).serialNumber
        return own.verifyPeer(chain, expected, at)
      },
    },
    to: { address: '127.0.0.1', port },
    expect: [SERVER],
    authority: 'nothing.allowed:1',
  })
  await expect(tunnel).rejects.toMatchObject({ status: 401 })
  return shown
}

async function serialIn(manager: IdentityManager, id: SpiffeId): Promise<string> {
  return new X509Certificate((await manager.get(id)).certificateChain).serialNumber
}

describe('--workload-api', () => {
  it('gives serve, forward and connect their identities, without a file', async () => {
    const { of } = await agent()
    const app = await tcpServer(answering)
    const server = start([
      ...['serve', '--listen', '127.0.0.1:0', '--allow-target', `127.0.0.1:${app.port}`, '-v'],
      ...['--peer', CLIENT.uri, ...of(SERVER)],
    ])
    const via = ['--via', `127.0.0.1:${await server.port()}`]
    const forward = start([
      ...['forward', ...via, '--forward', `127.0.0.1:0=127.0.0.1:${app.port}`, ...of(CLIENT)],
    ])
    expect(await ask(await forward.port(), 'a question')).toBe('heard a question')
    const output = new PassThrough()
    const command = start(['connect', ...via, '--target', `127.0.0.1:${app.port}`, ...of(CLIENT)], {
      input: typed('hi'),
      output,
    })
    expect(await command.code).toBe(0)
    expect(await text(output)).toBe('heard hi')
    expect(server.err()).toContain(`peer=${CLIENT.uri}`)
    for (const program of [forward, server]) {
      program.interrupt()
      expect(await program.code).toBe(0)
    }
  })

  it('renewed certificates are shown from the next connection on, also those that came while it was away', async () => {
    const { of, manager, stop, again } = await agent()
    const server = start(['serve', '--listen', '127.0.0.1:0', '--allow-target', '127.0.0.1:9', ...of(SERVER)])
    const port = await server.port()
    const first = await shownAt(port, manager)
    expect(first).toBe(await serialIn(manager, SERVER))
    await manager.rotate(SERVER)
    await expect.poll(() => shownAt(port, manager)).toBe(await serialIn(manager, SERVER))
    await stop()
    const last = await shownAt(port, manager)
    await manager.rotate(SERVER)
    expect(await shownAt(port, manager)).toBe(last)
    await again()
    await expect.poll(() => shownAt(port, manager), { timeout: 10_000 }).toBe(await serialIn(manager, SERVER))
  })

  it('peers are those that --peer and --trust-domain name', async () => {
    const { of } = await agent()
    const server = start(['serve', '--listen', '127.0.0.1:0', '--echo', ...of(SERVER)])
    const via = ['connect', '--via', `127.0.0.1:${await server.port()}`, '--target', 'any.host:1']
    const wrong = start([...via, '--peer', CLIENT.uri, ...of(CLIENT)], { input: typed('') })
    expect(await wrong.code).toBe(1)
    expect(wrong.err()).toContain(`peer is ${SERVER.uri}, expected ${CLIENT.uri}`)
    const foreign = start([...via, '--trust-domain', 'other.example', ...of(CLIENT)], { input: typed('') })
    expect(await foreign.code).toBe(1)
    expect(foreign.err()).toContain('AMBIENT_E_PEER_IDENTITY')
    const right = start([...via, '--trust-domain', 'cluster.local', ...of(CLIENT)], { input: typed('hi') })
    expect(await right.code).toBe(0)
  })

  it('peers of a federated trust domain are believed when they are named, and not otherwise', async () => {
    const stranger = parseSpiffeId('spiffe://other.example/visitor')
    const visitors = await agent([stranger])
    const { of } = await agent([SERVER], visitors)
    const serve = ['serve', '--listen', '127.0.0.1:0', '--echo', ...of(SERVER)]
    const [open, closed] = [start([...serve, '--trust-domain', 'other.example']), start(serve)]
    // The visitor believes whoever answers: the question is what the server thinks.
    const visit = async ({ port }: typeof open): Promise<string> => {
      const own = await visitors.manager.get(stranger)
      const tunnel = connect({
        credentials: { ...own, verifyPeer: () => ({ ok: true, id: SERVER, notAfter: own.notAfter }) },
        to: { address: '127.0.0.1', port: await port() },
        expect: [SERVER],
        authority: 'any.host:1',
      })
      return tunnel.then(
        async ({ channel }) => {
          channel.reset('CANCEL', 'seen enough')
          return 'a tunnel'
        },
        () => 'none',
      )
    }
    expect(await visit(open)).toBe('a tunnel')
    expect(await visit(closed)).toBe('none')
    await expect.poll(closed.err).toContain('AMBIENT_E_PEER_IDENTITY')
  })

  it('says what is wrong before it listens', async () => {
    const { of } = await agent()
    const serve = ['serve', '--listen', '127.0.0.1:0', '--echo']
    const both = start([...serve, ...of(SERVER), ...(await (await certificateFiles()).of('server'))])
    expect(await both.code).toBe(2)
    expect(both.err()).toContain('--workload-api gives what --cert, --key, --ca would: give one of the two')
    const nowhere = start([...serve, '--workload-api', 'unix:///nowhere/agent.sock'])
    expect(await nowhere.code).toBe(1)
    expect(nowhere.err()).toMatch(/--workload-api: .*nowhere.*\[AMBIENT_E_CLI_CREDENTIALS\]/)
    const malformed = start([...serve, '--workload-api', 'http://127.0.0.1:1'])
    expect(await malformed.code).toBe(2)
    expect(malformed.err()).toContain('the scheme is neither unix nor tcp')
    for (const { out } of [both, nowhere, malformed]) expect(out()).toBe('')
    const plain = start([...serve, '--plaintext', ...of(SERVER)])
    const socket = net.connect(await plain.port(), '127.0.0.1')
    await once(socket, 'connect')
    socket.destroy()
    await expect.poll(plain.err).toContain('without effect: --workload-api: --plaintext proves nobody')
  })
})
