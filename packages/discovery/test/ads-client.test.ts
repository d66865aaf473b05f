/** What our client says to a server that is not ours, message by message. */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createPolicyStore } from '@ambient/policy'
import {
  type AdsClientOptions,
  createAdsClient,
  createDirectory,
  encodeAuthorization,
  encodeWorkload,
} from '../src/index.ts'
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../src/gen/discovery_pb.js'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, deltaMethod } from '../src/xds/protocol.ts'
import { issueServer, type ServerIdentity } from './support/certificates.ts'
import { pod, policy } from './support/samples.ts'

type Call = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

let identity: ServerIdentity
const closers: (() => Promise<void> | void)[] = []

beforeAll(async () => {
  identity = await issueServer({ ip: ['127.0.0.1'] })
})

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** A server that records requests and says what it is told to. */
async function script() {
  const calls: Call[] = []
  const requests: DeltaDiscoveryRequest[] = []
  let wake = (): void => {}
  const server = new Server()
  server.addService(
    { delta: deltaMethod },
    {
      delta(call: Call) {
        calls.push(call)
        call.on('data', (request: DeltaDiscoveryRequest) => {
          requests.push(request)
          wake()
        })
        call.on('end', () => call.end())
        call.on('error', () => {})
      },
    },
  )
  const tls = ServerCredentials.createSsl(null, [
    { cert_chain: Buffer.from(identity.certificateChain), private_key: Buffer.from(identity.privateKey) },
  ])
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', tls, (error, bound) => (error === null ? resolve(bound) : reject(error)))
  })
  closers.push(() => server.forceShutdown())
  return {
    address: `https://127.0.0.1:${port}`,
    /** The next request, whoever sent it. */
    async request(): Promise<DeltaDiscoveryRequest> {
      for (;;) {
        const request = requests.shift()
        if (request !== undefined) return request
        await new Promise<void>(resolve => (wake = resolve))
      }
    },
    respond(init: MessageInitShape<typeof DeltaDiscoveryResponseSchema>) {
      calls.at(-1)?.write(create(DeltaDiscoveryResponseSchema, init))
    },
    get metadata() {
      return calls.at(-1)?.metadata
    },
    drop: () =>
      void calls.at(-1)?.emit('error', { code: status.UNAVAILABLE, details: 'transport is closing' }),
  }
}

function connect(address: string, over: Partial<AdsClientOptions> = {}) {
  const directory = createDirectory()
  const policies = createPolicyStore()
  const client = createAdsClient({
    address,
    rootPem: () => identity.rootPem,
    node: { id: 'me', metadata: { NODE_NAME: 'node-a', LIST: [1, true, null, { a: 'b' }] } },
    clusterId: 'c1',
    directory,
    policies,
    random: () => 1,
    ...over,
  })
  closers.push(() => client.close())
  client.start()
  return { client, directory, policies }
}

const resource = (name: string, version: string, value: Uint8Array) => ({
  name,
  version,
  resource: { typeUrl: 'ignored', value },
})
const A = 'Kubernetes//Pod/shop/a'
const good = resource(A, '1', encodeWorkload(pod('a', '10.0.0.1')))

