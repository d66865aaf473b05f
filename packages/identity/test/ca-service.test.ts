/** Istio's CreateCertificate over real gRPC and TLS on loopback: our client, our server, and what either must refuse. */
import { createServer } from 'node:net'
import { once } from 'node:events'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { parseSpiffeId, readSpiffeId, type SpiffeId } from '@ambient/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type CaCall,
  type CertificateAuthority,
  type CertificateSigner,
  createCaService,
  createCertificateAuthority,
  createCertificateRequest,
  createIdentityManager,
  createIstioCaClient,
  type IssuedCertificate,
  type IstioCaClientOptions,
} from '../src/index.ts'
import { createCertificateMethod } from '../src/ca-protocol.ts'
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../src/gen/istio-ca_pb.ts'

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
const TOKEN = 'the-node-token'

interface RunningServer {
  readonly port: number
  close(): void
}

async function serve(
  ca: CertificateAuthority,
  addTo: (server: Server) => void,
  names = { dnsNames: ['localhost', 'istiod.istio-system.svc'], ipAddresses: ['127.0.0.1'] },
): Promise<RunningServer> {
  const { certificateChain, privateKey } = await ca.issueServerCertificate(names)
  const server = new Server()
  addTo(server)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      '127.0.0.1:0',
      ServerCredentials.createSsl(null, [
        { private_key: Buffer.from(privateKey), cert_chain: Buffer.from(certificateChain) },
      ]),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    ),
  )
  return { port, close: () => server.forceShutdown() }
}

let ca: CertificateAuthority
let server: RunningServer
const seen: CaCall[] = []
const issued: IssuedCertificate[] = []

beforeAll(async () => {
  ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  const service = createCaService({
    ca,
    authorize(call) {
      seen.push(call)
      if (call.token === 'explodes') throw new Error('token store is gone')
      if (call.token !== TOKEN) return { ok: false, reason: 'unknown token' }
      if (call.clusterId !== 'Kubernetes') return { ok: false, reason: 'unknown cluster' }
      const id = readSpiffeId(call.impersonated ?? WEB.uri)
      return id.ok ? id : { ok: false, reason: id.reason }
    },
    onIssued: event => issued.push(event),
  })
  server = await serve(ca, running => service.addTo(running))
})

afterAll(() => server.close())

