/**
 * `CheckRequest` of what is proven, and `CheckResponse` as edits.
 *
 * Source: envoy.service.auth.v3; Envoy's ext_authz filters for what is set and how answers are read.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { SpiffeId } from '@ambient/core'
import {
  CheckRequestSchema,
  CheckResponseSchema,
  type DeniedHttpResponse,
  type HeaderValueOption,
  type OkHttpResponse,
} from '../gen/ext_authz_pb.js'
import type { HeaderFields } from '../http/header-fields.ts'
import type { RequestHead } from '../http/message.ts'
import {
  type Check,
  type CheckAnswer,
  type CheckedRequest,
  type CheckReply,
  type CheckEdits,
  type HeaderEdit,
  noCheckEdits,
  UnreadableAnswer,
} from './check.ts'
import { headerEdit, queryPart } from './edits.ts'
import { bytesToText, toField, toText } from './text.ts'

const PARTIAL_BODY = 'x-envoy-auth-partial-body'
const FORBIDDEN = 403

/** Source and principal are the caller's, as its HBONE connection proved them. */
export function writeCheckRequest({ stream, request }: Check, self: SpiffeId): Uint8Array {
  const { caller, destination } = stream
  return toBinary(
    CheckRequestSchema,
    create(CheckRequestSchema, {
      attributes: {
        source: {
          address: { socketAddress: { address: caller.address, portValue: caller.port } },
          principal: caller.identity.uri,
        },
        destination: {
          address: { socketAddress: { address: destination.address, portValue: destination.port } },
          principal: self.uri,
        },
        // As Envoys that istiod configures: metadata is there and empty with HTTP, TLS sessions are never told of.
        ...(request === undefined
          ? {}
          : { request: requestOf(request), metadataContext: {}, routeMetadataContext: {} }),
      },
    }),
  )
}

function requestOf(request: CheckedRequest) {
  const { head, protocol, startMs, body } = request
  return {
    time: timestampFromMs(startMs),
    http: {
      id: head.headers.get('x-request-id') ?? '',
      method: head.method,
      headers: headersOf(head, body),
      path: toText(head.path),
      host: toText(head.authority),
      scheme: head.scheme,
      size: sizeOf(head.headers),
      protocol,
      ...(body === undefined
        ? {}
        : body.asBytes
          ? { rawBody: body.bytes }
          : { body: bytesToText(body.bytes) }),
    },
  }
}

/** What a client says of its own about the body's completeness is not passed on. */
function headersOf(head: RequestHead, body: CheckedRequest['body']): Record<string, string> {
  // Without a prototype: `__proto__` is a header like any other, and a provider that is not shown one could be deceived.
  const headers: Record<string, string> = Object.assign(Object.create(null), {
    ':method': head.method,
    ':path': toText(head.path),
    ':authority': toText(head.authority),
    ':scheme': head.scheme,
  })
  const values = new Map<string, string[]>()
  for (const [name, value] of head.headers) {
    const others = values.get(name)
    if (others === undefined) values.set(name, [value])
    else others.push(value)
  }
  for (const [name, all] of values) headers[toText(name)] = toText(all.join(','))
  delete headers[PARTIAL_BODY]
  if (body !== undefined) headers[PARTIAL_BODY] = String(body.isPartial)
  return headers
}

function sizeOf(headers: HeaderFields): bigint {
  const length = headers.get('content-length')
  return length !== undefined && /^\d{1,15}$/.test(length) ? BigInt(length) : -1n
}

/**
 * `dynamic_metadata` is not read: nothing behind a provider looks at it.
 *
 * @throws UnreadableAnswer, or protobuf's error
 */
export function readCheckResponse(bytes: Uint8Array): CheckAnswer {
  const { status, httpResponse } = fromBinary(CheckResponseSchema, bytes, { readUnknownFields: false })
  if ((status?.code ?? 0) === 0)
    return {
      kind: 'allowed',
      edits: httpResponse.case === 'okResponse' ? readEdits(httpResponse.value) : noCheckEdits,
    }
  if (httpResponse.case === 'errorResponse')
    return { kind: 'error', reason: 'answered that it failed', reply: readReply(httpResponse.value) }
  const reply = readReply(httpResponse.case === 'deniedResponse' ? httpResponse.value : undefined)
  return { ...reply, kind: 'denied', status: reply.status ?? FORBIDDEN }
}

function readReply(told: DeniedHttpResponse | undefined): CheckReply {
  const status = told?.status?.code ?? 0
  return {
    status: status >= 200 && status <= 599 ? status : undefined,
    headers: headerEdits(told?.headers ?? []),
    body: Buffer.from(told?.body ?? '', 'utf8'),
  }
}

function readEdits(ok: OkHttpResponse): CheckEdits {
  return {
    headers: headerEdits(ok.headers),
    remove: ok.headersToRemove,
    querySet: ok.queryParametersToSet.map(({ key, value }) => [queryPart(key), queryPart(value)]),
    queryRemove: ok.queryParametersToRemove,
    response: headerEdits(ok.responseHeadersToAdd),
  }
}

function headerEdits(options: readonly HeaderValueOption[]): readonly HeaderEdit[] {
  return options.flatMap(option => {
    const { key = '', value = '', rawValue } = option.header ?? {}
    const field =
      value === '' && rawValue !== undefined ? Buffer.from(rawValue).toString('latin1') : toField(value)
    return headerEdit(key, field, howOf(option)) ?? []
  })
}

/** Set, unless it says otherwise: a header that a client sent must not stand beside the provider's. */
function howOf({ append, appendAction }: HeaderValueOption): HeaderEdit['how'] {
  if (append !== undefined) return append ? 'add' : 'set'
  switch (appendAction) {
    case 0:
    case 2:
      return 'set'
    case 1:
      return 'add-if-absent'
    case 3:
      return 'set-if-present'
    default:
      throw new UnreadableAnswer(`the answer has an unknown append_action ${appendAction}`)
  }
}
