/** A running pod as a kubelet and the CNI would report it. */
export interface PodStatus {
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly node: string
  /** Empty while the pod has none: it is left out then. */
  readonly ip: string
  readonly ready: boolean
  /** Set for pods that a controller made. */
  readonly generateName?: string
  /** A Deployment by its own name, or a ReplicaSet or a Job by theirs. */
  readonly owner?: { readonly kind: string; readonly name: string }
  readonly containerPorts: readonly { readonly name?: string; readonly port: number }[]
  /** The CNI's annotation `ambient.istio.io/redirection: enabled`. */
  readonly enrolled: boolean
  /** It shares the node's address, so it cannot be found by it. */
  readonly hostNetwork?: boolean
}
