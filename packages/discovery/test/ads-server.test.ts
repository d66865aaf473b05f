/** What the server says to clients that are not ours. */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type StatusObject,
  status,
} from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { createManualClock } from '@ambient/core/testing'
import { type AdsService, adsServerOptions, createAdsService } from '../src/index.ts'
import { DeltaDiscoveryRequestSchema, type DeltaDiscoveryResponse } from '../src/gen/discovery_pb.js'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, deltaMethod } from '../src/xds/protocol.ts'
import { limits } from '../src/limits.ts'
import { pod, policy, state } from './support/samples.ts'

const node = { id: 'ztunnel~127.0.0.1~a.b~b.svc.cluster.local' }
const closers: (() => Promise<void> | void)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function serve(options: { authorize?: boolean } = {}) {
  const clock = createManualClock()
  const ads: AdsService = createAdsService({
    authorize: () => (options.authorize === false ? { ok: false, reason: 'no' } : { ok: true }),
    clock,
  })
  const server = new Server(adsServerOptions)
  ads.addTo(server)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  closers.push(() => server.forceShutdown())
  return { ads, clock, open: () => open(port) }
}

/** A stream of plain messages. */
function open(port: number) {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
  closers.push(() => client.close())
  const stream = client.makeBidiStreamRequest(
    deltaMethod.path,
    deltaMethod.requestSerialize,
    deltaMethod.responseDeserialize,
    new Metadata(),
  )
  const inbox: DeltaDiscoveryResponse[] = []
  let wake = (): void => {}
  stream.on('data', (response: DeltaDiscoveryResponse) => {
    inbox.push(response)
    wake()
  })
  stream.on('error', () => {})
  const ended = new Promise<StatusObject>(resolve => stream.on('status', resolve))
  return {
    ended,
    send: (request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) =>
      stream.write(create(DeltaDiscoveryRequestSchema, request)),
    end: () => stream.end(),
    async next(): Promise<DeltaDiscoveryResponse> {
      for (;;) {
        const response = inbox.shift()
        if (response !== undefined) return response
        await new Promise<void>(resolve => (wake = resolve))
      }
    },
    get waiting() {
      return inbox.length
    },
  }
}

const names = (response: DeltaDiscoveryResponse) => response.resources.map(({ name }) => name)

describe('a stream is refused', () => {
  it.each<[string, MessageInitShape<typeof DeltaDiscoveryRequestSchema>, status, RegExp]>([
    ['without a node', { typeUrl: ADDRESS_TYPE }, status.INVALID_ARGUMENT, /no node id/],
    ['without a node id', { node: { id: '' }, typeUrl: ADDRESS_TYPE }, status.INVALID_ARGUMENT, /no node id/],
    [
      'for a type that is not served',
      { node, typeUrl: 'type.googleapis.com/x.Y' },
      status.UNIMPLEMENTED,
      /"type.googleapis.com\/x.Y" is not served/,
    ],
    [
      'on demand, because silence would mean plaintext',
      { node, typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] },
      status.UNIMPLEMENTED,
      /XDS_ON_DEMAND/,
    ],
    [
      'for names',
      { node, typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: ['/10.0.0.1'] },
      status.UNIMPLEMENTED,
      /on-demand/,
    ],
  ])('%s', async (_, request, code, details) => {
    const { ads, open } = await serve()
    ads.publish(state({}))
    const stream = open()
    stream.send(request)
    const ended = await stream.ended
    expect(ended.code).toBe(code)
    expect(ended.details).toMatch(details)
  })

  it('when the caller is not authorized', async () => {
    const { ads, open } = await serve({ authorize: false })
    ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    expect(await stream.ended).toMatchObject({ code: status.UNAUTHENTICATED, details: 'no' })
    expect(stream.waiting).toBe(0)
    expect(ads.clients()).toEqual([])
  })

  it('when nothing is said in time', async () => {
    const { clock, open } = await serve()
    const stream = open()
    // The call reaches the server before its first request: wait until the server holds its deadline.
    await new Promise<void>(resolve => {
      const look = (): void => (clock.pending > 0 ? resolve() : void setImmediate(look))
      look()
    })
    clock.advance(limits.firstRequestTimeoutMs)
    expect((await stream.ended).code).toBe(status.DEADLINE_EXCEEDED)
  })

  it('when the control plane closes', async () => {
    const { ads, open } = await serve()
    ads.publish(state({}))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    await stream.next()
    ads.close()
    expect((await stream.ended).code).toBe(status.UNAVAILABLE)
  })
})

