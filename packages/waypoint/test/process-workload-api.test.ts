/** A waypoint whose certificate comes from a SPIFFE Workload API. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId, silentLogger } from '@ambient/core'
import {
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiIdentities,
  createWorkloadApiServer,
  createWorkloadApiSource,
  type IdentityManager,
} from '@ambient/identity'
import type { TestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { configFromEnvironment, createWaypoint } from '../src/index.ts'
import { cleanup, createWorld, exchange } from './world.ts'

const OWN = parseSpiffeId('spiffe://cluster.local/ns/default/sa/waypoint')

interface Agent {
  readonly address: string
  readonly issuer: IdentityManager
  readonly identities: IdentityManager
  /** Takes everything back, and waits until that arrived. */
  withdraw(): Promise<void>
}

async function startAgent({ ca }: TestIdentities): Promise<Agent> {
  const folder = await mkdtemp(join(tmpdir(), 'waypoint-wl-'))
  cleanup(() => rm(folder, { recursive: true, force: true }))
  const address = `unix://${join(folder, 'agent.sock')}`
  const issuer = createIdentityManager({ signer: createLocalSigner(ca) })
  cleanup(() => issuer.close())
  let due = [{ id: OWN }]
  const server = createWorkloadApiServer({ listen: address, attest: () => due, credentials: issuer })
  cleanup(() => server.close())
  await server.start()
  let withdrawn = (): void => {}
  const logger = { ...silentLogger, warn: () => withdrawn() }
  const source = createWorkloadApiSource({ address, logger })
  cleanup(() => source.close())
  const identities = createWorkloadApiIdentities(source)
  cleanup(() => identities.close())
  return {
    address,
    issuer,
    identities,
    withdraw() {
      due = []
      const arrived = new Promise<void>(resolve => {
        withdrawn = resolve
      })
      server.refresh()
      return arrived
    },
  }
}

describe('a waypoint with a Workload API', () => {
  it('serves with its identity, also after a rotation, and refuses once it was withdrawn', async () => {
    const agents: Agent[] = []
    const world = await createWorld({
      async identitiesOf(identities) {
        const agent = await startAgent(identities)
        agents.push(agent)
        return agent.identities
      },
    })
    const [agent] = agents
    if (agent === undefined) throw new Error('no agent')
    expect(await world.fetch('/')).toMatchObject({ status: 200, body: 'hello' })
    const renewed = new Promise<void>(resolve => agent.identities.watch(OWN, () => resolve()))
    const open = await world.tunnel()
    await agent.issuer.rotate(OWN)
    await renewed
    expect((await world.fetch('/')).status).toBe(200)
    expect((await exchange(open, '/')).status).toBe(200)
    await agent.withdraw()
    await expect(world.tunnel({ account: 'another' })).rejects.toThrow(/./)
    expect(await world.line(/carried no tunnel/)).toContain(`${OWN.uri} was withdrawn by the Workload API`)
  })

  it('listens when SPIFFE_ENDPOINT_SOCKET gives it its identity', async () => {
    const world = await createWorld()
    const agent = await startAgent(world.identities)
    await world.waypoint.close({ graceMs: 0 })
    const config = configFromEnvironment(
      {
        POD_NAMESPACE: 'default',
        GATEWAY_NAME: 'waypoint',
        INSTANCE_IP: world.waypointIp,
        XDS_ADDRESS: '',
        SPIFFE_ENDPOINT_SOCKET: agent.address,
      },
      { read: () => undefined },
    )
    const waypoint = createWaypoint({
      config,
      discovery: { directory: world.directory, configuration: world.store },
    })
    cleanup(() => waypoint.close({ graceMs: 0 }))
    await waypoint.start()
    await waypoint.ready
    expect(await world.fetch('/')).toMatchObject({ status: 200, body: 'hello' })
    expect((await world.admin('/config_dump')).body).toContain(OWN.uri)
  })

  it('takes one source of certificates, and no lists that it would not ask', async () => {
    const source = createWorkloadApiSource({ address: 'unix:///run/nobody.sock' })
    const identities = createWorkloadApiIdentities(source)
    const config = (env: Record<string, string> = {}) =>
      configFromEnvironment(
        { POD_NAMESPACE: 'default', GATEWAY_NAME: 'waypoint', XDS_ADDRESS: '', CA_ADDRESS: '', ...env },
        { read: () => undefined },
      )
    const code = expect.objectContaining({ code: 'AMBIENT_E_CONFIG' })
    const signer = { sign: async () => [], close: async () => {} }
    expect(() => createWaypoint({ config: config(), identities, signer })).toThrow(code)
    expect(() => createWaypoint({ config: config({ CRL_PATH: '/crl.pem' }), identities })).toThrow(code)
    expect(() => createWaypoint({ config: config() })).toThrow(code)
    await identities.close()
    await source.close()
  })
})
