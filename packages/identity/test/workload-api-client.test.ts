/** Our client's reading of answers that keep, bend and break the rules of the Workload API. */
import { createPrivateKey, KeyObject, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { status } from '@grpc/grpc-js'
import type { Credentials } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import { createCredentials, createWorkloadApiSource } from '../src/index.ts'
import { createTestIdentities, type TestIdentities } from '../src/testing/index.ts'
import { crlOf, derOf } from './crl-fixtures.ts'
import { HOUR, leaf, type Made, root } from './fixtures.ts'
import { API, closers, codeOf, next, pair, WEB } from './workload-api-pair.ts'
import { end, keyDer, send, type SvidParts, svidOf } from './workload-api-script.ts'
import { ders } from './x509-source-contract.ts'

let identities: TestIdentities
let web: Credentials
let api: Credentials

beforeAll(async () => {
  identities = await createTestIdentities()
  web = await identities.credentials(WEB)
  api = await identities.credentials(API)
})

describe('the client', () => {
  it.each([false, true])('asks with the security header and reads the answer (tcp: %s)', async tcp => {
    const { server, source } = await pair({
      tcp,
      onCall: call => send(call, { svids: [svidOf(web)] }),
    })
    const credentials = await source.get()
    expect(credentials.id.uri).toBe(WEB)
    expect(credentials.certificateChain).toBe(web.certificateChain)
    expect(server.calls[0]?.metadata.get('workload.spiffe.io')).toEqual(['true'])
    expect(source.svids().map(({ id }) => id.uri)).toEqual([WEB])
    expect(source.bundles().get('cluster.local')?.x509Authorities).toEqual(ders(web.trustBundle))
    expect(inspect(source.svids(), { depth: 9 })).not.toContain('PRIVATE KEY')
  })

  it('takes the first of several as the default; of one hint the first counts; another can be picked', async () => {
    const svids = [
      svidOf(web, { hint: 'internal' }),
      svidOf(api, { hint: 'internal' }),
      svidOf(api, { hint: 'external' }),
    ]
    const { source } = await pair({ onCall: call => send(call, { svids }) })
    expect((await source.get()).id.uri).toBe(WEB)
    expect(source.svids().map(({ id, hint }) => `${id.uri} ${hint}`)).toEqual([
      `${WEB} internal`,
      `${API} external`,
    ])
    const picky = await pair(
      { onCall: call => send(call, { svids }) },
      { pick: all => all.find(({ hint }) => hint === 'external') },
    )
    expect((await picky.source.get()).id.uri).toBe(API)
    const none = await pair({ onCall: call => send(call, { svids }) }, { pick: () => undefined })
    expect(await codeOf(none.source.get())).toBe('AMBIENT_E_IDENTITY_WITHDRAWN')
  })

  it('is told of a renewal, and not of the same answer again', async () => {
    const { server, source } = await pair()
    const called = server.next()
    const first = next(source)
    const call = await called
    send(call, { svids: [svidOf(web)] })
    const before = await first
    const seen: number[] = []
    source.watch(({ generation }) => void seen.push(generation))
    send(call, { svids: [svidOf(web)] })
    const renewed = next(source)
    const again = await identities.credentials(WEB)
    send(call, { svids: [svidOf(again)] })
    expect((await renewed).certificateChain).toBe(again.certificateChain)
    expect(seen).toEqual([before.generation + 1])
  })
})

describe('an answer that breaks a rule is discarded as a whole', () => {
  const broken: readonly (readonly [string, () => Promise<SvidParts>, RegExp])[] = [
    ['no ID', async () => svidOf(web, { spiffeId: '' }), /svids\[1\].spiffe_id: cannot be empty/],
    ['an ID that is none', async () => svidOf(web, { spiffeId: 'spiffe://TD/x' }), /spiffe_id: trust domain/],
    ['no certificate', async () => svidOf(web, { x509Svid: new Uint8Array() }), /x509_svid: is missing/],
    ['no key', async () => svidOf(web, { x509SvidKey: new Uint8Array() }), /x509_svid_key: is missing/],
    ['no bundle', async () => svidOf(web, { bundle: new Uint8Array() }), /bundle: is missing/],
    ['the key of another', async () => svidOf(web, { x509SvidKey: keyDer(api) }), /not that of its certif/],
    ['the ID of another', async () => svidOf(web, { spiffeId: API }), /the certificate is that of .*web/],
    [
      'PEM where DER is due',
      async () => svidOf(web, { x509Svid: Buffer.from(web.certificateChain) }),
      /x509_svid: certificate 1: /,
    ],
    [
      'a key that is not PKCS#8',
      async () =>
        svidOf(web, {
          x509SvidKey: createPrivateKey(web.privateKey()).export({ type: 'sec1', format: 'der' }),
        }),
      /the private key cannot be read/,
    ],
    [
      'a certificate that is cut short',
      async () => svidOf(web, { x509Svid: Buffer.concat(ders(web.certificateChain)).subarray(0, 200) }),
      /x509_svid: certificate 1: .*cut short/,
    ],
    [
      'bytes behind the bundle',
      async () => svidOf(web, { bundle: Buffer.concat([...ders(web.trustBundle), Buffer.from('x')]) }),
      /bundle: certificate 2: /,
    ],
    [
      'a hint of 1025 bytes',
      async () => svidOf(web, { hint: `${'é'.repeat(512)}x` }),
      /hint: longer than 1024/,
    ],
    [
      'an expired certificate',
      async () => {
        const past = createManualClock(Date.now() - 7_200_000)
        const old = await (await createTestIdentities({ clock: past })).credentials(WEB, { ttlMs: 60_000 })
        return svidOf(old)
      },
      /expired at/,
    ],
    [
      'a CA certificate as SVID',
      async () => svidOf(web, { x509Svid: Buffer.concat(ders(web.trustBundle)) }),
      /leaf: /,
    ],
  ]

  it.each(broken)('%s', async (_name, parts, reason) => {
    const { server, source, warned } = await pair()
    const called = server.next()
    const first = next(source)
    const call = await called
    send(call, { svids: [svidOf(web)] })
    const before = await first
    const warning = warned()
    send(call, { svids: [svidOf(api), await parts()] })
    expect(await warning).toMatch(reason)
    expect(source.current()).toBe(before)
    expect(source.svids().map(({ id }) => id.uri)).toEqual([WEB])
    const renewed = next(source)
    send(call, { svids: [svidOf(api)] })
    expect((await renewed).id.uri).toBe(API)
    expect(server.calls, 'the stream goes on').toHaveLength(1)
  })

  it.each([
    ['a federated domain that is none', { federatedBundles: { 'spiffe://Not': new Uint8Array([1]) } }],
    ['a federated ID with a path', { federatedBundles: { 'spiffe://td/x': new Uint8Array([1]) } }],
    ['a federated bundle without a root', { federatedBundles: { 'spiffe://td': new Uint8Array() } }],
    ['a list that is not DER', { crl: [Buffer.from('-----BEGIN X509 CRL-----')] }],
    ['a list that is none', { crl: [Buffer.from([0x30, 0x01, 0x00])] }],
  ])('%s', async (_name, more) => {
    const { source } = await pair({ onCall: call => send(call, { svids: [svidOf(web)], ...more }) })
    await expect(source.get()).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_UNAVAILABLE',
      cause: { code: 'AMBIENT_E_WORKLOAD_API_RESPONSE' },
    })
  })

  it('more than 16 MiB, and half a message, are no answer; 4 MiB are', async () => {
    const roots = Buffer.concat(ders(web.trustBundle))
    const sized = (bytes: number): SvidParts =>
      svidOf(web, { bundle: Buffer.concat(Array<Buffer>(Math.ceil(bytes / roots.length)).fill(roots)) })
    const flood = await pair({ onCall: call => send(call, { svids: [sized(17 * 2 ** 20)] }) })
    await expect(flood.source.get()).rejects.toThrow(/RESOURCE_EXHAUSTED/)
    const half = createHttp2Server()
    half.on('stream', stream => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
      stream.write(Buffer.from([0, 0, 0, 3, 0xe8, 1, 2, 3]), () => stream.session?.destroy())
    })
    half.listen(0, '127.0.0.1')
    await once(half, 'listening')
    closers.push(async () => void half.close())
    const source = createWorkloadApiSource({
      address: `tcp://127.0.0.1:${(half.address() as AddressInfo).port}`,
    })
    closers.push(() => source.close())
    await expect(source.get()).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_UNAVAILABLE' })
  })
})

