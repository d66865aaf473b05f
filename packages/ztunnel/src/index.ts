/**
 * The L4 node proxy of an ambient mesh, as an object and as a program.
 * @packageDocumentation
 */
export { ZtunnelError, type ZtunnelErrorCode } from './errors.ts'
export { createZtunnel, type Ztunnel, type ZtunnelOptions } from './ztunnel.ts'
export { type ConfigFiles, configFromEnvironment } from './config/environment.ts'
export type { Environment } from './config/parse.ts'
export type {
  AuthToken,
  ControlPlaneAddress,
  HboneSettings,
  IgnoredVariable,
  LocalXds,
  Ports,
  RootCa,
  WorkloadName,
  ZtunnelConfig,
} from './config/config.ts'
export { decideRoute, type Route, type RouteQuestion, type Target } from './outbound/route.ts'
export { decideTarget, type InboundQuestion, type InboundTarget } from './inbound/target.ts'
export type { Random } from './outbound/upstream.ts'
export { createMetricsRegistry, type MetricsRegistry } from './telemetry/openmetrics.ts'
export { createLogSink, type LogLevel, type LogSink, type LogSinkOptions } from './telemetry/log.ts'
