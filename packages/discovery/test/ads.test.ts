import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Authorization } from '@ambient/policy'
import { type AdsClient, type AdsClientOptions, createAdsClient, createDirectory } from '../src/index.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../src/xds/protocol.ts'
import { issueServer, type ServerIdentity } from './support/certificates.ts'
import { acknowledged, type ControlPlane, startControlPlane } from './support/control-plane.ts'
import { pod, policy, service, state } from './support/samples.ts'

let identity: ServerIdentity
const opened: { close(): Promise<void> }[] = []

beforeAll(async () => {
  identity = await issueServer({ ip: ['127.0.0.1'], dns: ['localhost', 'istiod.istio-system.svc'] })
})

afterEach(async () => {
  for (const item of opened.splice(0).reverse()) await item.close()
})

function policySink() {
  const held = new Map<string, Authorization>()
  const log: string[] = []
  return {
    held,
    log,
    apply(update: { upsert: readonly Authorization[]; remove: readonly string[] }) {
      for (const item of update.upsert) held.set(`${item.namespace}/${item.name}`, item)
      for (const name of update.remove) held.delete(name)
      log.push(`policies +${update.upsert.length} -${update.remove.length}`)
    },
  }
}

async function controlPlane(options: { port?: number; token?: string } = {}): Promise<ControlPlane> {
  const plane = await startControlPlane(identity, options)
  opened.push(plane)
  return plane
}

function connect(address: string, over: Partial<AdsClientOptions> = {}) {
  const directory = createDirectory()
  const policies = policySink()
  const client: AdsClient = createAdsClient({
    address,
    rootPem: () => identity.rootPem,
    node: {
      id: 'ztunnel~127.0.0.1~zt.istio-system~istio-system.svc.cluster.local',
      metadata: { NODE_NAME: 'node-a' },
    },
    clusterId: 'Kubernetes',
    directory,
    policies,
    random: () => 1,
    ...over,
  })
  opened.push(client)
  client.start()
  return { client, directory, policies }
}

describe('the first connection', () => {
  it('delivers everything, becomes ready after both types, and says who it is', async () => {
    const plane = await controlPlane({ token: 'secret' })
    plane.ads.publish(
      state({ workloads: [pod('a', '10.0.0.1')], services: [service()], policies: [policy()] }),
    )
    const { client, directory, policies } = connect(plane.address, { token: () => 'secret\n' })
    await client.ready
    expect(directory.workloadByAddress('', '10.0.0.1')?.name).toBe('a')
    expect(directory.serviceByVip('', '10.1.0.1', 'shop')?.name).toBe('web')
    expect([...policies.held.keys()]).toEqual(['shop/deny-all'])
    expect(plane.callers[0]).toMatchObject({ token: 'secret', node: { metadata: { NODE_NAME: 'node-a' } } })
    expect(client.status()).toMatchObject({ connected: true, attempts: 1 })
  })

  it('is answered also when the mesh is empty, but not before a mesh was published', async () => {
    const plane = await controlPlane()
    const { client } = connect(plane.address)
    await plane.client(status => status.connected && status.types.size === 2)
    expect(client.status().connected).toBe(false)
    plane.ads.publish(state({}))
    await client.ready
  })

  it('works with a host name, and with another name than the address', async () => {
    const plane = await controlPlane()
    plane.ads.publish(state({}))
    await connect(`https://localhost:${plane.port}`).client.ready
    const other = await issueServer({ dns: ['istiod.example'] })
    const foreign = await startControlPlane(other)
    opened.push(foreign)
    foreign.ads.publish(state({}))
    const { client } = connect(foreign.address, {
      rootPem: () => other.rootPem,
      alternativeHostname: 'istiod.example',
    })
    await client.ready
  })
})

