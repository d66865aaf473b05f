/** One tunnel that was let in: who calls, and what they asked for. Carried along by every room behind the hall. */
import type { AppProtocol, Service, SpiffeId, Workload } from '@ambient/core'

/** The proven caller of a tunnel. Nothing here comes from a header of the request inside. */
export interface Caller {
  /** Canonical IP of the HBONE connection: the calling workload, where its ztunnel keeps the source address. */
  readonly address: string
  readonly port: number
  readonly identity: SpiffeId
  /** By address, when the directory knows it. */
  readonly workload?: Workload
}

/** What the authority of the CONNECT named, when this waypoint answers for it. */
export type ServedTarget =
  | {
      readonly kind: 'service'
      readonly service: Service
      /** Service port. */
      readonly port: number
      /** `undefined`: the service does not say, so the first bytes decide. */
      readonly protocol: AppProtocol | undefined
    }
  | { readonly kind: 'workload'; readonly workload: Workload; readonly port: number }

export interface InboundStream {
  readonly caller: Caller
  readonly target: ServedTarget
  /** `:authority` of the CONNECT: the original destination, `IP:PORT`. */
  readonly authority: string
  /** The original destination. */
  readonly destination: { readonly address: string; readonly port: number }
  /** Of the CONNECT: who the caller's ztunnel says it is. For telemetry only. */
  readonly baggage: string | undefined
  readonly traceparent: string | undefined
}