const signerFor = (change: Partial<IstioCaClientOptions> = {}): CertificateSigner =>
  createIstioCaClient({
    address: `https://127.0.0.1:${server.port}`,
    rootPem: () => ca.rootPem,
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
    issued.length = 0
    expect(await signOnce()).toHaveLength(2)
    expect(await signOnce({ address: `https://localhost:${server.port}` })).toHaveLength(2)
    expect(seen.at(-1)).toMatchObject({ token: TOKEN, clusterId: 'Kubernetes', impersonated: WEB.uri })
    expect(seen.at(-1)?.peer).toMatch(/^127\.0\.0\.1:\d+$/)
    expect(issued).toMatchObject([
      { id: WEB, impersonated: true },
      { id: WEB, impersonated: true },
    ])
    const [event] = issued
    expect(Math.round(((event?.notAfter ?? 0) - (event?.notBefore ?? 0)) / 60_000)).toBe(62)
  })

  it('asks for itself when it does not impersonate, and sends the given headers', async () => {
    await signOnce({ impersonate: false })
    expect(seen.at(-1)?.impersonated).toBeUndefined()
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
    const roots = [other.rootPem, other.rootPem + ca.rootPem, '', ca.rootPem]
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

  it('believes only a server with its name, or the alternative one', async () => {
    const { csrPem } = await createCertificateRequest(WEB)
    const elsewhere = await serve(ca, () => {}, { dnsNames: ['istiod.istio-system.svc'], ipAddresses: [] })
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
    expect(web.trustBundle).toBe(ca.rootPem)
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
      async () => (await ca.sign({ ...(await createCertificateRequest(WEB)), id: WEB })).chain,
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
    const rogue = await serve(ca, running =>
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
    (await ca.sign({ csrPem, id })).chain

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

describe('the service', () => {
  /** A client without our manners. */
  const callRaw = async (
    fields: { csr?: string; validityDuration?: bigint; metadata?: Record<string, never> | object },
    headers: Record<string, string> = { authorization: `Bearer ${TOKEN}`, clusterid: 'Kubernetes' },
  ): Promise<ServiceError | IstioCertificateResponse> => {
    const csr = fields.csr ?? (await createCertificateRequest(WEB)).csrPem
    const client = new Client(`127.0.0.1:${server.port}`, credentials.createSsl(Buffer.from(ca.rootPem)), {
      'grpc.ssl_target_name_override': 'localhost',
    })
    const metadata = new Metadata()
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
    const message = create(IstioCertificateRequestSchema, {
      csr,
      ...(fields.validityDuration === undefined ? {} : { validityDuration: fields.validityDuration }),
      ...(fields.metadata === undefined ? {} : { metadata: JSON.parse(JSON.stringify(fields.metadata)) }),
    })
    return new Promise(resolve => {
      client.makeUnaryRequest(
        '/istio.v1.auth.IstioCertificateService/CreateCertificate',
        (value: IstioCertificateRequest) => Buffer.from(toBinary(IstioCertificateRequestSchema, value)),
        bytes => fromBinary(IstioCertificateResponseSchema, bytes),
        message,
        metadata,
        (error, response) => {
          client.close()
          resolve(error ?? response ?? create(IstioCertificateResponseSchema))
        },
      )
    })
  }

  const good = { authorization: `Bearer ${TOKEN}`, clusterid: 'Kubernetes' }
  const opaque = 'request authenticate failure'
  const opaqueImpersonation = 'request impersonation authentication failure'
  const refusals: [string, Parameters<typeof callRaw>, status, string | RegExp][] = [
    ['no token', [{}, { clusterid: 'Kubernetes' }], status.UNAUTHENTICATED, opaque],
    ['a wrong token', [{}, { ...good, authorization: 'Bearer x' }], status.UNAUTHENTICATED, opaque],
    ['another scheme', [{}, { ...good, authorization: `Basic ${TOKEN}` }], status.UNAUTHENTICATED, opaque],
    ['no clusterid', [{}, { authorization: good.authorization }], status.UNAUTHENTICATED, opaque],
    [
      'an authorizer that throws',
      [{}, { ...good, authorization: 'Bearer explodes' }],
      status.UNAUTHENTICATED,
      opaque,
    ],
    [
      'a wrong token that impersonates',
      [{ metadata: { ImpersonatedIdentity: WEB.uri } }, { ...good, authorization: 'Bearer x' }],
      status.UNAUTHENTICATED,
      opaqueImpersonation,
    ],
    [
      'a list as impersonated identity',
      [{ metadata: { ImpersonatedIdentity: [WEB.uri] } }],
      status.UNAUTHENTICATED,
      opaqueImpersonation,
    ],
    [
      'a struct as impersonated identity',
      [{ metadata: { ImpersonatedIdentity: { id: WEB.uri } } }],
      status.UNAUTHENTICATED,
      opaqueImpersonation,
    ],
    [
      'an empty impersonated identity',
      [{ metadata: { ImpersonatedIdentity: '' } }],
      status.UNAUTHENTICATED,
      opaqueImpersonation,
    ],
    [
      'two identities in one string',
      [{ metadata: { ImpersonatedIdentity: `${WEB.uri},spiffe://cluster.local/ns/shop/sa/admin` } }],
      status.UNAUTHENTICATED,
      opaqueImpersonation,
    ],
    [
      'an identity of another trust domain',
      [{ metadata: { ImpersonatedIdentity: 'spiffe://other/ns/shop/sa/web' } }],
      status.INVALID_ARGUMENT,
      /speaks for the trust domain cluster\.local/,
    ],
    ['a request that is not PEM', [{ csr: 'nonsense' }], status.INVALID_ARGUMENT, /is not PEM/],
    ['a request of 1 MB', [{ csr: 'A'.repeat(1_000_000) }], status.INVALID_ARGUMENT, /larger than 65536/],
    ['91 days', [{ validityDuration: 91n * 86_400n }], status.INVALID_ARGUMENT, /more than this CA gives/],
    [
      'an absurd lifetime',
      [{ validityDuration: 2n ** 63n - 1n }],
      status.INVALID_ARGUMENT,
      /more than this CA gives/,
    ],
  ]
  for (const [name, call, code, details] of refusals)
    it(`refuses ${name}`, async () => {
      const answer = await callRaw(...call)
      expect(answer).toMatchObject({ code })
      expect('details' in answer ? answer.details : '').toMatch(
        typeof details === 'string' ? new RegExp(`^${details}$`) : details,
      )
    })

  it('gives its default lifetime for zero and for less', async () => {
    for (const validityDuration of [0n, -5n]) {
      issued.length = 0
      expect(await callRaw({ validityDuration })).toHaveProperty('certChain')
      const [event] = issued
      expect(Math.round(((event?.notAfter ?? 0) - (event?.notBefore ?? 0)) / 60_000)).toBe(24 * 60 + 2)
    }
  })

  it('ignores the names in a request', async () => {
    const { csrPem } = await createCertificateRequest(
      parseSpiffeId('spiffe://cluster.local/ns/kube-system/sa/admin'),
    )
    const answer = await callRaw({ csr: csrPem, metadata: { ImpersonatedIdentity: WEB.uri } })
    expect('certChain' in answer ? answer.certChain : []).toHaveLength(2)
    expect(issued.at(-1)?.id.uri).toBe(WEB.uri)
  })
})
