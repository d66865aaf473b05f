/** The client of Istio's CreateCertificate over real gRPC and TLS on loopback, and the answers it must refuse. */
import { createServer } from 'node:net'
import { once } from 'node:events'
import { create } from '@bufbuild/protobuf'
import type { ServerUnaryCall } from '@grpc/grpc-js'
import { parseSpiffeId, type SpiffeId } from '@ambient/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type CertificateSigner,
  createCertificateAuthority,
  createCertificateRequest,
  createIdentityManager,
  createIstioCaClient,
  type IstioCaClientOptions,
} from '../src/index.ts'
import { createCertificateMethod } from '../src/istio/protocol.ts'
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../src/gen/istio-ca_pb.ts'
import { type CaBench, serve, startCa, TOKEN, WEB } from './ca-bench.ts'

let bench: CaBench

beforeAll(async () => {
  bench = await startCa()
})
afterAll(() => bench.close())

const signerFor = (change: Partial<IstioCaClientOptions> = {}): CertificateSigner =>
  createIstioCaClient({
    address: `https://127.0.0.1:${bench.port}`,
    rootPem: () => bench.ca.rootPem,
    token: () => TOKEN,
    clusterId: 'Kubernetes',
    impersonate: true,
    ...change,
  })

const failure = (promise: Promise<unknown>): Promise<Record<string, unknown>> =>
  promise.then(
    () => ({ code: 'accepted' }),
    error => ({ code: error.code, message: error.message }),
  )

async function signOnce(
  change: Partial<IstioCaClientOptions> = {},
  id: SpiffeId = WEB,
): Promise<readonly string[]> {
  const signer = signerFor(change)
  try {
    const { csrPem } = await createCertificateRequest(id)
    return await signer.sign({ id, csrPem, ttlMs: 3_600_000 })
  } finally {
    await signer.close()
  }
}

