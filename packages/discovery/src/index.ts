/**
 * Where everything is: resources from manifests or a control plane, as workloads, services and policies.
 * @packageDocumentation
 */
export { DiscoveryError, type DiscoveryErrorCode } from './errors.ts'
export {
  createDirectory,
  type DirectoryOptions,
  type DirectorySnapshot,
  type DirectoryUpdate,
  type ResourceProblem,
  type WritableDirectory,
} from './directory/directory.ts'
export {
  type AddressResource,
  decodeAddress,
  type Decoded,
  encodeService,
  encodeWorkload,
} from './wds/address.ts'
export { decodeAuthorization, encodeAuthorization } from './wds/authorization.ts'
export {
  ADDRESS_TYPE,
  ADS_SERVICE,
  AUTHORIZATION_TYPE,
  type NodeInfo,
  type NodeMetadata,
  type NodeValue,
  type ResourceType,
} from './xds/protocol.ts'
export {
  adsServerOptions,
  type AdsService,
  type AdsServiceOptions,
  type ClientStatus,
  createAdsService,
  type PublishResult,
} from './xds/ads-service.ts'
export type { AdsAuthorization, AdsCaller } from './xds/ads-stream.ts'
export type { SubscriptionStatus } from './xds/subscription.ts'
export {
  type AdsClient,
  type AdsClientOptions,
  type AdsClientStatus,
  type AdsTypeStatus,
  createAdsClient,
} from './xds/ads-client.ts'
export type { PolicySink } from './xds/apply.ts'
export {
  type ConfigDocument,
  type ConfigType,
  type Configuration,
  configTypes,
  noConfiguration,
} from './configuration/document.ts'
export {
  type ConfigSink,
  type ConfigStore,
  type ConfigUpdate,
  createConfigStore,
  type WritableConfigStore,
} from './configuration/store.ts'
export type { AmbientState } from './ambient/state.ts'
export { appProtocolOf } from './ambient/app-protocols.ts'
export { isEnrolled } from './ambient/enrolment.ts'
export { type DeriveInput, deriveAmbient } from './ambient/derive.ts'
export type { PodStatus } from './ambient/pod-status.ts'
export {
  formatProblems,
  type ManifestFile,
  type Manifests,
  readManifests,
  type ReadManifestsOptions,
} from './manifests/read-manifests.ts'
export {
  type FolderWatch,
  readManifestFolder,
  watchManifestFolder,
  type WatchFolderOptions,
} from './manifests/folder.ts'
export type {
  BackendRef,
  HttpBackendRef,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteResource,
  HttpRouteRetry,
  HttpRouteRule,
  HttpValueMatch,
  ParentRef,
  PathModifier,
} from './resources/http-route-types.ts'
export type {
  VirtualServiceAction,
  VirtualServiceDestination,
  VirtualServiceFault,
  VirtualServiceHttpRoute,
  VirtualServiceMatch,
  VirtualServiceResource,
  VirtualServiceRetries,
  VirtualServiceRewrite,
  VirtualServiceRouteDestination,
  VirtualServiceTcpMatch,
  VirtualServiceTcpRoute,
} from './resources/virtual-service-types.ts'
export type {
  ConnectionPool,
  DestinationRuleResource,
  SimpleLoadBalancer,
  Subset,
  TrafficPolicy,
  TrafficPolicyGroups,
} from './resources/destination-rule-types.ts'
export {
  type AllowedNamespaces,
  type GatewayListener,
  type GatewayResource,
  isWaypoint,
  WAYPOINT_CLASS,
  type WaypointFor,
} from './resources/gateway-types.ts'
export type {
  ConfigurationObject,
  CorsPolicy,
  HeaderModifier,
  HeaderOperations,
  HeaderValue,
  NamedMatch,
  ValueMatch,
} from './resources/traffic-types.ts'
export { actedKindNames, readOne } from './resources/read-one.ts'
export { fullHostname, hostMatches } from './resources/hostnames.ts'
export {
  type Attachment,
  attach,
  effectiveReference,
  gatewayNameLabel,
  useWaypointLabel,
  useWaypointNamespaceLabel,
  type WaypointName,
} from './resources/use-waypoint.ts'
export type { JsonObject, JsonValue } from './resources/json.ts'
export {
  type Container,
  type ContainerPort,
  type DeploymentResource,
  type EnvironmentVariable,
  type IpFamily,
  type KubernetesObject,
  type MeshConfigResource,
  type NamespaceResource,
  type NodeResource,
  noResources,
  type PodField,
  type PodResource,
  type PodSpec,
  type PodTemplate,
  type ReadinessProbe,
  type Resources,
  type RestartPolicy,
  type ServiceAccountResource,
  type ServicePort,
  type ServiceResource,
  type ServiceType,
  type TransportProtocol,
} from './resources/types.ts'
export { applyLocalConfig, type LocalConfig, readLocalConfig } from './local/local-config.ts'
