/** Where discovery and certificates come from, made of the configuration. */
import type { Clock, Logger, Meter } from '@ambient/core'
import { loadRoot, loadToken } from '@ambient/core/proxy'
import { type AdsClient, type ConfigSink, createAdsClient, type WritableDirectory } from '@ambient/discovery'
import { type CertificateSigner, createIstioCaClient } from '@ambient/identity'
import { createPolicyStore } from '@ambient/policy'
import type { WaypointConfig } from './config/config.ts'

/** `undefined` when the configuration names no xDS server. */
export function createDiscoveryClient(options: {
  readonly config: WaypointConfig
  readonly directory: WritableDirectory
  readonly configuration: ConfigSink
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
}): AdsClient | undefined {
  const { config } = options
  const { address, alternativeHostname, headers, rootCa } = config.xds
  if (address === undefined) return undefined
  return createAdsClient({
    address,
    rootPem: () => loadRoot(rootCa),
    token: () => loadToken(config.authToken),
    node: { id: nodeId(config), metadata: nodeMetadata(config) },
    clusterId: config.clusterId,
    headers,
    ...(alternativeHostname === undefined ? {} : { alternativeHostname }),
    directory: options.directory,
    // L4 policies are the ztunnels' to enforce; they come with the same stream.
    policies: createPolicyStore(),
    configuration: options.configuration,
    clock: options.clock,
    logger: options.logger,
    meter: options.meter,
  })
}

/** Only ever for its own identity: no impersonation. `undefined` when the configuration names no CA. */
export function createSigner(config: WaypointConfig, logger: Logger): CertificateSigner | undefined {
  const { address, alternativeHostname, headers, rootCa } = config.ca
  if (address === undefined) return undefined
  return createIstioCaClient({
    address,
    rootPem: () => loadRoot(rootCa),
    token: () => loadToken(config.authToken),
    clusterId: config.clusterId,
    impersonate: false,
    headers,
    ...(alternativeHostname === undefined ? {} : { alternativeHostname }),
    logger,
  })
}

/** `waypoint~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN`, as Istio's. */
function nodeId({ instanceIp, podName, gateway, clusterDomain }: WaypointConfig): string {
  return `waypoint~${instanceIp}~${podName}.${gateway.namespace}~${gateway.namespace}.svc.${clusterDomain}`
}

function nodeMetadata(config: WaypointConfig): Record<string, string> {
  const { gateway } = config
  return {
    ...config.metadata,
    NAME: config.podName,
    NAMESPACE: gateway.namespace,
    INSTANCE_IPS: config.instanceIp,
    NODE_NAME: config.nodeName,
    SERVICE_ACCOUNT: config.serviceAccount,
    GATEWAY_NAME: gateway.name,
  }
}
