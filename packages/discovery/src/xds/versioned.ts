/** What our server serves: every resource of a type with its bytes and a version that is the hash of them. */
import { createHash } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { messageOf } from '@ambient/core'
import { type Resource, ResourceSchema } from '../gen/discovery_pb.js'
import { limits } from '../limits.ts'
import type { ResourceProblem } from '../directory/directory.ts'

/** Hex digits of a SHA-256 that stand for a version; collisions among versions of one name do not happen. */
const VERSION_CHARS = 16

export interface VersionedResource {
  readonly name: string
  readonly version: string
  readonly bytes: number
  readonly resource: Resource
}

export type ResourceSet = ReadonlyMap<string, VersionedResource>

/** A type as it was last published. */
export interface PublishedType {
  readonly set: ResourceSet
  /** Hash of all names and versions. */
  readonly version: string
}

/** What a client lacks: resources to send and names to take away. */
export interface Difference {
  readonly changed: readonly VersionedResource[]
  readonly removed: readonly string[]
  /** The byte limit was reached: another response has to follow. */
  readonly partial: boolean
}

/**
 * Encodes a type's resources; one that is unchanged by identity is not encoded again. A resource that cannot be sent
 * is a problem and keeps its last good version.
 * @param type of the message in each resource; for configuration it is not the type that clients ask for.
 */
export function createEncoder<T extends object>(
  type: string,
  encode: (value: T) => Uint8Array,
): (values: ReadonlyMap<string, T>, previous: ResourceSet) => EncodeResult {
  const cache = new WeakMap<T, VersionedResource>()
  return (values, previous) => {
    const set = new Map<string, VersionedResource>()
    const problems: ResourceProblem[] = []
    for (const [name, value] of values) {
      const cached = cache.get(value)
      const result = cached?.name === name ? cached : encodeOne(type, name, value, encode)
      if (typeof result !== 'string') {
        cache.set(value, result)
        set.set(name, result)
        continue
      }
      problems.push({ name, reason: result })
      const last = previous.get(name)
      if (last !== undefined) set.set(name, last)
    }
    return { set, problems }
  }
}

export interface EncodeResult {
  readonly set: ResourceSet
  readonly problems: readonly ResourceProblem[]
}

/** Compares what a client has with what it should have. */
export function difference(sent: ReadonlyMap<string, string>, target: ResourceSet): Difference {
  const removed = [...sent.keys()].filter(name => !target.has(name))
  const changed: VersionedResource[] = []
  let bytes = 0
  for (const resource of target.values()) {
    if (sent.get(resource.name) === resource.version) continue
    if (changed.length > 0 && bytes + resource.bytes > limits.maxPushBytes)
      return { changed, removed, partial: true }
    bytes += resource.bytes
    changed.push(resource)
  }
  return { changed, removed, partial: false }
}

function encodeOne<T>(
  type: string,
  name: string,
  value: T,
  encode: (value: T) => Uint8Array,
): VersionedResource | string {
  try {
    const bytes = encode(value)
    if (bytes.length > limits.maxResourceBytes)
      return `the resource has ${bytes.length} bytes, more than ${limits.maxResourceBytes}`
    const version = createHash('sha256').update(bytes).digest('hex').slice(0, VERSION_CHARS)
    const resource = create(ResourceSchema, {
      name,
      version,
      resource: create(AnySchema, { typeUrl: type, value: bytes }),
    })
    return { name, version, bytes: bytes.length + name.length + 128, resource }
  } catch (error) {
    return messageOf(error)
  }
}
