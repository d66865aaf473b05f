/** Where discovery and certificates come from, made of the configuration. */
import type { Clock, Logger, Meter } from '@ambient/core'
import { controlPlaneClient } from '@ambient/core/proxy'
import { type AdsClient, type ConfigSink, createAdsClient, type WritableDirectory } from '@ambient/discovery'
import {
  type CertificateSigner,
  createIstioCaClient,
  createProxyIdentities,
  type ProxyIdentities,
  type ProxyIdentitiesOptions,
} from '@ambient/identity'
import { createPolicyStore } from '@ambient/policy'
import type { WaypointConfig } from './config/config.ts'
import { WaypointError } from './errors.ts'

/** `undefined` when the configuration names no xDS server. */
export function createDiscoveryClient(options: {
  readonly config: WaypointConfig
  readonly directory: WritableDirectory
  readonly configuration: ConfigSink
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
}): AdsClient | undefined {
  const { config, directory, configuration, clock, logger, meter } = options
  const client = controlPlaneClient(config.xds, config)
  if (client === undefined) return undefined
  const node = { id: nodeId(config), metadata: nodeMetadata(config) }
  // L4 policies are the ztunnels' to enforce; they come with the same stream.
  const policies = createPolicyStore()
  return createAdsClient({ ...client, node, directory, policies, configuration, clock, logger, meter })
}

/**
 * Who we are: what the caller gives, else what the configuration names.
 * @throws WaypointError `AMBIENT_E_CONFIG`
 */
export function createIdentities(
  options: Omit<ProxyIdentitiesOptions, 'config' | 'createSigner' | 'invalid'> & {
    readonly config: WaypointConfig
  },
): ProxyIdentities {
  const { config, logger } = options
  return createProxyIdentities({
    ...options,
    createSigner: () => createSigner(config, logger),
    invalid: message => new WaypointError('AMBIENT_E_CONFIG', message),
  })
}

/** Only ever for its own identity: no impersonation. */
function createSigner(config: WaypointConfig, logger: Logger): CertificateSigner {
  const client = controlPlaneClient(config.ca, config)
  if (client === undefined)
    throw new WaypointError('AMBIENT_E_CONFIG', 'no source of certificates: CA_ADDRESS is empty')
  return createIstioCaClient({ ...client, impersonate: false, logger })
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
