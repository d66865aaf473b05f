import { X509Certificate } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseSpiffeId, silentLogger } from '@ambient/core'
import { createAdsClient, createDirectory } from '@ambient/discovery'
import {
  type CertificateAuthority,
  createCertificateAuthority,
  createCertificateRequest,
  createIstioCaClient,
} from '@ambient/identity'
import { createPolicyStore } from '@ambient/policy'
import { claimBlock } from '../src/address/claim.ts'
import { type ControlPlane, createControlPlane } from '../src/plane/control-plane.ts'

const web = 'spiffe://cluster.local/ns/shop/sa/web'
const nothing = { workloads: new Map(), services: new Map(), authorizations: new Map() }

let ca: CertificateAuthority
let plane: ControlPlane
let refusals: string[]

beforeEach(async () => {
  refusals = []
  ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  const block = await claimBlock({ nodes: 2, random: Math.random })
  plane = createControlPlane({
    address: block.controlPlane,
    ca,
    clusterId: 'Kubernetes',
    logger: silentLogger,
    runsOn: (node, namespace, account) => node === 'node-a' && namespace === 'shop' && account === 'web',
    onRefused: (node, reason) => refusals.push(`${node ?? '-'}: ${reason}`),
  })
  await plane.start()
})

afterEach(() => plane.close())

/** Asks for a certificate as a node's proxy would. */
async function ask(options: {
  token?: string
  id?: string
  clusterId?: string
  impersonate?: boolean
  rootPem?: string
}): Promise<readonly string[]> {
  const client = createIstioCaClient({
    address: plane.url,
    rootPem: () => options.rootPem ?? ca.rootPem,
    token: () => options.token,
    clusterId: options.clusterId ?? 'Kubernetes',
    impersonate: options.impersonate ?? true,
  })
  try {
    const id = parseSpiffeId(options.id ?? web)
    const { csrPem } = await createCertificateRequest(id)
    return await client.sign({ id, csrPem, ttlMs: 60_000 })
  } finally {
    await client.close()
  }
}

describe('certificates', () => {
  test("a node's proxy gets one for a workload of its node", async () => {
    expect(await ask({ token: plane.issueToken({ kind: 'node', node: 'node-a' }) })).toHaveLength(2)
    expect(refusals).toEqual([])
  })

  test.each([
    ['of another node', { node: 'node-b' }, /node-b: .*no pod of node-b runs as spiffe/],
    ['of an account that no pod has', { id: `${web}x` }, /node-a: .*no pod of node-a/],
    ['of another trust domain', { id: web.replace('cluster.local', 'other') }, /is not of this mesh/],
    ['of a path that is no workload', { id: 'spiffe://cluster.local/web' }, /is not of this mesh/],
    ['of another cluster', { clusterId: 'other' }, /cluster other is not ours/],
    ['for itself', { impersonate: false }, /a node has no identity of its own/],
  ])('an identity %s is refused', async (_what, asked, reason) => {
    const token = plane.issueToken({ kind: 'node', node: 'node' in asked ? asked.node : 'node-a' })
    await expect(ask({ token, ...asked })).rejects.toThrow()
    expect(refusals.join()).toMatch(reason)
  })

  test('without a token, with a wrong one, or with one that was replaced, nothing is signed', async () => {
    const replaced = plane.issueToken({ kind: 'node', node: 'node-a' })
    plane.issueToken({ kind: 'node', node: 'node-a' })
    for (const token of [undefined, 'guess', replaced])
      await expect(ask(token === undefined ? {} : { token })).rejects.toThrow()
    expect(refusals).toEqual(Array.from({ length: 3 }, () => '-: certificates: the token is unknown'))
  })

  describe('a waypoint', () => {
    const waypoint = {
      kind: 'workload',
      namespace: 'shop',
      serviceAccount: 'waypoint',
      pod: 'waypoint-abc',
    } as const
    const own = 'spiffe://cluster.local/ns/shop/sa/waypoint'

    test('gets its own certificate, whatever it asks for', async () => {
      const token = plane.issueToken(waypoint)
      const chain = await ask({ token, id: own, impersonate: false })
      expect(new X509Certificate(chain[0] ?? '').subjectAltName).toBe(`URI:${own}`)
      await expect(ask({ token, id: web, impersonate: false })).rejects.toThrow()
      expect(refusals).toEqual([])
    })

    test('may not speak for another workload, nor for itself in that way', async () => {
      const token = plane.issueToken(waypoint)
      await expect(ask({ token })).rejects.toThrow()
      await expect(ask({ token, id: own })).rejects.toThrow()
      expect(refusals).toEqual([
        `waypoint-abc.shop: certificates: waypoint-abc.shop may not speak for ${web}`,
        `waypoint-abc.shop: certificates: waypoint-abc.shop may not speak for ${own}`,
      ])
    })

    test('that is gone gets nothing', async () => {
      const token = plane.issueToken(waypoint)
      plane.revokeToken(waypoint)
      await expect(ask({ token, id: own, impersonate: false })).rejects.toThrow()
      expect(refusals).toEqual(['-: certificates: the token is unknown'])
    })
  })

  test('a caller that trusts another root does not speak to us', async () => {
    const other = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    await expect(
      ask({ token: plane.issueToken({ kind: 'node', node: 'node-a' }), rootPem: other.rootPem }),
    ).rejects.toThrow()
    expect(refusals).toEqual([])
  })
})

describe('discovery', () => {
  const subscribe = (token: string, nodeName: string): ReturnType<typeof createAdsClient> =>
    createAdsClient({
      address: plane.url,
      rootPem: () => ca.rootPem,
      token: () => token,
      clusterId: 'Kubernetes',
      node: { id: `ztunnel~127.0.0.1~z.${nodeName}~x`, metadata: { NODE_NAME: nodeName } },
      directory: createDirectory(),
      policies: createPolicyStore(),
    })

  test('synced waits for the acknowledgement of what was last published', async () => {
    plane.publish(nothing)
    const client = subscribe(plane.issueToken({ kind: 'node', node: 'node-a' }), 'node-a')
    const synced = plane.synced(1)
    client.start()
    await synced
    expect(plane.clients()).toMatchObject([{ connected: true }])
    await client.close()
  })

  test('a token speaks for its own node only', async () => {
    plane.publish(nothing)
    const client = subscribe(plane.issueToken({ kind: 'node', node: 'node-a' }), 'node-b')
    client.start()
    await expect.poll(() => refusals[0]).toBe('node-a: discovery: the token of node-a was used for node-b')
    await client.close()
  })
})
