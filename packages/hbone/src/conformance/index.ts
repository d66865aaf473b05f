/**
 * How well an HBONE peer keeps the rules of `docs/hbone.md`, and the engine without TLS for tools that test HTTP/2.
 * @packageDocumentation
 */
export {
  createPlaintextServer,
  type PlaintextRequest,
  type PlaintextServer,
  type PlaintextServerOptions,
} from './plaintext-server.ts'
export { type ClientConformanceOptions, clientCases, runClientConformance } from './run-client.ts'
export { runServerConformance, serverCases, type ServerConformanceOptions } from './run-server.ts'
export type { ConformanceCase, ConformanceLevel, ConformanceResult } from './verdict.ts'
