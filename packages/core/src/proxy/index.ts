/**
 * What every proxy process has: log lines, metrics as OpenMetrics text, admin, statistics and readiness endpoints, and
 * the reading of its environment. Runs on Node.
 * @packageDocumentation
 */
export { adminHandler, type AdminOptions } from './admin.ts'
export {
  type DumpedCertificate,
  type DumpedIdentity,
  dumpCertificates,
  type ShownIdentity,
} from './certificates.ts'
export {
  type AuthToken,
  type ConfigFiles,
  type ControlPlaneAddress,
  controlPlaneClient,
  readAuthToken,
  readControlPlane,
  type RootCa,
  withScheme,
} from './control-plane.ts'
export { createEndpoints, type EndpointKind, type ProxyEndpoints } from './endpoints.ts'
export {
  boolean,
  durationMs,
  type Environment,
  integer,
  invalid,
  ipAddress,
  oneOf,
  prefixed,
  readDurationMs,
  text,
} from './environment.ts'
export {
  type HttpAnswer,
  type HttpHandler,
  type HttpListener,
  type HttpRequest,
  isLocalRequest,
  serveHttp,
} from './http.ts'
export { createProxyLife, type ProxyLife } from './life.ts'
export { createLifeline, type Lifeline } from './lifeline.ts'
export {
  Bare,
  createLogSink,
  formatLine,
  type LogLevel,
  type LogSink,
  type LogSinkOptions,
} from './log-sink.ts'
export { createMetricsRegistry, type MetricsRegistry } from './openmetrics.ts'
export {
  partyOf,
  type Party,
  type PartyBaggage,
  sourceLabelNames,
  sourceLabels,
  unknownParty,
} from './party.ts'
export { type ProxyProgram, type RunnableProxy, runProxyProgram } from './program.ts'
export { createReadiness, type Readiness, readinessHandler } from './readiness.ts'
export { type HeldCertificate, registerCertificateExpiry } from './certificate-expiry.ts'
export { registerProcessMetrics, statsHandler } from './stats.ts'
export { workloadIdentity } from './workload-identity.ts'
