/** `istio.workload.Address`, the one resource type of WDS, as bytes. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { messageOf, type Service, type Workload } from '@ambient/core'
import { AddressSchema } from '../gen/workload_pb.js'
import { limits } from '../limits.ts'
import { readService, writeService } from './service.ts'
import { readWorkload, writeWorkload } from './workload.ts'
import { reject } from './parts.ts'

/** What a resource of type `istio.workload.Address` holds. */
export type AddressResource =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service }

/** A decoded resource, or why it is refused. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string }

/** Never throws: what ztunnel would refuse comes back as a reason. */
export function decodeAddress(bytes: Uint8Array): Decoded<AddressResource> {
  return decode(bytes, () => {
    const { type } = fromBinary(AddressSchema, bytes, readOptions)
    if (type.case === 'workload') return { kind: 'workload', workload: readWorkload(type.value) }
    if (type.case === 'service') return { kind: 'service', service: readService(type.value) }
    throw reject('the address is neither a workload nor a service')
  })
}

/** @throws DiscoveryError `AMBIENT_E_RESOURCE` when an address of it is no IP. */
export function encodeWorkload(workload: Workload): Uint8Array {
  return toBinary(
    AddressSchema,
    create(AddressSchema, { type: { case: 'workload', value: writeWorkload(workload) } }),
  )
}

/** @throws DiscoveryError `AMBIENT_E_RESOURCE` when an address of it is no IP. */
export function encodeService(service: Service): Uint8Array {
  return toBinary(
    AddressSchema,
    create(AddressSchema, { type: { case: 'service', value: writeService(service) } }),
  )
}

/** Unknown fields are extensions of a newer control plane: read over, not kept. */
export const readOptions = Object.freeze({ readUnknownFields: false, recursionLimit: limits.maxMessageDepth })

/** The bounds and the error translation that every resource type shares. */
export function decode<T>(bytes: Uint8Array, read: () => T): Decoded<T> {
  if (bytes.length > limits.maxResourceBytes)
    return {
      ok: false,
      reason: `the resource has ${bytes.length} bytes, more than ${limits.maxResourceBytes}`,
    }
  try {
    return { ok: true, value: read() }
  } catch (error) {
    return { ok: false, reason: messageOf(error) }
  }
}
