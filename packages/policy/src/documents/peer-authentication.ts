/** `PeerAuthentication` of `security.istio.io`, as readonly data. */
import type { WorkloadSelector } from './authorization-policy.ts'
import type { PolicyObject } from './metadata.ts'

export type MutualTlsMode = 'UNSET' | 'DISABLE' | 'PERMISSIVE' | 'STRICT'

export interface PeerAuthentication extends PolicyObject {
  readonly kind: 'PeerAuthentication'
  readonly spec: PeerAuthenticationSpec
}

export interface PeerAuthenticationSpec {
  readonly selector?: WorkloadSelector
  /** Absent and UNSET inherit: workload from namespace from mesh; the mesh's default is PERMISSIVE. */
  readonly mtls?: { readonly mode?: MutualTlsMode }
  /** By the workload's port, not the service's. */
  readonly portLevelMtls?: ReadonlyMap<number, { readonly mode?: MutualTlsMode }>
}
