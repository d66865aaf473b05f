/** What a running mesh tells about itself, to this process and to others: data that JSON carries. */
import type { Problem } from '@ambient/policy'

export interface MeshStatus {
  /** The manifests' folder. */
  readonly folder: string
  readonly cidr: string
  /** Counts the configurations that were taken. */
  readonly generation: number
  /** Of the manifests as they are now. */
  readonly problems: readonly Problem[]
  /** Ztunnels and waypoints. */
  readonly proxies: readonly ProxyStatus[]
  readonly waypoints: readonly WaypointStatus[]
  readonly pods: readonly MeshPodFacts[]
}

export interface ProxyStatus {
  /** `ztunnel-NODE.istio-system`, `POD.NAMESPACE`. */
  readonly name: string
  readonly kind: 'ztunnel' | 'waypoint'
  readonly node: string
  /** Absent while it is down. */
  readonly pid?: number
  readonly ready: boolean
  /** Milliseconds since 1970; absent while it is down. */
  readonly startedAt?: number
  readonly restarts: number
  readonly types: readonly TypeStatus[]
  readonly certificates: readonly ProxyCertificate[]
}

/** A type of resources that a proxy subscribed to. */
export interface TypeStatus {
  /** Type URL. */
  readonly type: string
  readonly state: 'SYNCED' | 'STALE' | 'NOT SENT' | 'NACK'
  /** That the proxy acknowledged last. */
  readonly version: string
  /** Why it refused what was sent last. */
  readonly nack?: string
}

export interface ProxyCertificate {
  readonly identity: string
  /** `Available`, `Initializing`, or `Unavailable: ` and why. */
  readonly state: string
  /** Decimal. */
  readonly serial?: string
  /** Milliseconds since 1970. */
  readonly notBefore?: number
  readonly notAfter?: number
}

export interface WaypointStatus {
  readonly namespace: string
  readonly name: string
  /** Istio's word for the control plane's own. */
  readonly revision: string
  /** `service`, `workload`, `all` or `none`. */
  readonly trafficType: string
  readonly programmed: boolean
  /** As a Gateway's condition: `Programmed`, `Pending`, `Invalid`. */
  readonly reason: string
  readonly message: string
  /** Of its Service; empty without one. */
  readonly address: string
}

export interface MeshPodFacts {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly node: string
  readonly address: string
  readonly ready: boolean
  readonly enrolled: boolean
  readonly restarts: number
  /** Milliseconds since 1970. */
  readonly startedAt: number
}

/** Which workload a program of this machine wants to be. */
export interface JoinRequest {
  readonly namespace: string
  readonly serviceAccount: string
  /** Default: the service account with a random ending. */
  readonly name?: string
  /** Ports that it serves on the workload's address. */
  readonly ports?: readonly number[]
  /** With them it can be selected by Services and policies. */
  readonly labels?: Readonly<Record<string, string>>
}

/** The way into the mesh: a SOCKS5 server that demands user name and password (RFC 1929), and resolves names. */
export interface SocksEntrance {
  readonly address: string
  readonly port: number
  readonly username: string
  readonly password: string
}

/** A place in the mesh, until it is left. */
export interface JoinFacts {
  readonly name: string
  readonly namespace: string
  readonly address: string
  readonly node: string
  /** SPIFFE ID. */
  readonly identity: string
  /** In the mesh: its traffic is tunnelled. */
  readonly enrolled: boolean
  /** For a program that is to run as the workload; its `NODE_OPTIONS` are to be added to those that there are. */
  readonly environment: Readonly<Record<string, string>>
  readonly socks: SocksEntrance
}
