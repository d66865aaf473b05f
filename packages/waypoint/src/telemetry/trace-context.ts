/** W3C trace context: what came in, whether this trace is recorded, and what goes on. */
import { randomBytes } from 'node:crypto'

export interface TraceContext {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits; ours. */
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly isSampled: boolean
  /** Passed on as it came. */
  readonly state: string | undefined
}

export interface Sampling {
  /** Whether the caller's decision counts before our own. */
  readonly parentBased: boolean
  /** 0 to 1. */
  readonly ratio: number
}

interface Parent {
  readonly traceId: string
  readonly spanId: string
  readonly isSampled: boolean
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const NO_TRACE = '0'.repeat(32)
const NO_SPAN = '0'.repeat(16)
/** 13 hex digits are 52 bits, which a double holds exactly. */
const RATIO_DIGITS = 13

/** Continues the trace of the request, or begins one. A malformed header counts as none, as the standard says. */
export function continueTrace(
  headers: { readonly traceparent: string | undefined; readonly tracestate: string | undefined },
  sampling: Sampling,
): TraceContext {
  const parent = readTraceparent(headers.traceparent)
  const traceId = parent?.traceId ?? randomBytes(16).toString('hex')
  return {
    traceId,
    spanId: randomBytes(8).toString('hex'),
    parentSpanId: parent?.spanId,
    isSampled:
      parent !== undefined && sampling.parentBased ? parent.isSampled : isChosen(traceId, sampling.ratio),
    state: parent === undefined ? undefined : headers.tracestate,
  }
}

export function formatTraceparent({ traceId, spanId, isSampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`
}

export function readTraceparent(value: string | undefined): Parent | undefined {
  const match = TRACEPARENT.exec(value ?? '')
  if (match === null) return undefined
  const [, version = '', traceId = '', spanId = '', flags = '', rest] = match
  // Later versions may say more behind the flags, this one may not.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (traceId === NO_TRACE || spanId === NO_SPAN) return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** By the random end of the trace's id, so that every proxy of one ratio decides alike. */
function isChosen(traceId: string, ratio: number): boolean {
  return Number.parseInt(traceId.slice(-RATIO_DIGITS), 16) < ratio * 16 ** RATIO_DIGITS
}