describe('a control plane that cannot be trusted or does not trust', () => {
  it('is refused when its certificate is for another host', async () => {
    const other = await issueServer({ dns: ['elsewhere.example'] })
    const foreign = await startControlPlane(other)
    opened.push(foreign)
    foreign.ads.publish(state({}))
    const failed = nextFailure()
    connect(foreign.address, { rootPem: () => other.rootPem, logger: failed.logger })
    expect(await failed.error).toMatch(/does not match certificate's altnames|not in the cert's list/)
  })

  it('is refused when another root signed it, or the root is missing', async () => {
    const plane = await controlPlane()
    plane.ads.publish(state({}))
    const other = await issueServer({ ip: ['127.0.0.1'] })
    const untrusted = nextFailure()
    connect(plane.address, { rootPem: () => other.rootPem, logger: untrusted.logger })
    expect(await untrusted.error).toMatch(/UNAVAILABLE/)
    const missing = nextFailure()
    connect(plane.address, { rootPem: () => '', logger: missing.logger })
    expect(await missing.error).toContain('the root certificate of the control plane is missing')
  })

  it('answers UNAUTHENTICATED with the reason, and takes a token that was renewed', async () => {
    const plane = await controlPlane({ token: 'new' })
    plane.ads.publish(state({}))
    const failed = nextFailure()
    let token = 'old'
    const { client } = connect(plane.address, { token: () => token, logger: failed.logger })
    expect(await failed.error).toBe('UNAUTHENTICATED: the token is not known')
    token = 'new'
    await client.ready
  })

  it('has to have an https address', () => {
    for (const address of ['istiod:15012', 'http://istiod:15012', 'https://', 'https://h/path'])
      expect(() => connect(address)).toThrow(/expected https:\/\/HOST:PORT/)
  })
})

describe('publishing', () => {
  it('sends differences only', async () => {
    const plane = await controlPlane()
    const kept = pod('kept', '10.0.0.1')
    plane.ads.publish(state({ workloads: [kept, pod('gone', '10.0.0.2')], services: [service()] }))
    const { client, directory } = connect(plane.address)
    await client.ready
    const changes: unknown[] = []
    directory.watch(change => changes.push(change))
    // The same content in another object is no difference.
    const { versions } = plane.ads.publish(
      state({ workloads: [pod('kept', '10.0.0.1'), pod('new', '10.0.0.3')], services: [service()] }),
    )
    await plane.client(acknowledged(versions))
    expect(changes).toEqual([
      { workloads: ['Kubernetes//Pod/shop/new', 'Kubernetes//Pod/shop/gone'], services: [] },
    ])
    expect(directory.workloadByAddress('', '10.0.0.2')).toBeUndefined()
  })

  it('takes policies away only after the workloads that listed them', async () => {
    const plane = await controlPlane()
    const strict = policy({ name: 'strict', scope: 'WorkloadSelector' })
    const listing = pod('a', '10.0.0.1', { authorizationPolicies: ['shop/strict'] })
    plane.ads.publish(state({ workloads: [listing], policies: [strict] }))
    const { client, directory, policies } = connect(plane.address)
    await client.ready
    directory.watch(() => policies.log.push('workloads'))
    policies.log.length = 0
    const { versions } = plane.ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    await plane.client(acknowledged(versions))
    expect(policies.log).toEqual(['workloads', 'policies +0 -1'])
    policies.log.length = 0
    const again = plane.ads.publish(state({ workloads: [listing], policies: [strict] }))
    await plane.client(acknowledged(again.versions))
    expect(policies.log).toEqual(['policies +1 -0', 'workloads'])
  })

  it('keeps the last good version of a resource that cannot be encoded', async () => {
    const plane = await controlPlane()
    plane.ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    const { problems } = plane.ads.publish(state({ workloads: [pod('a', 'not-an-ip')] }))
    expect(problems).toEqual([{ name: 'Kubernetes//Pod/shop/a', reason: '"not-an-ip" is not an IP address' }])
    const { client, directory } = connect(plane.address)
    await client.ready
    expect(directory.workloadByAddress('', '10.0.0.1')).toBeDefined()
  })

  it('tells who is connected, what they took, and remembers who left', async () => {
    const plane = await controlPlane()
    const { versions } = plane.ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    const { client } = connect(plane.address)
    const present = await plane.client(acknowledged(versions))
    expect(present.types.get(ADDRESS_TYPE)).toMatchObject({ resources: 1 })
    expect(present.nodeId).toMatch(/^ztunnel~/)
    await client.close()
    const left = await plane.client(status => !status.connected)
    expect(left.nodeId).toBe(present.nodeId)
    await expect(client.ready).resolves.toBeUndefined()
  })

  it('of two clients with one node id, as in a restart, the newer counts, also after the older has left', async () => {
    const plane = await controlPlane()
    plane.ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    const older = connect(plane.address)
    await older.client.ready
    const newer = connect(plane.address)
    await newer.client.ready
    const { versions } = plane.ads.publish(state({ workloads: [pod('b', '10.0.0.2')] }))
    await plane.client(acknowledged(versions))
    await older.client.close()
    expect(plane.ads.clients()).toMatchObject([{ connected: true }])
    const again = plane.ads.publish(state({ workloads: [pod('c', '10.0.0.3')] }))
    await plane.client(acknowledged(again.versions))
    expect(newer.directory.workloadByAddress('', '10.0.0.3')).toBeDefined()
    await newer.client.close()
    await plane.client(status => !status.connected)
  })
})

