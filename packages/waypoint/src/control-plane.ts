/** Where discovery and certificates come from, made of the configuration. */
import type { Clock, Logger, Meter } from '@ambient/core'
import { controlPlaneClient } from '@ambient/core/proxy'
import { type AdsClient, type ConfigSink, createAdsClient, type WritableDirectory } from '@ambient/discovery'
import {
  type CertificateSigner,
  createIdentityManager,
  createIstioCaClient,
  createWorkloadApiIdentities,
  createWorkloadApiSource,
  type IdentityManager,
  type Revocations,
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

export interface Identities {
  readonly manager: IdentityManager
  /** Closes what was made here, and leaves the caller's alone. */
  close(): Promise<void>
}

/**
 * Who we are: what the caller gives, else what the configuration names.
 * @throws WaypointError `AMBIENT_E_CONFIG`
 */
export function createIdentities(options: {
  readonly config: WaypointConfig
  readonly identities: IdentityManager | undefined
  readonly signer: CertificateSigner | undefined
  readonly revocations: Revocations
  readonly clock: Clock
  readonly logger: Logger
}): Identities {
  const { config, identities, signer, revocations, clock, logger } = options
  if (identities !== undefined) {
    if (signer !== undefined)
      throw new WaypointError('AMBIENT_E_CONFIG', 'only one of identities and signer may be given')
    if (config.crl !== undefined)
      throw new WaypointError(
        'AMBIENT_E_CONFIG',
        'CRL_PATH has no hold on identities that are given: give their maker the revocations',
      )
    return { manager: identities, close: async () => {} }
  }
  if (signer === undefined && config.workloadApi !== undefined) {
    const source = createWorkloadApiSource({ address: config.workloadApi, revocations, clock, logger })
    return owned(createWorkloadApiIdentities(source, { clock, logger }), source)
  }
  const ttlMs = config.secretTtlMs
  if (signer !== undefined)
    return owned(createIdentityManager({ signer, ttlMs, revocations, clock, logger }), undefined)
  const own = createSigner(config, logger)
  if (own === undefined)
    throw new WaypointError('AMBIENT_E_CONFIG', 'no source of certificates: CA_ADDRESS is empty')
  return owned(createIdentityManager({ signer: own, ttlMs, revocations, clock, logger }), own)
}

function owned(manager: IdentityManager, below: { close(): Promise<void> } | undefined): Identities {
  return {
    manager,
    async close() {
      await manager.close()
      await below?.close()
    },
  }
}

/** Only ever for its own identity: no impersonation. `undefined` when the configuration names no CA. */
function createSigner(config: WaypointConfig, logger: Logger): CertificateSigner | undefined {
  const client = controlPlaneClient(config.ca, config)
  return client === undefined ? undefined : createIstioCaClient({ ...client, impersonate: false, logger })
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
