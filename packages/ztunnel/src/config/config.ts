/** The resolved configuration of a ztunnel: frozen, every field present. */
import type { AuthToken, ControlPlaneAddress } from '@ambient/core/proxy'

export interface WorkloadName {
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
}

export type LocalXds = { readonly file: string; readonly text: string }

export interface Ports {
  readonly outbound: number
  readonly inboundPlaintext: number
  readonly inboundHbone: number
  readonly socks5: number
  readonly admin: number
  readonly stats: number
  readonly readiness: number
}

export interface HboneSettings {
  readonly streamWindowBytes: number
  readonly connectionWindowBytes: number
  readonly frameBytes: number
  readonly maxStreamsPerConnection: number
  readonly idleTimeoutMs: number
}

export interface ZtunnelConfig {
  readonly mode: 'shared' | 'dedicated'
  readonly proxyEnabled: boolean
  /** Dedicated mode: the one workload. */
  readonly proxyWorkload: WorkloadName | undefined
  /** Empty: every workload counts as local. */
  readonly nodeName: string
  readonly network: string
  readonly clusterId: string
  readonly clusterDomain: string
  readonly trustDomain: string
  readonly instanceIp: string
  readonly podName: string
  readonly podNamespace: string
  readonly serviceAccount: string
  readonly ipv6Enabled: boolean
  /** Deliver to applications from the client's address where the system lets us. */
  readonly originalSource: boolean
  readonly ports: Ports
  readonly socks5: {
    readonly enabled: boolean
    /** Rootless shared mode: one file per workload with the secret that proves it. */
    readonly secretsDir: string | undefined
  }
  /** Rootless: a SOCKS5 relay that stands for the network between nodes. */
  readonly nodeRelay: { readonly host: string; readonly port: number } | undefined
  readonly xds: ControlPlaneAddress
  readonly ca: ControlPlaneAddress
  readonly fakeCa: boolean
  /** `unix:///PATH` or `tcp://IP:PORT`: certificates come from this SPIFFE Workload API, and no CA is asked. */
  readonly workloadApi: string | undefined
  readonly authToken: AuthToken
  readonly localXds: LocalXds | undefined
  /** A file of certificate revocation lists; `require` refuses whom no list in force speaks of. */
  readonly crl: { readonly path: string; readonly mode: 'allow-unknown' | 'require' } | undefined
  readonly secretTtlMs: number
  readonly hbone: HboneSettings
  readonly terminationDeadlineMs: number
  readonly responseBaggage: boolean
  readonly policyDecisionsAtInfo: boolean
  readonly log: { readonly filter: string; readonly format: 'plain' | 'json' }
  readonly version: string
  /** Node metadata for the control plane. */
  readonly metadata: Readonly<Record<string, unknown>>
  /** Variables that are known to ztunnel and without effect here. */
  readonly ignored: readonly IgnoredVariable[]
}

export interface IgnoredVariable {
  readonly name: string
  /** `warn` when somebody may rely on what it would have done. */
  readonly severity: 'debug' | 'warn'
  readonly reason: string
}