describe('the client of an Istio CA', () => {
  it('gets a certificate for an impersonated workload, by IP address and by name', async () => {
    bench.issued.length = 0
    expect(await signOnce()).toHaveLength(2)
    expect(await signOnce({ address: `https://localhost:${bench.port}` })).toHaveLength(2)
    expect(bench.seen.at(-1)).toMatchObject({ token: TOKEN, clusterId: 'Kubernetes', impersonated: WEB.uri })
    expect(bench.seen.at(-1)?.peer).toMatch(/^127\.0\.0\.1:\d+$/)
    expect(bench.issued).toMatchObject([
      { id: WEB, impersonated: true },
      { id: WEB, impersonated: true },
    ])
    const [event] = bench.issued
    expect(Math.round(((event?.notAfter ?? 0) - (event?.notBefore ?? 0)) / 60_000)).toBe(62)
  })

  it('asks for itself when it does not impersonate, and sends the given headers', async () => {
    await signOnce({ impersonate: false })
    expect(bench.seen.at(-1)?.impersonated).toBeUndefined()
    expect(await failure(signOnce({ headers: { clusterid: 'x' } }))).toEqual({ code: 'accepted' })
  })

  it('reads token and roots again for each call', async () => {
    const tokens = ['wrong', ` ${TOKEN}\n`]
    const signer = signerFor({ token: async () => tokens.shift() })
    const { csrPem } = await createCertificateRequest(WEB)
    const request = { id: WEB, csrPem, ttlMs: 0 }
    expect(await failure(signer.sign(request))).toMatchObject({ code: 'AMBIENT_E_CA_REFUSED' })
    expect(await failure(signer.sign(request))).toEqual({ code: 'accepted' })
    await signer.close()

    const other = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    const roots = [other.rootPem, other.rootPem + bench.ca.rootPem, '', bench.ca.rootPem]
    const rotating = signerFor({ rootPem: async () => roots.shift() ?? '' })
    expect(await failure(rotating.sign(request))).toMatchObject({ code: 'AMBIENT_E_CA_UNREACHABLE' })
    expect(await failure(rotating.sign(request))).toEqual({ code: 'accepted' })
    expect(await failure(rotating.sign(request)), 'unreadable roots: the last ones').toEqual({
      code: 'accepted',
    })
    expect(await failure(rotating.sign(request))).toEqual({ code: 'accepted' })
    await rotating.close()
    expect(await failure(rotating.sign(request))).toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
  })

  it('ends no call whose token is still being read when the roots change', async () => {
    let texts = 0
    let release: (token: string) => void = () => {}
    const slow = new Promise<string>(resolve => {
      release = resolve
    })
    const tokens: (string | Promise<string>)[] = [slow, TOKEN]
    const signer = signerFor({
      rootPem: () => bench.ca.rootPem + '\n'.repeat(texts++),
      token: () => tokens.shift(),
    })
    try {
      const { csrPem } = await createCertificateRequest(WEB)
      const request = { id: WEB, csrPem, ttlMs: 3_600_000 }
      const first = signer.sign(request)
      expect(await signer.sign(request)).toHaveLength(2)
      release(TOKEN)
      expect(await first).toHaveLength(2)
    } finally {
      await signer.close()
    }
  })

  it('believes only a server with its name, or the alternative one', async () => {
    const { csrPem } = await createCertificateRequest(WEB)
    const elsewhere = await serve(bench.ca, () => {}, {
      dnsNames: ['istiod.istio-system.svc'],
      ipAddresses: [],
    })
    const address = `https://127.0.0.1:${elsewhere.port}`
    const strict = signerFor({ address })
    expect(await failure(strict.sign({ id: WEB, csrPem, ttlMs: 0 }))).toMatchObject({
      code: 'AMBIENT_E_CA_UNREACHABLE',
      message: expect.stringContaining('127.0.0.1'),
    })
    const named = signerFor({ address, alternativeHostname: 'istiod.istio-system.svc' })
    expect(await failure(named.sign({ id: WEB, csrPem, ttlMs: 0 })), 'reached; no such method').toMatchObject(
      {
        code: 'AMBIENT_E_CA_REFUSED',
        message: expect.stringContaining('UNIMPLEMENTED'),
      },
    )
    await Promise.all([strict.close(), named.close()])
    elsewhere.close()
  })

  it('says that nobody listens, and that nobody answers', async () => {
    const silent = createServer(socket => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const bound = silent.address()
    const port = typeof bound === 'object' && bound !== null ? bound.port : 0
    const address = `https://127.0.0.1:${port}`
    expect(await failure(signOnce({ address, callTimeoutMs: 100 }))).toMatchObject({
      code: 'AMBIENT_E_CA_UNREACHABLE',
      message: expect.stringMatching(/DEADLINE_EXCEEDED/),
    })
    await new Promise(done => silent.close(done))
    expect(await failure(signOnce({ address }))).toMatchObject({
      code: 'AMBIENT_E_CA_UNREACHABLE',
      message: expect.stringMatching(new RegExp(`127.0.0.1:${port}.*${WEB.uri}.*UNAVAILABLE`)),
    })
  })

  it('stops when told', async () => {
    const signer = signerFor({ callTimeoutMs: 60_000 })
    const { csrPem } = await createCertificateRequest(WEB)
    const abort = new AbortController()
    const waiting = failure(signer.sign({ id: WEB, csrPem, ttlMs: 0, signal: abort.signal }))
    abort.abort(new Error('enough'))
    expect(await waiting).toMatchObject({ message: 'enough' })
    await signer.close()
    await signer.close()
  })

  it('refuses addresses without TLS or with more in them', () => {
    for (const address of ['http://127.0.0.1:1', 'istiod:15012', 'https://h:1/path', 'https://u@h:1', ''])
      expect(() => signerFor({ address }), address).toThrow(/expected https:\/\/HOST:PORT/)
  })

  it('feeds a manager', async () => {
    const signer = signerFor()
    const manager = createIdentityManager({ signer })
    const web = await manager.get(WEB)
    expect(web.id.uri).toBe(WEB.uri)
    expect(web.trustBundle).toBe(bench.ca.rootPem)
    await manager.close()
    await signer.close()
  })
})

describe('an answer of a CA', () => {
  const answers: Record<string, [RegExp, (good: readonly string[]) => Promise<readonly string[]>]> = {
    'that is empty': [/the chain is empty/, async () => []],
    'without a root': [/no root certificate/, async good => good.slice(0, 1)],
    'with an unreadable root': [/trust bundle holds no certificate/, async ([leaf = '']) => [leaf, 'x']],
    'with the root first': [/another key/, async good => [...good].reverse()],
    'with two certificates in its first element': [
      /holds 2 certificates/,
      async ([leaf = '', root = '']) => [leaf + root, root],
    ],
    'that is not PEM': [/holds 0 certificates/, async ([, root = '']) => ['x', root]],
    'for another key': [
      /another key/,
      async () => (await bench.ca.sign({ ...(await createCertificateRequest(WEB)), id: WEB })).chain,
    ],
    'with the roots of another CA': [
      /no certificate of the trust bundle leads to it/,
      async ([leaf = '']) => [
        leaf,
        (await createCertificateAuthority({ trustDomain: 'cluster.local' })).rootPem,
      ],
    ],
  }

  const withAnswer = async (
    answer: (call: IstioCertificateRequest) => Promise<readonly string[]>,
  ): Promise<Record<string, unknown>> => {
    const rogue = await serve(bench.ca, running =>
      running.addService(
        { createCertificate: createCertificateMethod },
        {
          createCertificate: (
            call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
            reply: (error: null, response: IstioCertificateResponse) => void,
          ) => {
            answer(call.request).then(certChain =>
              reply(null, create(IstioCertificateResponseSchema, { certChain: [...certChain] })),
            )
          },
        },
      ),
    )
    try {
      return await failure(signOnce({ address: `https://127.0.0.1:${rogue.port}` }))
    } finally {
      rogue.close()
    }
  }
  const sign = async (csrPem: string, id = WEB): Promise<readonly string[]> =>
    (await bench.ca.sign({ csrPem, id })).chain

  for (const [name, [reason, spoil]] of Object.entries(answers))
    it(`is refused ${name}`, async () => {
      expect(await withAnswer(async call => spoil(await sign(call.csr)))).toMatchObject({
        code: 'AMBIENT_E_CA_RESPONSE',
        message: expect.stringMatching(reason),
      })
    })

  it('is refused with another ID', async () => {
    const other = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/other')
    expect(await withAnswer(call => sign(call.csr, other))).toMatchObject({
      code: 'AMBIENT_E_CA_RESPONSE',
      message: expect.stringContaining(`peer is ${other.uri}, expected ${WEB.uri}`),
    })
  })

  it('may hold several roots in its last element', async () => {
    const other = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    const both = async (call: IstioCertificateRequest): Promise<readonly string[]> => {
      const [leaf = '', root = ''] = await sign(call.csr)
      return [leaf, other.rootPem + root]
    }
    expect(await withAnswer(both)).toEqual({ code: 'accepted' })
  })
})
