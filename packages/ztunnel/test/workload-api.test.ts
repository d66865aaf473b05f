/** Ztunnels whose certificates come from a SPIFFE Workload API: no CA is asked, and no SPIRE is needed. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId, type Workload } from '@ambient/core'
import { createDirectory } from '@ambient/discovery'
import {
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiIdentities,
  createWorkloadApiServer,
  createWorkloadApiSource,
  type DueIdentity,
  type IdentityManager,
  type WorkloadApiServer,
} from '@ambient/identity'
import { createPolicyStore } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { configFromEnvironment } from '../src/config/environment.ts'
import { createZtunnel } from '../src/ztunnel.ts'
import { endpointOf, service, workload } from './fixtures.ts'
import { createTestMesh, echo, fieldsOf, outbound, type TestMesh, type TestNode } from './mesh.ts'
import { cleanup, loopbackAddress, readAll, readBytes, serve } from './sockets.ts'

const idOf = (account: string) => parseSpiffeId(`spiffe://cluster.local/ns/default/sa/${account}`)
const due = (...accounts: string[]): DueIdentity[] => accounts.map(account => ({ id: idOf(account) }))

interface Agent {
  readonly address: string
  /** Issues, as SPIRE's server would. */
  readonly issuer: IdentityManager
  /** Says who is due from now on. */
  give(...accounts: string[]): void
  restart(): Promise<void>
}

/** An agent of one node. */
async function startAgent(mesh: TestMesh, ...accounts: string[]): Promise<Agent> {
  const folder = await mkdtemp(join(tmpdir(), 'ztunnel-wl-'))
  cleanup(() => rm(folder, { recursive: true, force: true }))
  const address = `unix://${join(folder, 'agent.sock')}`
  const issuer = createIdentityManager({ signer: createLocalSigner(mesh.ca) })
  cleanup(() => issuer.close())
  let given = due(...accounts)
  const start = async (): Promise<WorkloadApiServer> => {
    const server = createWorkloadApiServer({ listen: address, attest: () => given, credentials: issuer })
    cleanup(() => server.close())
    await server.start()
    return server
  }
  let server = await start()
  return {
    address,
    issuer,
    give(...next) {
      given = due(...next)
      server.refresh()
    },
    async restart() {
      await server.close()
      server = await start()
    },
  }
}

interface SpiffeWorld {
  readonly mesh: TestMesh
  readonly client: Workload
  readonly stranger: Workload
  readonly agentA: Agent
  readonly agentB: Agent
  readonly a: TestNode
  readonly b: TestNode
}

/** `client` and `stranger` on node a, `server` behind `web` on node b; an agent for each node. */
async function spiffeWorld(
  accountsOfA: readonly string[] = ['client', 'stranger'],
  envOfB: Record<string, string> = {},
): Promise<SpiffeWorld> {
  const serverIp = loopbackAddress()
  const app = await serve(echo, { host: serverIp })
  const web = service('web', loopbackAddress(), { ports: new Map([[80, app.port]]) })
  const client = workload('client', { addresses: [loopbackAddress()], node: 'a' })
  const stranger = workload('stranger', { addresses: [loopbackAddress()], node: 'a' })
  const server = workload('server', { addresses: [serverIp], node: 'b', services: endpointOf(web) })
  const mesh = await createTestMesh([client, stranger, server], [web])
  const agentA = await startAgent(mesh, ...accountsOfA)
  const agentB = await startAgent(mesh, 'server')
  const [a, b] = await Promise.all([
    mesh.node('a', { SPIFFE_ENDPOINT_SOCKET: agentA.address }),
    mesh.node('b', { SPIFFE_ENDPOINT_SOCKET: agentB.address, ...envOfB }),
  ])
  return { mesh, client, stranger, agentA, agentB, a, b }
}

async function carries({ mesh }: SpiffeWorld, from: Workload): Promise<void> {
  const { socket, reply } = await mesh.connect(from, 'web', 80)
  expect(reply).toBe(0)
  socket.end('hello')
  expect((await readAll(socket)).text).toBe('hello')
}

/** Resolves when the n-th answer of the agent is in place. */
const answer = (node: TestNode, count: number): Promise<string> => node.line(/certificate available/, count)