describe('what is missing in an answer was withdrawn', () => {
  it('an identity', async () => {
    const { server, source, warned } = await pair()
    const called = server.next()
    const first = next(source)
    const call = await called
    send(call, { svids: [svidOf(web), svidOf(api)] })
    await first
    const changed = next(source)
    send(call, { svids: [svidOf(api)] })
    expect((await changed).id.uri).toBe(API)
    expect(source.svids()).toHaveLength(1)
    const gone = warned()
    send(call, {})
    expect(await gone).toMatch(/withdrawn: its answer holds no identity/)
    expect(source.current()).toBeUndefined()
    expect(source.svids()).toEqual([])
    expect(await codeOf(source.get())).toBe('AMBIENT_E_IDENTITY_WITHDRAWN')
    const back = next(source)
    send(call, { svids: [svidOf(api)] })
    expect((await back).id.uri).toBe(API)
    expect(await source.get()).toBe(await back)
  })

  it('every identity, when the stream that brought them says that none is due; not when another stream does', async () => {
    const { server, source, warned, clock } = await pair()
    const called = server.next()
    const first = next(source)
    const call = await called
    send(call, { svids: [svidOf(web)] })
    const before = await first
    // The agent restarts, and does not know its workloads yet.
    let failed = warned()
    end(call, status.UNAVAILABLE)
    await failed
    const again = server.next()
    clock.advance(1_000)
    failed = warned()
    end(await again, status.PERMISSION_DENIED)
    await failed
    expect(source.current()).toBe(before)
    const third = server.next()
    clock.advance(2_000)
    const live = await third
    const renewed = next(source)
    send(live, { svids: [svidOf(api)] })
    await renewed
    end(live, status.PERMISSION_DENIED, 'no identity issued')
    await expect.poll(() => source.current()).toBeUndefined()
    expect(await codeOf(source.get())).toBe('AMBIENT_E_IDENTITY_WITHDRAWN')
  })

  it('a federated bundle', async () => {
    const partner = await createTestIdentities({ trustDomain: 'partner.example' })
    const friend = await partner.credentials('spiffe://partner.example/billing')
    const { server, source } = await pair()
    const called = server.next()
    const first = next(source)
    const call = await called
    const federatedBundles = { 'spiffe://partner.example': Buffer.concat(ders(friend.trustBundle)) }
    send(call, { svids: [svidOf(web)], federatedBundles })
    const before = await first
    const chain = ders(friend.certificateChain)
    expect(before.verifyPeer(chain, { kind: 'any' })).toMatchObject({ ok: true })
    expect([...source.bundles().keys()].sort()).toEqual(['cluster.local', 'partner.example'])
    const changed = next(source)
    send(call, { svids: [svidOf(web)] })
    expect((await changed).verifyPeer(chain, { kind: 'any' })).toMatchObject({ problem: 'trust-domain' })
    expect(source.bundles().has('partner.example')).toBe(false)
  })
})

