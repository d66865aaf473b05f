/** SETTINGS (RFC 9113 §6.5): what the peer asks of us, and what we ask of it. */
import type { HboneLimits } from '../limits.ts'
import { SETTING, violation } from './codes.ts'
import { DEFAULT_WINDOW, MAX_WINDOW } from './flow.ts'
import { readUint16, readUint32, writeUint32 } from './frame.ts'

/** Entries of one frame that are looked at; more is an attempt to keep us busy. */
const MAX_ENTRIES = 64
const MIN_FRAME_BYTES = 16_384
const MAX_FRAME_BYTES = 16_777_215

export interface PeerSettings {
  readonly initialWindowSize: number
  readonly maxFrameSize: number
  readonly maxConcurrentStreams: number
  readonly headerTableSize: number
}

/** Before the peer's SETTINGS: the RFC's values, and 100 streams, the least that it recommends. */
export const initialPeerSettings: PeerSettings = Object.freeze({
  initialWindowSize: DEFAULT_WINDOW,
  maxFrameSize: MIN_FRAME_BYTES,
  maxConcurrentStreams: 100,
  headerTableSize: 4_096,
})

/** @throws HboneError for a value that the RFC forbids. */
export function readSettings(payload: Uint8Array, before: PeerSettings, fromServer: boolean): PeerSettings {
  if (payload.length % 6 !== 0) throw violation('FRAME_SIZE_ERROR', 'SETTINGS length is no multiple of 6')
  if (payload.length / 6 > MAX_ENTRIES) throw violation('ENHANCE_YOUR_CALM', 'SETTINGS with too many entries')
  let { initialWindowSize, maxFrameSize, maxConcurrentStreams, headerTableSize } = before
  for (let at = 0; at < payload.length; at += 6) {
    const value = readUint32(payload, at + 2)
    switch (readUint16(payload, at)) {
      case SETTING.headerTableSize:
        headerTableSize = value
        break
      case SETTING.enablePush:
        if (value > 1 || (fromServer && value === 1))
          throw violation('PROTOCOL_ERROR', `SETTINGS_ENABLE_PUSH is ${value}`)
        break
      case SETTING.maxConcurrentStreams:
        maxConcurrentStreams = value
        break
      case SETTING.initialWindowSize:
        if (value > MAX_WINDOW)
          throw violation('FLOW_CONTROL_ERROR', 'SETTINGS_INITIAL_WINDOW_SIZE is too large')
        initialWindowSize = value
        break
      case SETTING.maxFrameSize:
        if (value < MIN_FRAME_BYTES || value > MAX_FRAME_BYTES)
          throw violation('PROTOCOL_ERROR', `SETTINGS_MAX_FRAME_SIZE is ${value}`)
        maxFrameSize = value
        break
      default:
        break
    }
  }
  return { initialWindowSize, maxFrameSize, maxConcurrentStreams, headerTableSize }
}

/** The payload of our own SETTINGS. */
export function ownSettings(role: 'client' | 'server', limits: HboneLimits): Uint8Array {
  const common: [number, number][] = [
    [SETTING.initialWindowSize, limits.streamWindowBytes],
    [SETTING.maxFrameSize, limits.maxFrameBytes],
  ]
  const list: [number, number][] =
    role === 'client'
      ? [[SETTING.enablePush, 0], ...common, [SETTING.maxHeaderListSize, limits.maxResponseHeaderBytes]]
      : [
          [SETTING.maxConcurrentStreams, limits.maxConcurrentStreams],
          ...common,
          [SETTING.maxHeaderListSize, limits.maxRequestHeaderBytes],
        ]
  const payload = new Uint8Array(list.length * 6)
  for (const [index, [id, value]] of list.entries()) {
    payload[index * 6 + 1] = id
    writeUint32(payload, index * 6 + 2, value)
  }
  return payload
}
