/** Istio's CreateCertificate as a server: callers that must be refused, and how little they are told. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { parseSpiffeId } from '@ambient/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCertificateRequest } from '../src/index.ts'
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../src/gen/istio-ca_pb.ts'
import { type CaBench, startCa, TOKEN, WEB } from './ca-bench.ts'

let bench: CaBench

beforeAll(async () => {
  bench = await startCa()
})
afterAll(() => bench.close())

describe('the service', () => {
  /** A client without our manners. */
  const callRaw = async (
    fields: { csr?: string; validityDuration?: bigint; metadata?: Record<string, never> | object },
    headers: Record<string, string> = { authorization: `Bearer ${TOKEN}`, clusterid: 'Kubernetes' },
  ): Promise<ServiceError | IstioCertificateResponse> => {
    const csr = fields.csr ?? (await createCertificateRequest(WEB)).csrPem
    const client = new Client(
      `127.0.0.1:${bench.port}`,
      credentials.createSsl(Buffer.from(bench.ca.rootPem)),
      {
        'grpc.ssl_target_name_override': 'localhost',
      },
    )
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
      bench.issued.length = 0
      expect(await callRaw({ validityDuration })).toHaveProperty('certChain')
      const [event] = bench.issued
      expect(Math.round(((event?.notAfter ?? 0) - (event?.notBefore ?? 0)) / 60_000)).toBe(24 * 60 + 2)
    }
  })

  it('ignores the names in a request', async () => {
    const { csrPem } = await createCertificateRequest(
      parseSpiffeId('spiffe://cluster.local/ns/kube-system/sa/admin'),
    )
    const answer = await callRaw({ csr: csrPem, metadata: { ImpersonatedIdentity: WEB.uri } })
    expect('certChain' in answer ? answer.certChain : []).toHaveLength(2)
    expect(bench.issued.at(-1)?.id.uri).toBe(WEB.uri)
  })
})
