/** `CreateCertificate` as a client without our manners calls it, and as a server without them answers. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, Metadata, type Server, type ServerUnaryCall } from '@grpc/grpc-js'
import { createCertificateMethod } from '../src/istio/protocol.ts'
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../src/gen/istio-ca_pb.ts'

export interface WireCall {
  readonly port: number
  readonly rootPem: string
  readonly csr: string
  readonly seconds?: bigint
  readonly metadata?: object
  readonly headers?: Readonly<Record<string, string>>
  /** Shown in the TLS handshake. */
  readonly certificate?: { readonly chain: string; readonly key: string }
}

export type WireAnswer =
  | { readonly chain: readonly string[] }
  | { readonly code: number; readonly details: string }

export async function callCa(call: WireCall): Promise<WireAnswer> {
  const { certificate } = call
  const tls = credentials.createSsl(
    Buffer.from(call.rootPem),
    certificate === undefined ? null : Buffer.from(certificate.key),
    certificate === undefined ? null : Buffer.from(certificate.chain),
  )
  const client = new Client(`127.0.0.1:${call.port}`, tls, {
    'grpc.ssl_target_name_override': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  })
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(call.headers ?? {})) metadata.set(name, value)
  const message = create(IstioCertificateRequestSchema, {
    csr: call.csr,
    ...(call.seconds === undefined ? {} : { validityDuration: call.seconds }),
    ...(call.metadata === undefined ? {} : { metadata: JSON.parse(JSON.stringify(call.metadata)) }),
  })
  return new Promise(resolve => {
    client.makeUnaryRequest(
      createCertificateMethod.path,
      (value: IstioCertificateRequest) => Buffer.from(toBinary(IstioCertificateRequestSchema, value)),
      bytes => fromBinary(IstioCertificateResponseSchema, bytes),
      message,
      metadata,
      (error, response) => {
        client.close()
        resolve(error ?? { chain: response?.certChain ?? [] })
      },
    )
  })
}

/** A CA that answers what it is told to. */
export function addFakeCa(
  server: Server,
  answer: (request: IstioCertificateRequest) => Promise<readonly string[]>,
): void {
  server.addService(
    { createCertificate: createCertificateMethod },
    {
      createCertificate: (
        call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
        reply: (error: object | null, response?: IstioCertificateResponse) => void,
      ) => {
        answer(call.request).then(
          certChain => reply(null, create(IstioCertificateResponseSchema, { certChain: [...certChain] })),
          (error: object) => reply(error),
        )
      },
    },
  )
}