describe('requests', () => {
  it('begin with Address and Authorization, both wildcards, both with the node', async () => {
    const server = await script()
    connect(server.address, { token: async () => ' token\n', headers: { 'x-extra': 'yes' } })
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
      const request = await server.request()
      expect(request).toMatchObject({
        typeUrl,
        resourceNamesSubscribe: [],
        resourceNamesUnsubscribe: [],
        initialResourceVersions: {},
        responseNonce: '',
        node: { id: 'me', metadata: { NODE_NAME: 'node-a', LIST: [1, true, null, { a: 'b' }] } },
      })
    }
    expect(server.metadata?.getMap()).toMatchObject({
      authorization: 'Bearer token',
      clusterid: 'c1',
      'x-extra': 'yes',
    })
  })

  it('acknowledge with the nonce and without the node', async () => {
    const server = await script()
    connect(server.address)
    await server.request()
    await server.request()
    server.respond({ typeUrl: ADDRESS_TYPE, nonce: 'n1', resources: [good] })
    expect(await server.request()).toMatchObject({ typeUrl: ADDRESS_TYPE, responseNonce: 'n1' })
    server.respond({ typeUrl: 'type.googleapis.com/other.Thing', nonce: 'n2' })
    const answer = await server.request()
    expect(answer).toMatchObject({ typeUrl: 'type.googleapis.com/other.Thing', responseNonce: 'n2' })
    expect([answer.node, answer.errorDetail]).toEqual([undefined, undefined])
  })

  it('refuse by name and reason, apply the rest, and are not ready by that', async () => {
    const server = await script()
    const { client, directory, policies } = connect(server.address)
    await server.request()
    await server.request()
    const resources = [
      resource('bad', '1', new Uint8Array([255])),
      good,
      { name: 'none', version: '1' },
      resource('empty', '1', new Uint8Array()),
    ]
    server.respond({ typeUrl: ADDRESS_TYPE, nonce: 'n1', resources })
    const { errorDetail, responseNonce } = await server.request()
    expect(responseNonce).toBe('n1')
    expect(errorDetail?.message).toMatch(
      /^bad: .+; none: the resource is empty; empty: the address is neither a workload nor a service$/,
    )
    expect(directory.workload(A)).toBeDefined()
    server.respond({
      typeUrl: AUTHORIZATION_TYPE,
      nonce: 'n2',
      resources: [resource('shop/deny-all', '', encodeAuthorization(policy()))],
    })
    await server.request()
    expect(policies.get('shop/deny-all')).toBeDefined()
    expect(client.status().types.get(ADDRESS_TYPE)).toMatchObject({ acknowledged: false, resources: 1 })
    server.respond({ typeUrl: ADDRESS_TYPE, nonce: 'n3' })
    await client.ready
  })

  it('remove after they add, and ignore unknown names', async () => {
    const server = await script()
    const { directory } = connect(server.address)
    await server.request()
    await server.request()
    server.respond({ typeUrl: ADDRESS_TYPE, nonce: 'n1', resources: [good], removedResources: [A, 'nobody'] })
    expect((await server.request()).errorDetail).toBeUndefined()
    expect(directory.workload(A)).toBeUndefined()
  })

  it('after a disconnect say what is held: no refused names, empty versions too, the old version of a refused update', async () => {
    const server = await script()
    const { directory } = connect(server.address)
    await server.request()
    await server.request()
    server.respond({
      typeUrl: ADDRESS_TYPE,
      nonce: 'n1',
      resources: [
        good,
        resource('bad', '1', new Uint8Array([255])),
        resource('gone', '1', encodeWorkload(pod('gone', '10.0.0.2'))),
      ],
    })
    await server.request()
    server.respond({
      typeUrl: AUTHORIZATION_TYPE,
      nonce: 'n2',
      resources: [resource('shop/deny-all', '', encodeAuthorization(policy()))],
    })
    await server.request()
    server.respond({
      typeUrl: ADDRESS_TYPE,
      nonce: 'n3',
      resources: [resource(A, '2', new Uint8Array([255]))],
      removedResources: ['gone'],
    })
    await server.request()
    server.drop()
    const [first, second] = [await server.request(), await server.request()]
    expect(first).toMatchObject({ typeUrl: ADDRESS_TYPE, initialResourceVersions: { [A]: '1' } })
    expect(second).toMatchObject({
      typeUrl: AUTHORIZATION_TYPE,
      initialResourceVersions: { 'shop/deny-all': '' },
    })
    expect(first.node?.id).toBe('me')
    expect(directory.workload(A)).toBeDefined()
  })

  it('do not take a response for good whose application failed half-way', async () => {
    const server = await script()
    const { directory } = connect(server.address)
    const stop = directory.watch(() => {
      stop()
      throw new Error('a watcher broke')
    })
    await server.request()
    await server.request()
    server.respond({ typeUrl: ADDRESS_TYPE, nonce: 'n1', resources: [good] })
    expect((await server.request()).errorDetail?.message).toBe(`${A}: a watcher broke`)
    server.drop()
    expect((await server.request()).initialResourceVersions).toEqual({})
  })
})
