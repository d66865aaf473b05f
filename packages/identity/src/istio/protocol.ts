/** The gRPC method of `istio.v1.auth.IstioCertificateService`, as client and server both need it. */
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import type { MethodDefinition } from '@grpc/grpc-js'
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../gen/istio-ca_pb.ts'

/** Key of the request's metadata in which a node proxy names the workload it asks for. */
export const IMPERSONATED_IDENTITY = 'ImpersonatedIdentity'

export const createCertificateMethod: MethodDefinition<IstioCertificateRequest, IstioCertificateResponse> = {
  path: '/istio.v1.auth.IstioCertificateService/CreateCertificate',
  originalName: 'createCertificate',
  requestStream: false,
  responseStream: false,
  requestSerialize: message => Buffer.from(toBinary(IstioCertificateRequestSchema, message)),
  requestDeserialize: bytes => fromBinary(IstioCertificateRequestSchema, bytes),
  responseSerialize: message => Buffer.from(toBinary(IstioCertificateResponseSchema, message)),
  responseDeserialize: bytes => fromBinary(IstioCertificateResponseSchema, bytes),
}
