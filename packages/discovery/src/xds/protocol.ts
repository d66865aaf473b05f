/** The delta ADS method as grpc-js wants it, with protobuf-es doing the bytes. */
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { MethodDefinition } from '@grpc/grpc-js'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../gen/discovery_pb.js'
import type { Node } from '../gen/node_pb.js'
import { NodeSchema } from '../gen/node_pb.js'
import { configTypes } from '../configuration/document.ts'
import { readOptions } from '../wds/address.ts'

export const ADS_SERVICE = 'envoy.service.discovery.v3.AggregatedDiscoveryService'

export const ADDRESS_TYPE = 'type.googleapis.com/istio.workload.Address'
export const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization'

/** What ztunnels ask for, in their order. */
export const ambientTypes = Object.freeze([ADDRESS_TYPE, AUTHORIZATION_TYPE] as const)
/** The types of this control plane; those after the first two are for waypoints. */
export const resourceTypes = Object.freeze([...ambientTypes, ...configTypes] as const)
export type ResourceType = (typeof resourceTypes)[number]

export function isResourceType(url: string): url is ResourceType {
  return resourceTypes.some(type => type === url)
}

/** JSON, as `google.protobuf.Struct` carries it. */
export type NodeMetadata = { readonly [key: string]: NodeValue }
export type NodeValue = string | number | boolean | null | readonly NodeValue[] | NodeMetadata

/** Who asks. */
export interface NodeInfo {
  /** `ztunnel~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local` for a ztunnel. */
  readonly id: string
  readonly cluster?: string
  readonly metadata: NodeMetadata
}

export const deltaMethod: MethodDefinition<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = {
  path: `/${ADS_SERVICE}/DeltaAggregatedResources`,
  requestStream: true,
  responseStream: true,
  requestSerialize: serializer(DeltaDiscoveryRequestSchema),
  requestDeserialize: deserializer(DeltaDiscoveryRequestSchema),
  responseSerialize: serializer(DeltaDiscoveryResponseSchema),
  responseDeserialize: deserializer(DeltaDiscoveryResponseSchema),
}

export function writeNode(node: NodeInfo): Node {
  return create(NodeSchema, { id: node.id, cluster: node.cluster ?? '', metadata: copyObject(node.metadata) })
}

export function readNode(node: Node): NodeInfo {
  return { id: node.id, cluster: node.cluster, metadata: node.metadata ?? {} }
}

/** protobuf-es takes mutable JSON; ours is readonly. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

export function copyObject(from: NodeMetadata): { [key: string]: Json } {
  return Object.fromEntries(Object.entries(from).map(([key, value]) => [key, copyValue(value)]))
}

function copyValue(value: NodeValue): Json {
  if (isList(value)) return value.map(copyValue)
  return typeof value === 'object' && value !== null ? copyObject(value) : value
}

function isList(value: NodeValue): value is readonly NodeValue[] {
  return Array.isArray(value)
}

function serializer<Desc extends DescMessage>(schema: Desc): (message: MessageShape<Desc>) => Buffer {
  return message => {
    const bytes = toBinary(schema, message)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
}

/** Resources are read later, each for itself; a response that cannot be read at all ends the stream. */
function deserializer<Desc extends DescMessage>(schema: Desc): (bytes: Buffer) => MessageShape<Desc> {
  return bytes => fromBinary(schema, bytes, readOptions)
}
