/**
 * Room 15, the ledger: typed diagnostics topics, the connection record and the `Meter` contract. Publishing costs one
 * property read when nobody listens.
 */
import type { Connection } from './connection.ts'
import type { Denial } from './authorizer.ts'

export type TopicListener<T> = (message: T) => void

/**
 * A named topic. On Node it is the `diagnostics_channel` of that name, so any subscriber of the platform sees it;
 * elsewhere it works within this module.
 */
export interface Topic<T> {
  readonly name: string
  readonly hasSubscribers: boolean
  /** Never throws. Guard with `hasSubscribers` when the message costs something to build. */
  publish(message: T): void
  /** Returns the function that unsubscribes. */
  subscribe(listener: TopicListener<T>): () => void
}

/** The part of `node:diagnostics_channel` that a topic needs. */
interface PlatformChannel {
  readonly hasSubscribers: boolean
  publish(message: unknown): void
  subscribe(listener: (message: unknown, name: string | symbol) => void): void
  unsubscribe(listener: (message: unknown, name: string | symbol) => void): boolean
}

export type ResponseFlag =
  | '-'
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED'

/** Exactly one per connection, published when it ends. */
export interface ConnectionRecord {
  readonly connection: Connection
  readonly securityPolicy: 'mutual_tls' | 'unknown'
  /** Client to server. */
  readonly receivedBytes: number
  /** Server to client. */
  readonly sentBytes: number
  readonly durationMs: number
  readonly flag: ResponseFlag
  /** Why it failed, in ztunnel's words where it has them; absent on success. */
  readonly error?: string
  /** The denial behind `flag: 'DENY'`. */
  readonly denial?: Denial
}

export interface PolicyDecisionMessage {
  readonly connection: Connection
  readonly allowed: boolean
  readonly reason: string
  readonly policy?: string
  readonly rule?: number
}

/** Label values in the order of the instrument's label names. An array that was given once never changes. */
export type LabelValues = readonly string[]

export interface Counter {
  add(amount: number, labels: LabelValues): void
}

export interface Gauge {
  set(value: number, labels: LabelValues): void
  add(amount: number, labels: LabelValues): void
  /** The series is shown no more: what it was about is gone. */
  remove(labels: LabelValues): void
}

export interface InstrumentOptions {
  /** Without the `_total` suffix that the text format adds to counters. */
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
}

export interface Histogram {
  record(value: number, labels: LabelValues): void
}

export interface HistogramOptions extends InstrumentOptions {
  /** Upper bounds, ascending, without the last one, which is infinite. Default: Envoy's. */
  readonly buckets?: readonly number[]
}

/** Where numbers go. `@ambient/core/proxy` implements it as OpenMetrics text. */
export interface Meter {
  counter(options: InstrumentOptions): Counter
  gauge(options: InstrumentOptions): Gauge
  histogram(options: HistogramOptions): Histogram
}

/** A meter that measures nothing. */
export const noMeter: Meter = Object.freeze({
  counter: () => ({ add() {} }),
  gauge: () => ({ set() {}, add() {}, remove() {} }),
  histogram: () => ({ record() {} }),
})

export function createTopic<T>(name: string): Topic<T> {
  const platform = platformChannel(name)
  return platform === undefined ? localTopic(name) : platformTopic(name, platform)
}

/** The topics of every ambient proxy. */
export const topics = Object.freeze({
  /** A connection ended. */
  connection: createTopic<ConnectionRecord>('ambient:connection'),
  /** A policy decision was taken. */
  decision: createTopic<PolicyDecisionMessage>('ambient:policy:decision'),
})

function platformTopic<T>(name: string, channel: PlatformChannel): Topic<T> {
  return {
    name,
    get hasSubscribers() {
      return channel.hasSubscribers
    },
    publish(message) {
      channel.publish(message)
    },
    subscribe(listener) {
      const onMessage = (message: unknown): void => listener(message as T)
      channel.subscribe(onMessage)
      return () => void channel.unsubscribe(onMessage)
    },
  }
}

function localTopic<T>(name: string): Topic<T> {
  const listeners = new Set<TopicListener<T>>()
  return {
    name,
    get hasSubscribers() {
      return listeners.size > 0
    },
    publish(message) {
      for (const listener of listeners) {
        try {
          listener(message)
        } catch {
          // A subscriber's mistake is not the connection's.
        }
      }
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

/** Asks the platform, without importing it: browsers have no `process`. */
function platformChannel(name: string): PlatformChannel | undefined {
  const host = (globalThis as { process?: { getBuiltinModule?: (id: string) => unknown } }).process
  const module = host?.getBuiltinModule?.('node:diagnostics_channel') as
    | { channel(name: string): PlatformChannel }
    | undefined
  return module?.channel(name)
}
