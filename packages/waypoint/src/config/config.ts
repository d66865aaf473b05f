/** The resolved configuration of a waypoint: frozen, every field present. */
import type { MeshConfig } from '@ambient/policy'
import type { AuthToken, ControlPlaneAddress } from '@ambient/core/proxy'
import type { JwksConfig } from './jwks.ts'

/** The Gateway that this process serves. */
export interface GatewayName {
  readonly namespace: string
  readonly name: string
}

export interface TracingConfig {
  /** Where spans are posted; `undefined`: no spans are made, trace headers pass unchanged. */
  readonly endpoint: string | undefined
  /** Sent with each batch; may hold credentials, so never part of a dump. */
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMs: number
  readonly maxQueuedSpans: number
  readonly maxBatchSpans: number
  readonly batchDelayMs: number
  /** Whether the caller's decision counts before our own. */
  readonly parentBased: boolean
  /** Of the traces that nobody has decided on: 0 to 1. */
  readonly ratio: number
  readonly serviceName: string
  readonly resourceAttributes: Readonly<Record<string, string>>
}

export interface WaypointConfig {
  readonly gateway: GatewayName
  readonly nodeName: string
  readonly network: string
  readonly clusterId: string
  readonly clusterDomain: string
  readonly trustDomain: string
  readonly rootNamespace: string
  readonly instanceIp: string
  readonly ipv6Enabled: boolean
  readonly podName: string
  readonly serviceAccount: string
  readonly ports: {
    readonly hbone: number
    readonly admin: number
    readonly stats: number
    readonly readiness: number
  }
  readonly xds: ControlPlaneAddress
  readonly ca: ControlPlaneAddress
  /** `unix:///PATH` or `tcp://IP:PORT`: the certificate comes from this SPIFFE Workload API, and no CA is asked. */
  readonly workloadApi: string | undefined
  readonly authToken: AuthToken
  /** A file of certificate revocation lists; `require` refuses whom no list in force speaks of. */
  readonly crl: { readonly path: string; readonly mode: 'allow-unknown' | 'require' } | undefined
  /** What the mesh says of itself, where no control plane says it. */
  readonly meshConfig: MeshConfig | undefined
  /** Whether the policies of one target may ask several providers. */
  readonly severalProviders: boolean
  readonly jwks: JwksConfig
  readonly secretTtlMs: number
  readonly drainMs: number
  readonly accessLog: 'text' | 'json' | 'off'
  readonly log: { readonly filter: string; readonly format: 'plain' | 'json' }
  readonly tracing: TracingConfig
  readonly version: string
  /** Node metadata for the control plane. */
  readonly metadata: Readonly<Record<string, string>>
}
