/**
 * The L4 node proxy of an ambient mesh, as an object and as a program.
 * @packageDocumentation
 */
export { ZtunnelError, type ZtunnelErrorCode } from './errors.ts'
export { createZtunnel, type Ztunnel, type ZtunnelOptions } from './ztunnel.ts'
export { configFromEnvironment } from './config/environment.ts'
export type {
  HboneSettings,
  IgnoredVariable,
  LocalXds,
  Ports,
  WorkloadName,
  ZtunnelConfig,
} from './config/config.ts'
export { decideRoute, type Route, type RouteQuestion, type Target } from './outbound/route.ts'
export { decideTarget, type InboundQuestion, type InboundTarget } from './inbound/target.ts'
export type { Random } from './outbound/upstream.ts'
