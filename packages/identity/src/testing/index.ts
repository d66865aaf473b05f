/**
 * Identities for tests: a CA in memory and credentials from it, without timers or sockets.
 * @packageDocumentation
 */
export {
  createTestIdentities,
  type TestCredentialsSource,
  type TestIdentities,
  type TestIdentitiesOptions,
  type TestIdentity,
} from './test-identities.ts'
