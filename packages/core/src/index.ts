/**
 * The nouns and contracts of an ambient mesh. Free of platform imports; Node's sockets are in `@ambient/core/node`.
 * @packageDocumentation
 */
export {
  AmbientError,
  type AmbientErrorOptions,
  CoreError,
  type CoreErrorCode,
  isAmbientError,
  type Layer,
  messageOf,
} from './errors.ts'
export {
  parseSpiffeId,
  parseTrustDomain,
  readSpiffeId,
  readTrustDomain,
  sameSpiffeId,
  type SpiffeId,
  type SpiffeIdCode,
  spiffeIdOf,
  type SpiffeIdProblem,
  type SpiffeIdResult,
  spiffeIdWithPath,
  trustDomainProblem,
  type TrustDomainResult,
  type WorkloadIdentity,
  workloadIdentityOf,
  workloadSpiffeId,
} from './spiffe-id.ts'
export {
  canonicalIp,
  type Cidr,
  cidrContains,
  formatCidr,
  ipFromBytes,
  ipToBytes,
  isLoopback,
  parseCidr,
} from './address.ts'
export {
  formatHostPort,
  type HostPort,
  type HostPortResult,
  parseHostPort,
  readHostPort,
} from './host-port.ts'
export {
  type ApplicationTunnel,
  type AppProtocol,
  type CidrVip,
  type GatewayAddress,
  identityOf,
  type LoadBalancing,
  type LoadBalancingMode,
  type LoadBalancingScope,
  type Locality,
  type NamespacedHostname,
  type NetworkAddress,
  type NetworkMode,
  type PortMap,
  type Service,
  serviceKey,
  type TunnelProtocol,
  type WeightedWaypoint,
  type Workload,
  type WorkloadStatus,
  type WorkloadType,
} from './workload.ts'
export type { Directory, DirectoryChange, Endpoint } from './directory.ts'
export type {
  Credentials,
  CredentialsSource,
  PeerExpectation,
  PeerProblem,
  PeerVerdict,
} from './credentials.ts'
export type { Connection, ConnectionDestination, ConnectionSource } from './connection.ts'
export type { Admission, Authorizer, Decision, Denial, Permit, PolicyRule } from './authorizer.ts'
export { type Clock, systemClock, type Timer } from './clock.ts'
export type { Channel, ChannelEvents, ChannelReset, ResetCode } from './channel.ts'
export { type ByteCounts, pump, type PumpEnding, type PumpOptions, type PumpResult } from './pump.ts'
export { createDrain, type Drain, type DrainLease, type DrainResult } from './drain.ts'
export { type Logger, type LogFields, silentLogger } from './log.ts'
export { escapeUnseen, quoteText } from './quote.ts'
export {
  type ConnectionRecord,
  type Counter,
  createTopic,
  type Gauge,
  type Histogram,
  type HistogramOptions,
  type InstrumentOptions,
  type LabelValues,
  type Meter,
  noMeter,
  type PolicyDecisionMessage,
  type ResponseFlag,
  type Topic,
  type TopicListener,
  topics,
} from './telemetry.ts'
export { wordsFor } from './found.ts'
