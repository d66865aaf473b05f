/** Kubernetes objects as readonly data: the fields that an ambient mesh acts on, with their defaults filled in. */
import type {
  AuthorizationPolicy,
  MeshConfig,
  ObjectMeta,
  PeerAuthentication,
  RequestAuthentication,
  SourcePosition,
} from '@ambient/policy'
import type { DestinationRuleResource } from './destination-rule-types.ts'
import type { GatewayResource } from './gateway-types.ts'
import type { HttpRouteResource } from './http-route-types.ts'
import type { VirtualServiceResource } from './virtual-service-types.ts'

/** What every object has. `source` is where its document begins. */
export interface KubernetesObject {
  readonly metadata: ObjectMeta
  readonly source: SourcePosition
}

export interface NamespaceResource extends KubernetesObject {
  readonly kind: 'Namespace'
}

export interface ServiceAccountResource extends KubernetesObject {
  readonly kind: 'ServiceAccount'
}

/** Its labels give the locality of the pods on it. */
export interface NodeResource extends KubernetesObject {
  readonly kind: 'Node'
}

/** What the mesh says of itself. */
export interface MeshConfigResource extends KubernetesObject {
  readonly kind: 'ConfigMap'
  readonly config: MeshConfig
  /** As it was written: the key `mesh`. */
  readonly text: string
}

export type IpFamily = 'IPv4' | 'IPv6'
export type ServiceType = 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
export type TransportProtocol = 'TCP' | 'UDP' | 'SCTP'

export interface ServicePort {
  /** Empty for a port without a name. */
  readonly name: string
  readonly port: number
  /** A number, or the name of a container port; the port itself when not written. */
  readonly targetPort: number | string
  readonly protocol: TransportProtocol
  /** What it speaks; beats what the name says. */
  readonly appProtocol?: string
}

export interface ServiceResource extends KubernetesObject {
  readonly kind: 'Service'
  readonly spec: {
    readonly type: ServiceType
    /** `clusterIP: None`. */
    readonly headless: boolean
    /** Addresses that the manifest asks for; usually none. */
    readonly clusterIps: readonly string[]
    /** Absent: endpoints come from elsewhere. */
    readonly selector?: Readonly<Record<string, string>>
    readonly ports: readonly ServicePort[]
    readonly publishNotReadyAddresses: boolean
    readonly internalTrafficPolicy: 'Cluster' | 'Local'
    readonly trafficDistribution?: 'PreferClose' | 'PreferSameZone' | 'PreferSameNode'
    readonly ipFamilies: readonly IpFamily[]
  }
}

export interface ContainerPort {
  readonly name?: string
  readonly port: number
  readonly protocol: TransportProtocol
}

/** Facts of the running pod that a variable may take. */
export type PodField =
  | 'metadata.name'
  | 'metadata.namespace'
  | 'metadata.uid'
  | 'spec.nodeName'
  | 'spec.serviceAccountName'
  | 'status.podIP'
  | 'status.podIPs'
  | 'status.hostIP'
  | 'status.hostIPs'

export type EnvironmentVariable =
  | { readonly kind: 'value'; readonly name: string; readonly value: string }
  | { readonly kind: 'field'; readonly name: string; readonly field: PodField }
  | {
      readonly kind: 'label' | 'annotation'
      readonly name: string
      /** Of the label or annotation. */
      readonly key: string
    }

export interface ReadinessProbe {
  /** `none`: of a kind that is not run here, so the container counts as ready when it runs. */
  readonly check:
    | { readonly kind: 'tcp'; readonly port: number | string }
    | { readonly kind: 'http'; readonly port: number | string; readonly path: string }
    | { readonly kind: 'none' }
  readonly initialDelaySeconds: number
  readonly periodSeconds: number
  readonly timeoutSeconds: number
  readonly failureThreshold: number
  readonly successThreshold: number
}

export interface Container {
  readonly name: string
  readonly image: string
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly env: readonly EnvironmentVariable[]
  readonly ports: readonly ContainerPort[]
  readonly workingDir?: string
  readonly readinessProbe?: ReadinessProbe
}

/** Whether a program that ended is started again. */
export type RestartPolicy = 'Always' | 'OnFailure' | 'Never'

export interface PodSpec {
  readonly serviceAccountName: string
  readonly containers: readonly Container[]
  readonly nodeSelector: Readonly<Record<string, string>>
  readonly nodeName?: string
  readonly hostNetwork: boolean
  readonly restartPolicy: RestartPolicy
  readonly terminationGracePeriodSeconds: number
}

export interface PodTemplate {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly spec: PodSpec
}

export interface DeploymentResource extends KubernetesObject {
  readonly kind: 'Deployment'
  readonly spec: {
    readonly replicas: number
    readonly template: PodTemplate
  }
}

export interface PodResource extends KubernetesObject {
  readonly kind: 'Pod'
  readonly spec: PodSpec
}

/** Everything of a folder of manifests that an ambient mesh acts on. */
export interface Resources {
  readonly namespaces: readonly NamespaceResource[]
  readonly serviceAccounts: readonly ServiceAccountResource[]
  readonly nodes: readonly NodeResource[]
  /** At most one: the ConfigMap `istio` of the root namespace. Other ConfigMaps are passed over. */
  readonly meshConfigs: readonly MeshConfigResource[]
  readonly services: readonly ServiceResource[]
  readonly deployments: readonly DeploymentResource[]
  readonly pods: readonly PodResource[]
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly peerAuthentications: readonly PeerAuthentication[]
  readonly requestAuthentications: readonly RequestAuthentication[]
  readonly gateways: readonly GatewayResource[]
  readonly httpRoutes: readonly HttpRouteResource[]
  readonly virtualServices: readonly VirtualServiceResource[]
  readonly destinationRules: readonly DestinationRuleResource[]
}

export const noResources: Resources = Object.freeze({
  namespaces: [],
  serviceAccounts: [],
  nodes: [],
  meshConfigs: [],
  services: [],
  deployments: [],
  pods: [],
  authorizationPolicies: [],
  peerAuthentications: [],
  requestAuthentications: [],
  gateways: [],
  httpRoutes: [],
  virtualServices: [],
  destinationRules: [],
})