describe('a subscription', () => {
  it('gets one response at a time, the newest state after its answer', async () => {
    const { ads, open } = await serve()
    ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    const first = await stream.next()
    expect(names(first)).toEqual(['Kubernetes//Pod/shop/a'])
    ads.publish(state({ workloads: [pod('b', '10.0.0.2')] }))
    ads.publish(state({ workloads: [pod('c', '10.0.0.3')] }))
    stream.send({ typeUrl: ADDRESS_TYPE, responseNonce: first.nonce })
    const second = await stream.next()
    expect([names(second), second.removedResources]).toEqual([
      ['Kubernetes//Pod/shop/c'],
      ['Kubernetes//Pod/shop/a'],
    ])
    expect(second.nonce).not.toBe(first.nonce)
  })

  it('sends no workload before the policies that it may list, also while an answer about policies is due', async () => {
    const { ads, open } = await serve()
    ads.publish(state({ policies: [policy({ name: 'first' })] }))
    const stream = open()
    stream.send({ node, typeUrl: AUTHORIZATION_TYPE })
    const first = await stream.next()
    stream.send({ typeUrl: ADDRESS_TYPE })
    const addresses = await stream.next()
    stream.send({ typeUrl: ADDRESS_TYPE, responseNonce: addresses.nonce })
    const listing = pod('a', '10.0.0.1', { authorizationPolicies: ['shop/second'] })
    ads.publish(
      state({ policies: [policy({ name: 'second', scope: 'WorkloadSelector' })], workloads: [listing] }),
    )
    stream.send({ typeUrl: AUTHORIZATION_TYPE, responseNonce: first.nonce })
    const policies = await stream.next()
    expect([names(policies), policies.removedResources]).toEqual([['shop/second'], []])
    const workloads = await stream.next()
    expect(names(workloads)).toEqual(['Kubernetes//Pod/shop/a'])
    stream.send({ typeUrl: AUTHORIZATION_TYPE, responseNonce: policies.nonce })
    stream.send({ typeUrl: ADDRESS_TYPE, responseNonce: workloads.nonce })
    expect((await stream.next()).removedResources).toEqual(['shop/first'])
  })

  it('ignores an answer to another nonce', async () => {
    const { ads, open } = await serve()
    ads.publish(state({}))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    const first = await stream.next()
    stream.send({ typeUrl: ADDRESS_TYPE, responseNonce: 'stale' })
    const { versions } = ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    stream.send({ typeUrl: ADDRESS_TYPE, responseNonce: first.nonce })
    const second = await stream.next()
    expect(second.systemVersionInfo).toBe(versions.get(ADDRESS_TYPE))
    expect(stream.waiting).toBe(0)
  })

  it('does not send a refused resource again until it changes', async () => {
    const { ads, open } = await serve()
    ads.publish(state({ workloads: [pod('a', '10.0.0.1')] }))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    const first = await stream.next()
    stream.send({ typeUrl: ADDRESS_TYPE, responseNonce: first.nonce, errorDetail: { message: 'a: no' } })
    ads.publish(state({ workloads: [pod('a', '10.0.0.1'), pod('b', '10.0.0.2')] }))
    const second = await stream.next()
    expect(names(second)).toEqual(['Kubernetes//Pod/shop/b'])
    expect(ads.clients()[0]?.types.get(ADDRESS_TYPE)?.nack).toBe('a: no')
  })

  it('honours what the client has: same versions, other versions, names that are gone', async () => {
    const { ads, open } = await serve()
    const policies = [policy(), policy({ name: 'other' })]
    ads.publish(state({ policies }))
    const before = open()
    before.send({ node, typeUrl: AUTHORIZATION_TYPE })
    const held = Object.fromEntries(
      (await before.next()).resources.map(({ name, version }) => [name, version]),
    )
    const stream = open()
    stream.send({
      node,
      typeUrl: AUTHORIZATION_TYPE,
      initialResourceVersions: { ...held, 'shop/other': '', 'shop/gone': 'x' },
    })
    const response = await stream.next()
    expect([names(response), response.removedResources]).toEqual([['shop/other'], ['shop/gone']])
  })

  it('is answered once even when the client has everything', async () => {
    const { ads, open } = await serve()
    ads.publish(state({}))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    expect(await stream.next()).toMatchObject({ typeUrl: ADDRESS_TYPE, resources: [], removedResources: [] })
  })

  it('ends cleanly when the client ends it', async () => {
    const { ads, open } = await serve()
    ads.publish(state({}))
    const stream = open()
    stream.send({ node, typeUrl: ADDRESS_TYPE })
    await stream.next()
    stream.end()
    expect((await stream.ended).code).toBe(status.OK)
    expect(ads.clients()[0]?.connected).toBe(false)
  })
})
