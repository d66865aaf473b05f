/**
 * The fields of the Kubernetes API per object, those that we act on and those that a cluster would take beside them.
 * A field that is in no list is a mistake of whoever wrote it: a cluster would drop it or refuse it too.
 */

export const objectFields = ['apiVersion', 'kind', 'metadata', 'spec', 'status'] as const

export const serviceAccountFields = [
  'apiVersion',
  'kind',
  'metadata',
  'secrets',
  'imagePullSecrets',
  'automountServiceAccountToken',
] as const

export const namespaceSpecFields = ['finalizers'] as const

export const nodeSpecFields = [
  'podCIDR',
  'podCIDRs',
  'providerID',
  'unschedulable',
  'taints',
  'configSource',
  'externalID',
] as const

export const serviceSpecFields = [
  'type',
  'selector',
  'ports',
  'clusterIP',
  'clusterIPs',
  'externalIPs',
  'sessionAffinity',
  'sessionAffinityConfig',
  'loadBalancerIP',
  'loadBalancerSourceRanges',
  'loadBalancerClass',
  'externalName',
  'externalTrafficPolicy',
  'internalTrafficPolicy',
  'healthCheckNodePort',
  'publishNotReadyAddresses',
  'ipFamilies',
  'ipFamilyPolicy',
  'allocateLoadBalancerNodePorts',
  'trafficDistribution',
] as const

export const servicePortFields = [
  'name',
  'port',
  'targetPort',
  'protocol',
  'appProtocol',
  'nodePort',
] as const

export const deploymentSpecFields = [
  'replicas',
  'selector',
  'template',
  'strategy',
  'minReadySeconds',
  'revisionHistoryLimit',
  'paused',
  'progressDeadlineSeconds',
] as const

export const podTemplateFields = ['metadata', 'spec'] as const

export const templateMetadataFields = [
  'name',
  'generateName',
  'namespace',
  'labels',
  'annotations',
  'creationTimestamp',
  'finalizers',
] as const

export const podSpecFields = [
  'containers',
  'initContainers',
  'ephemeralContainers',
  'volumes',
  'serviceAccountName',
  'serviceAccount',
  'automountServiceAccountToken',
  'nodeName',
  'nodeSelector',
  'affinity',
  'tolerations',
  'topologySpreadConstraints',
  'schedulerName',
  'schedulingGates',
  'priority',
  'priorityClassName',
  'preemptionPolicy',
  'runtimeClassName',
  'overhead',
  'resources',
  'resourceClaims',
  'restartPolicy',
  'terminationGracePeriodSeconds',
  'activeDeadlineSeconds',
  'dnsPolicy',
  'dnsConfig',
  'hostNetwork',
  'hostPID',
  'hostIPC',
  'hostUsers',
  'hostname',
  'hostnameOverride',
  'subdomain',
  'setHostnameAsFQDN',
  'hostAliases',
  'shareProcessNamespace',
  'securityContext',
  'imagePullSecrets',
  'enableServiceLinks',
  'readinessGates',
  'os',
] as const

export const containerFields = [
  'name',
  'image',
  'imagePullPolicy',
  'command',
  'args',
  'workingDir',
  'env',
  'envFrom',
  'ports',
  'resources',
  'resizePolicy',
  'restartPolicy',
  'restartPolicyRules',
  'livenessProbe',
  'readinessProbe',
  'startupProbe',
  'lifecycle',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'securityContext',
  'volumeMounts',
  'volumeDevices',
  'stdin',
  'stdinOnce',
  'tty',
] as const

export const containerPortFields = ['name', 'containerPort', 'protocol', 'hostPort', 'hostIP'] as const

export const envFields = ['name', 'value', 'valueFrom'] as const

export const envSourceFields = [
  'fieldRef',
  'resourceFieldRef',
  'configMapKeyRef',
  'secretKeyRef',
  'fileKeyRef',
] as const

export const probeFields = [
  'httpGet',
  'tcpSocket',
  'exec',
  'grpc',
  'initialDelaySeconds',
  'periodSeconds',
  'timeoutSeconds',
  'successThreshold',
  'failureThreshold',
  'terminationGracePeriodSeconds',
] as const

export const httpGetFields = ['path', 'port', 'host', 'scheme', 'httpHeaders'] as const
export const tcpSocketFields = ['port', 'host'] as const
export const labelSelectorFields = ['matchLabels', 'matchExpressions'] as const
