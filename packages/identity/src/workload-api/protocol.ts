/** The gRPC methods of `SpiffeWorkloadAPI`, as client and server both need them. */
import { type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { Metadata, type MethodDefinition } from '@grpc/grpc-js'
import {
  JWTBundlesRequestSchema,
  JWTBundlesResponseSchema,
  JWTSVIDRequestSchema,
  JWTSVIDResponseSchema,
  ValidateJWTSVIDRequestSchema,
  ValidateJWTSVIDResponseSchema,
  X509BundlesRequestSchema,
  X509BundlesResponseSchema,
  X509SVIDRequestSchema,
  X509SVIDResponseSchema,
} from '../gen/workload-api_pb.ts'

/** No browser page and no careless proxy sends it: a request without it was not meant for a Workload API. */
export const SECURITY_HEADER = 'workload.spiffe.io'

export function securityMetadata(): Metadata {
  const metadata = new Metadata()
  metadata.set(SECURITY_HEADER, 'true')
  return metadata
}

export const workloadApi = Object.freeze({
  fetchX509Svid: method('FetchX509SVID', X509SVIDRequestSchema, X509SVIDResponseSchema, true),
  fetchX509Bundles: method('FetchX509Bundles', X509BundlesRequestSchema, X509BundlesResponseSchema, true),
  fetchJwtSvid: method('FetchJWTSVID', JWTSVIDRequestSchema, JWTSVIDResponseSchema, false),
  fetchJwtBundles: method('FetchJWTBundles', JWTBundlesRequestSchema, JWTBundlesResponseSchema, true),
  validateJwtSvid: method(
    'ValidateJWTSVID',
    ValidateJWTSVIDRequestSchema,
    ValidateJWTSVIDResponseSchema,
    false,
  ),
})

function method<Request extends DescMessage, Response extends DescMessage>(
  name: string,
  request: Request,
  response: Response,
  responseStream: boolean,
): MethodDefinition<MessageShape<Request>, MessageShape<Response>> {
  return {
    path: `/SpiffeWorkloadAPI/${name}`,
    originalName: name,
    requestStream: false,
    responseStream,
    requestSerialize: message => Buffer.from(toBinary(request, message)),
    requestDeserialize: bytes => fromBinary(request, bytes),
    responseSerialize: message => Buffer.from(toBinary(response, message)),
    responseDeserialize: bytes => fromBinary(response, bytes),
  }
}
