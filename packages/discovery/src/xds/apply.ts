/** One response to where it belongs, by its type: what can be read is applied, the rest is named. */
import { messageOf, type Service, type Workload } from '@ambient/core'
import type { Authorization } from '@ambient/policy'
import type { DeltaDiscoveryResponse, Resource } from '../gen/discovery_pb.js'
import type { ResourceProblem, WritableDirectory } from '../directory/directory.ts'
import { type Decoded, decodeAddress } from '../wds/address.ts'
import { decodeAuthorization } from '../wds/authorization.ts'
import { decodeDocument } from '../configuration/codec.ts'
import type { ConfigDocument, ConfigType } from '../configuration/document.ts'
import type { ConfigSink } from '../configuration/store.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from './protocol.ts'

/** Where policies go: the writing side of `PolicyStore`. */
export interface PolicySink {
  apply(update: { readonly upsert: readonly Authorization[]; readonly remove: readonly string[] }): void
}

/** Where what is delivered goes. */
export interface Sinks {
  readonly directory: WritableDirectory
  readonly policies: PolicySink
  /** Absent for who asks for no configuration. */
  readonly configuration: ConfigSink | undefined
}

export interface AppliedResponse {
  /** By resource name, in the order of the response. */
  readonly rejected: readonly ResourceProblem[]
  /** Applying broke off; how much of it was taken is not known. */
  readonly failed: boolean
}

export function applyResponse(
  type: ResourceType,
  response: DeltaDiscoveryResponse,
  { directory, policies, configuration }: Sinks,
): AppliedResponse {
  const rejected: ResourceProblem[] = []
  try {
    if (type === ADDRESS_TYPE) applyAddresses(response, directory, rejected)
    else if (type === AUTHORIZATION_TYPE) applyPolicies(response, policies, rejected)
    else applyDocuments(type, response, configuration, rejected)
    return { rejected, failed: false }
  } catch (error) {
    // A watcher failed: the response counts as refused, and is sent again on the next connection.
    const reason = messageOf(error)
    return { rejected: response.resources.map(({ name }) => ({ name, reason })), failed: true }
  }
}

function applyAddresses(
  response: DeltaDiscoveryResponse,
  directory: WritableDirectory,
  rejected: ResourceProblem[],
): void {
  const workloads: Workload[] = []
  const services: Service[] = []
  for (const resource of response.resources) {
    const value = accept(resource, decodeAddress, rejected)
    if (value?.kind === 'workload') workloads.push(value.workload)
    else if (value?.kind === 'service') services.push(value.service)
  }
  rejected.push(...directory.apply({ workloads, services, remove: response.removedResources }))
}

function applyPolicies(
  response: DeltaDiscoveryResponse,
  policies: PolicySink,
  rejected: ResourceProblem[],
): void {
  const upsert: Authorization[] = []
  for (const resource of response.resources) {
    const value = accept(resource, decodeAuthorization, rejected)
    if (value !== undefined) upsert.push(value)
  }
  const remove = response.removedResources
  if (upsert.length > 0 || remove.length > 0) policies.apply({ upsert, remove })
}

function applyDocuments(
  type: ConfigType,
  response: DeltaDiscoveryResponse,
  configuration: ConfigSink | undefined,
  rejected: ResourceProblem[],
): void {
  const upsert = new Map<string, ConfigDocument>()
  for (const resource of response.resources) {
    const value = accept(resource, decodeDocument, rejected)
    if (value !== undefined) upsert.set(resource.name, value)
  }
  const remove = response.removedResources
  if (configuration !== undefined && (upsert.size > 0 || remove.length > 0))
    rejected.push(...configuration.apply(type, { upsert, remove }))
}

function accept<T>(
  { name, resource }: Resource,
  read: (bytes: Uint8Array) => Decoded<T>,
  rejected: ResourceProblem[],
): T | undefined {
  const result: Decoded<T> =
    resource === undefined ? { ok: false, reason: 'the resource is empty' } : read(resource.value)
  if (result.ok) return result.value
  rejected.push({ name, reason: result.reason })
  return undefined
}