describe('a mesh without a CA of its own', () => {
  it('carries connections with the identities of its Workload APIs', async () => {
    const world = await spiffeWorld()
    await carries(world, world.client)
    const record = await world.mesh.record(outbound)
    expect(record.securityPolicy).toBe('mutual_tls')
    const dump = await fetch(`http://${world.a.ip}:15000/config_dump`, { headers: { connection: 'close' } })
    expect(await dump.json()).toMatchObject({
      config: { caAddress: null, workloadApi: world.agentA.address },
      certificates: [
        { identity: idOf('client').uri, state: 'Available' },
        { identity: idOf('stranger').uri, state: 'Available' },
      ],
    })
    const stats = await fetch(`http://${world.a.ip}:15020/metrics`, { headers: { connection: 'close' } })
    expect(await stats.text()).toContain(`istio_cert_expiry_seconds{identity="${idOf('client').uri}"}`)
  })

  it('keeps its tunnels while certificates rotate and the agent restarts', async () => {
    const world = await spiffeWorld()
    const { mesh, client, agentA, agentB, a, b } = world
    const open = await mesh.connect(client, 'web', 80)
    expect(open.reply).toBe(0)
    await Promise.all([answer(a, 1), answer(b, 1)])
    await Promise.all([agentA.issuer.rotate(idOf('client')), agentB.issuer.rotate(idOf('server'))])
    await Promise.all([answer(a, 2), answer(b, 2)])
    await carries(world, client)
    await Promise.all([agentA.restart(), agentB.restart()])
    await carries(world, client)
    await Promise.all([agentA.issuer.rotate(idOf('client')), agentB.issuer.rotate(idOf('server'))])
    await Promise.all([answer(a, 3), answer(b, 3)])
    await carries(world, client)
    open.socket.write('still here')
    expect((await readBytes(open.socket, 10)).toString()).toBe('still here')
    open.socket.end()
    await readAll(open.socket)
  })

  it('refuses whose identity was withdrawn, by name, and nobody else', async () => {
    const world = await spiffeWorld()
    const { mesh, client, stranger, agentA, a } = world
    await carries(world, client)
    agentA.give('stranger')
    await a.line(/the identity was withdrawn.*sa\/client/)
    expect((await mesh.connect(client, 'web', 80)).reply).not.toBe(0)
    const line = await a.line(/\terror\taccess\t/)
    expect(fieldsOf(line)['error']).toContain(`${idOf('client').uri} was withdrawn by the Workload API`)
    await carries(world, stranger)
    const renewed = answer(a, 3)
    agentA.give('stranger', 'client')
    await renewed
    await carries(world, client)
  })

  it('refuses who is not registered with the agent, and says who is', async () => {
    const world = await spiffeWorld(['stranger'])
    await world.a.line(/no certificate.*sa\/client/)
    expect((await world.mesh.connect(world.client, 'web', 80)).reply).not.toBe(0)
    const line = await world.a.line(/\terror\taccess\t/)
    expect(fieldsOf(line)['error']).toContain(`the Workload API gives ${idOf('stranger').uri}`)
    await carries(world, world.stranger)
  })

  it('refuses who calls a workload whose identity was withdrawn', async () => {
    const world = await spiffeWorld()
    const { mesh, client, agentB, b } = world
    await answer(b, 1)
    agentB.give()
    await b.line(/the identity was withdrawn/)
    expect((await mesh.connect(client, 'web', 80)).reply).not.toBe(0)
  })
})

describe('CRL_PATH with a Workload API', () => {
  it('cuts and refuses whom the list names', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'ztunnel-wl-crl-'))
    cleanup(() => rm(folder, { recursive: true }))
    const CRL_PATH = join(folder, 'crl.pem')
    const world = await spiffeWorld(['client', 'stranger'], { CRL_PATH })
    const { mesh, client, stranger, agentA, b } = world
    const open = await mesh.connect(client, 'web', 80)
    expect(open.reply).toBe(0)
    const { certificateChain } = await agentA.issuer.get(idOf('client'))
    await writeFile(`${CRL_PATH}.next`, await mesh.revocationList([certificateChain]))
    await rename(`${CRL_PATH}.next`, CRL_PATH)
    await b.line(/revocation lists are in force/)
    expect((await readAll(open.socket)).end).toBe('reset')
    expect((await mesh.connect(client, 'web', 80)).reply).not.toBe(0)
    await carries(world, stranger)
  })
})

describe('identities that are given', () => {
  const config = (env: Record<string, string> = {}) =>
    configFromEnvironment({ XDS_ADDRESS: '', FAKE_CA: 'true', ...env }, { read: () => undefined })

  it('exclude a signer, and lists that they would not ask', async () => {
    const source = createWorkloadApiSource({ address: 'unix:///run/nobody.sock' })
    const identities = createWorkloadApiIdentities(source)
    const signer = { sign: async () => [], close: async () => {} }
    const code = expect.objectContaining({ code: 'AMBIENT_E_CONFIG' })
    expect(() => createZtunnel({ config: config(), identities, signer })).toThrow(code)
    expect(() => createZtunnel({ config: config({ CRL_PATH: '/crl.pem' }), identities })).toThrow(code)
    await identities.close()
    await source.close()
  })

  it('are left open: they are the caller’s to close', async () => {
    const ip = loopbackAddress()
    const mesh = await createTestMesh([workload('client', { addresses: [loopbackAddress()], node: 'x' })])
    const agent = await startAgent(mesh, 'client')
    const source = createWorkloadApiSource({ address: agent.address })
    const identities = createWorkloadApiIdentities(source)
    const ztunnel = createZtunnel({
      config: config({ INSTANCE_IP: ip, NODE_NAME: 'x' }),
      identities,
      discovery: { directory: createDirectory(), policies: createPolicyStore() },
    })
    await ztunnel.start()
    await ztunnel.ready
    await ztunnel.close({ graceMs: 0 })
    expect((await identities.get(idOf('client'))).id.uri).toBe(idOf('client').uri)
    await identities.close()
    await source.close()
  })
})
