/** Names and numbers of RFC 9113: frame types, flags, settings, error codes. */
import { HboneError } from '../errors.ts'

export const FRAME = Object.freeze({
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
})

export const FLAG = Object.freeze({ endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 })

export const SETTING = Object.freeze({
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
})

const ERROR_NAMES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
] as const

export type H2Code = (typeof ERROR_NAMES)[number]

/** The name of an error code as received; unknown ones keep their number. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `UNKNOWN_${code}`
}

export function errorNumber(name: H2Code): number {
  return ERROR_NAMES.indexOf(name)
}

/** A connection error: the peer broke a rule that ends the session. */
export function violation(code: H2Code, reason: string): HboneError {
  return new HboneError('AMBIENT_E_HBONE_PROTOCOL', reason, { h2Code: code })
}

/** The code to put into GOAWAY for whatever ended the session. */
export function codeOf(error: unknown): H2Code {
  const name = error instanceof HboneError ? error.h2Code : undefined
  return ERROR_NAMES.find(candidate => candidate === name) ?? 'INTERNAL_ERROR'
}
