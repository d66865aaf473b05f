/** The facts of one proxied connection, as policy judges them and the ledger records them. */
import type { SpiffeId } from './spiffe-id.ts'
import type { Service, Workload } from './workload.ts'

export interface ConnectionSource {
  /** Canonical IP as this proxy saw it. */
  readonly address: string
  readonly port: number
  /** Proven by mTLS; `undefined` for plaintext. Never taken from a header. */
  readonly identity?: SpiffeId
  readonly workload?: Workload
}

export interface ConnectionDestination {
  /** The address that will be dialled. */
  readonly address: string
  /** The final port, after service and application-tunnel mapping. */
  readonly port: number
  readonly network: string
  readonly workload?: Workload
  readonly service?: Service
}

export interface Connection {
  /** 32 hex digits: the trace id that the tunnel carried or that we made. */
  readonly id: string
  readonly direction: 'inbound' | 'outbound'
  readonly source: ConnectionSource
  readonly destination: ConnectionDestination
}