describe('revocation lists', () => {
  it('of an answer count from then on, for credentials that were given before too, until one comes without', async () => {
    const ca = await root('O=cluster.local', { notBefore: Date.now() - HOUR, notAfter: Date.now() + HOUR })
    const made = (uri: string): Promise<Made> =>
      leaf(ca, { uri }, { notBefore: Date.now() - HOUR, notAfter: Date.now() + HOUR })
    const [own, peer] = await Promise.all([made(WEB), made(API)])
    const credentials = createCredentials({
      certificateChain: own.pem,
      privateKey: String(KeyObject.from(own.keys.privateKey).export({ type: 'pkcs8', format: 'pem' })),
      trustBundle: ca.pem,
    })
    const crl = derOf(
      await crlOf(ca, {
        serials: [new X509Certificate(peer.der).serialNumber],
        thisUpdate: Date.now() - HOUR,
        nextUpdate: Date.now() + HOUR,
      }),
    )
    const { server, source } = await pair()
    const called = server.next()
    const first = next(source)
    const call = await called
    send(call, { svids: [svidOf(credentials)] })
    const before = await first
    const verdict = (of: Credentials): object => of.verifyPeer([peer.der], { kind: 'any' })
    expect(verdict(before)).toMatchObject({ ok: true })
    let changed = next(source)
    send(call, { svids: [svidOf(credentials)], crl: [crl] })
    expect(verdict(await changed)).toMatchObject({ ok: false, problem: 'revoked' })
    expect(verdict(before)).toMatchObject({ ok: false, problem: 'revoked' })
    changed = next(source)
    send(call, { svids: [svidOf(credentials)] })
    expect(verdict(await changed)).toMatchObject({ ok: true })
  })
})
