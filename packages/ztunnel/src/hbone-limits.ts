/** The environment's HBONE settings in the words of `@ambient/hbone`. */
import type { HboneLimits } from '@ambient/hbone'
import type { ZtunnelConfig } from './config/config.ts'

export function hboneLimits({ hbone }: Pick<ZtunnelConfig, 'hbone'>): Partial<HboneLimits> {
  return {
    maxStreamWindowBytes: hbone.streamWindowBytes,
    connectionWindowBytes: hbone.connectionWindowBytes,
    maxFrameBytes: hbone.frameBytes,
    poolStreams: hbone.maxStreamsPerConnection,
    idleMs: hbone.idleTimeoutMs,
  }
}
