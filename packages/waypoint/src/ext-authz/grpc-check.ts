/** `envoy.service.auth.v3.Authorization/Check`: a unary call of gRPC over the dispatch desk. */
import { type Clock, formatHostPort, type SpiffeId } from '@ambient/core'
import { HeaderFields } from '../http/header-fields.ts'
import type { Dispatcher } from '../upstream/dispatch.ts'
import { callProvider, type ProviderAnswer } from './call.ts'
import { type Check, type CheckAnswer, UnreadableAnswer } from './check.ts'
import { readCheckResponse, writeCheckRequest } from './grpc-message.ts'

export const CHECK_PATH = '/envoy.service.auth.v3.Authorization/Check'
/** A byte that says whether the message is compressed, and its length. */
const PREFIX_BYTES = 5

/** @throws whatever makes the answer an error */
export async function checkOverGrpc(
  desk: Pick<Dispatcher, 'dispatch'>,
  clock: Clock,
  options: { readonly check: Check; readonly self: SpiffeId; readonly signal: AbortSignal },
): Promise<CheckAnswer> {
  const { check, self, signal } = options
  const { cluster, provider, stream } = check
  const message = framed(writeCheckRequest(check, self))
  const answer = await callProvider(desk, clock, {
    cluster,
    head: {
      method: 'POST',
      scheme: 'http',
      authority: formatHostPort(cluster.hostname, cluster.port),
      path: CHECK_PATH,
      headers: new HeaderFields([
        ['content-type', 'application/grpc'],
        ['te', 'trailers'],
        ['grpc-timeout', `${provider.timeoutMs}m`],
        ['content-length', String(message.length)],
      ]),
    },
    body: message,
    protocol: 'GRPC',
    timeoutMs: provider.timeoutMs,
    caller: stream.caller,
    signal,
  })
  return readCheckResponse(messageOf(answer))
}

function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(PREFIX_BYTES + message.length)
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, PREFIX_BYTES)
  return frame
}

function messageOf({ status, headers, trailers, body }: ProviderAnswer): Uint8Array {
  if (status !== 200) throw new UnreadableAnswer(`the provider answered HTTP ${status}`)
  const grpcStatus = trailers.get('grpc-status') ?? headers.get('grpc-status')
  if (grpcStatus !== '0')
    throw new UnreadableAnswer(`the call ended with gRPC status ${grpcStatus ?? 'unknown'}`)
  const isWhole =
    body.length >= PREFIX_BYTES && body[0] === 0 && body.readUInt32BE(1) === body.length - PREFIX_BYTES
  if (!isWhole) throw new UnreadableAnswer('the answer is not one message')
  return body.subarray(PREFIX_BYTES)
}
