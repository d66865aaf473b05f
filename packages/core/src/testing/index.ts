/**
 * Fakes for tests: a clock that moves when told, channels in memory.
 * @packageDocumentation
 */
export { createManualClock, type ManualClock } from './manual-clock.ts'
export { channelPair } from './channel-pair.ts'