describe('refused resources', () => {
  const empty = policy({ name: 'bad', rules: [] })

  it('are named in a NACK, the others are applied, and readiness waits', async () => {
    const plane = await controlPlane()
    // Our own encoder cannot make a bad resource, so the directory refuses one.
    const directory = createDirectory()
    const apply = directory.apply.bind(directory)
    let picky = true
    directory.apply = update =>
      picky
        ? [
            ...apply({ ...update, workloads: update.workloads?.filter(({ name }) => name !== 'bad') ?? [] }),
            { name: 'Kubernetes//Pod/shop/bad', reason: 'not today' },
            { name: 'Kubernetes//Pod/shop/worse', reason: 'never' },
          ]
        : apply(update)
    plane.ads.publish(
      state({ workloads: [pod('good', '10.0.0.1'), pod('bad', '10.0.0.2')], policies: [empty] }),
    )
    const { client } = connect(plane.address, { directory })
    const refused = await plane.client(status => status.types.get(ADDRESS_TYPE)?.nack !== undefined)
    expect(refused.types.get(ADDRESS_TYPE)?.nack).toBe(
      'Kubernetes//Pod/shop/bad: not today; Kubernetes//Pod/shop/worse: never',
    )
    expect(directory.workloadByAddress('', '10.0.0.1')).toBeDefined()
    expect(client.status().types.get(ADDRESS_TYPE)).toMatchObject({ acknowledged: false, resources: 1 })
    await plane.client(status => status.types.get(AUTHORIZATION_TYPE)?.acknowledged !== '')
    picky = false
    const { versions } = plane.ads.publish(
      state({ workloads: [pod('good', '10.0.0.1'), pod('bad', '10.0.0.3')], policies: [empty] }),
    )
    await client.ready
    await plane.client(acknowledged(versions))
    expect(directory.workloadByAddress('', '10.0.0.3')).toBeDefined()
  })
})

describe('a reconnect', () => {
  it('keeps the state, says what it has, and learns what changed meanwhile', async () => {
    const plane = await controlPlane()
    plane.ads.publish(
      state({
        workloads: [pod('same', '10.0.0.1'), pod('changed', '10.0.0.2'), pod('gone', '10.0.0.3')],
        policies: [policy()],
      }),
    )
    const lost = nextFailure()
    const { client, directory, policies } = connect(plane.address, { logger: lost.logger })
    await client.ready
    await plane.close()
    await lost.error
    expect(client.status()).toMatchObject({ connected: false })
    expect(directory.workloadsOnNode('')).toHaveLength(3)
    policies.log.length = 0
    const changes: unknown[] = []
    directory.watch(change => changes.push(change))
    const next = await controlPlane({ port: plane.port })
    const { versions } = next.ads.publish(
      state({ workloads: [pod('same', '10.0.0.1'), pod('changed', '10.0.0.9')], policies: [policy()] }),
    )
    await next.client(acknowledged(versions))
    expect(changes).toEqual([
      { workloads: ['Kubernetes//Pod/shop/changed', 'Kubernetes//Pod/shop/gone'], services: [] },
    ])
    expect(policies.log).toEqual([])
    expect(client.status().attempts).toBeGreaterThan(1)
  })
})

describe('closing', () => {
  it('is idempotent and rejects readiness that was never reached', async () => {
    const { client } = connect('https://127.0.0.1:1')
    await client.close()
    await client.close()
    await expect(client.ready).rejects.toMatchObject({ code: 'AMBIENT_E_CLOSED' })
  })
})

/** A logger, and the first failure that it is told of. */
function nextFailure() {
  let tell: (error: string) => void
  const error = new Promise<string>(resolve => {
    tell = resolve
  })
  const note = (fields: Readonly<Record<string, unknown>>): void => {
    if (typeof fields['error'] === 'string') tell(fields['error'])
  }
  return { error, logger: { debug: note, info: note, warn: note, error: note } }
}
