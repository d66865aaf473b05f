/**
 * A configuration object as `istio.mcp.v1alpha1.Resource`. The body is a `google.protobuf.Struct` with the fields of the
 * document, where istiod has the typed message.
 */
import { create, fromBinary, fromJson, toBinary, toJson } from '@bufbuild/protobuf'
import { anyPack, anyUnpack, StructSchema, timestampDate, timestampFromMs } from '@bufbuild/protobuf/wkt'
import { MetadataSchema, ResourceSchema } from '../gen/mcp_pb.js'
import { isJsonObject, toJsonValue } from '../resources/json.ts'
import { decode, type Decoded, readOptions } from '../wds/address.ts'
import { reject } from '../wds/parts.ts'
import { copyObject } from '../xds/protocol.ts'
import type { ConfigDocument } from './document.ts'

/** The type of the envelope inside of a delta response. */
export const MCP_RESOURCE = 'type.googleapis.com/istio.mcp.v1alpha1.Resource'

export function encodeDocument({ metadata, spec }: ConfigDocument): Uint8Array {
  const { namespace, name, labels, annotations, creationTimestamp } = metadata
  return toBinary(
    ResourceSchema,
    create(ResourceSchema, {
      metadata: create(MetadataSchema, {
        name: `${namespace}/${name}`,
        labels: { ...labels },
        annotations: { ...annotations },
        ...(creationTimestamp !== undefined && { createTime: timestampFromMs(creationTimestamp) }),
      }),
      body: anyPack(StructSchema, fromJson(StructSchema, copyObject(spec))),
    }),
  )
}

/** Never throws: what cannot be read comes back as a reason. */
export function decodeDocument(bytes: Uint8Array): Decoded<ConfigDocument> {
  return decode(bytes, () => {
    const { metadata, body } = fromBinary(ResourceSchema, bytes, readOptions)
    const [namespace, name, more] = (metadata?.name ?? '').split('/')
    if (metadata === undefined || !namespace || !name || more !== undefined)
      throw reject('the object has no name of the form namespace/name')
    const struct = body === undefined ? undefined : anyUnpack(body, StructSchema)
    if (struct === undefined) throw reject('the body is not a google.protobuf.Struct')
    const spec = toJsonValue(toJson(StructSchema, struct))
    return {
      metadata: {
        namespace,
        name,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ...(metadata.createTime && { creationTimestamp: timestampDate(metadata.createTime).getTime() }),
      },
      spec: isJsonObject(spec) ? spec : {},
    }
  })
}
