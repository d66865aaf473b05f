/** Configuration objects on their way to a waypoint: which kinds there are, and what each carries. */
import { type ObjectMeta, toManifest } from '@ambient/policy'
import { type JsonObject, toJsonValue, isJsonObject } from '../resources/json.ts'
import type { ConfigurationObject } from '../resources/traffic-types.ts'
import type { Resources } from '../resources/types.ts'

/** What has to be known before a service or a route that depends on it: policies first of all. */
export const supportingTypes = Object.freeze([
  'core/v1/ConfigMap',
  'security.istio.io/v1/AuthorizationPolicy',
  'security.istio.io/v1/RequestAuthentication',
  'gateway.networking.k8s.io/v1/Gateway',
  'core/v1/Pod',
  'networking.istio.io/v1/DestinationRule',
] as const)

/** What leads to services. */
export const routeTypes = Object.freeze([
  'networking.istio.io/v1/VirtualService',
  'gateway.networking.k8s.io/v1/HTTPRoute',
] as const)

/**
 * Type URLs, as istiod's `api` generator has them; `core/v1/Pod` carries labels only, `core/v1/ConfigMap` the mesh's
 * configuration.
 */
export const configTypes = Object.freeze([...supportingTypes, ...routeTypes] as const)
export type ConfigType = (typeof configTypes)[number]

export function isConfigType(type: string): type is ConfigType {
  return configTypes.some(known => known === type)
}

export interface ConfigDocument {
  readonly metadata: ObjectMeta
  readonly spec: JsonObject
}

/** By type, then by `namespace/name`. */
export type Configuration = ReadonlyMap<ConfigType, ReadonlyMap<string, ConfigDocument>>

/** A pod, as far as subsets look at it. */
export interface LabelledPod {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

export const noConfiguration: Configuration = new Map()

/** What waypoints are told of these resources. Policies without `targetRefs` are ztunnels' alone. */
export function configurationOf(resources: Resources, pods: readonly LabelledPod[]): Configuration {
  const policies = resources.authorizationPolicies
    .filter(hasTargets)
    .map(({ metadata, spec }) => ({ metadata, spec: jsonOf(spec) }))
  const authentications = resources.requestAuthentications
    .filter(hasTargets)
    .map(document => ({ metadata: document.metadata, spec: jsonOf(toManifest(document).spec) }))
  return new Map([
    ['networking.istio.io/v1/VirtualService', written(resources.virtualServices)],
    ['networking.istio.io/v1/DestinationRule', written(resources.destinationRules)],
    ['gateway.networking.k8s.io/v1/HTTPRoute', written(resources.httpRoutes)],
    ['gateway.networking.k8s.io/v1/Gateway', written(resources.gateways)],
    ['security.istio.io/v1/AuthorizationPolicy', byName(policies)],
    ['security.istio.io/v1/RequestAuthentication', byName(authentications)],
    [
      'core/v1/ConfigMap',
      byName(resources.meshConfigs.map(({ metadata, text }) => ({ metadata, spec: { mesh: text } }))),
    ],
    ['core/v1/Pod', byName(pods.map(podDocument))],
  ])
}

function hasTargets({ spec }: { readonly spec: { readonly targetRefs?: readonly unknown[] } }): boolean {
  return (spec.targetRefs?.length ?? 0) > 0
}

function podDocument({ namespace, name, labels }: LabelledPod): ConfigDocument {
  return { metadata: { namespace, name, labels, annotations: {} }, spec: {} }
}

function written(objects: readonly ConfigurationObject[]): ReadonlyMap<string, ConfigDocument> {
  return byName(objects.map(({ metadata, written: spec }) => ({ metadata, spec })))
}

function byName(documents: readonly ConfigDocument[]): ReadonlyMap<string, ConfigDocument> {
  return new Map(
    documents.map(document => [`${document.metadata.namespace}/${document.metadata.name}`, document]),
  )
}

function jsonOf(value: unknown): JsonObject {
  const json = toJsonValue(value)
  return isJsonObject(json) ? json : {}
}
