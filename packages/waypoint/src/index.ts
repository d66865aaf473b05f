/**
 * The L7 proxy of an ambient mesh, as an object and as a program.
 * @packageDocumentation
 */
export { WaypointError, type WaypointErrorCode } from './errors.ts'
export { createWaypoint, type Waypoint, type WaypointOptions } from './waypoint.ts'
export { configFromEnvironment } from './config/environment.ts'
export type { GatewayName, TracingConfig, WaypointConfig } from './config/config.ts'
export { type RequestRecord, requestTopic } from './telemetry/records.ts'
export type { AccessEntry } from './telemetry/access-log.ts'
export type { Peers, ServiceName } from './telemetry/labels.ts'
