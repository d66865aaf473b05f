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
export type { AmbientState } from './ambient/state.ts'
