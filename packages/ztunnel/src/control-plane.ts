/** Where discovery and certificates come from, made of the configuration: istiod, a Workload API, an in-process CA. */
import type { Clock, Logger, Meter } from '@ambient/core'
import { controlPlaneClient } from '@ambient/core/proxy'
import {
  type AdsClient,
  createAdsClient,
  type NodeMetadata,
  type NodeValue,
  type WritableDirectory,
} from '@ambient/discovery'
import {
  type CertificateSigner,
  createCertificateAuthority,
  createIstioCaClient,
  createLocalSigner,
  createProxyIdentities,
  type ProxyIdentities,
  type ProxyIdentitiesOptions,
} from '@ambient/identity'
import type { PolicyStore } from '@ambient/policy'
import type { ZtunnelConfig } from './config/config.ts'
import { ZtunnelError } from './errors.ts'

/** `undefined` when the configuration names no xDS server. */
export function createDiscoveryClient(options: {
  readonly config: ZtunnelConfig
  readonly directory: WritableDirectory
  readonly policies: PolicyStore
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
}): AdsClient | undefined {
  const { config, directory, policies, clock, logger, meter } = options
  const client = controlPlaneClient(config.xds, config)
  if (client === undefined) return undefined
  const node = { id: nodeId(config), metadata: nodeMetadata(config) }
  return createAdsClient({ ...client, node, directory, policies, clock, logger, meter })
}

/**
 * Who we are: what the caller gives, else what the configuration names.
 * @throws ZtunnelError `AMBIENT_E_CONFIG`
 */
export function createIdentities(
  options: Omit<ProxyIdentitiesOptions, 'config' | 'createSigner' | 'invalid'> & {
    readonly config: ZtunnelConfig
  },
): ProxyIdentities {
  const { config, clock, logger } = options
  return createProxyIdentities({
    ...options,
    createSigner: () => createSigner(config, clock, logger),
    invalid: message => new ZtunnelError('AMBIENT_E_CONFIG', message),
  })
}

function createSigner(config: ZtunnelConfig, clock: Clock, logger: Logger): CertificateSigner {
  const client = controlPlaneClient(config.ca, config)
  if (client === undefined) return inProcessSigner(config, clock)
  return createIstioCaClient({ ...client, impersonate: config.mode === 'shared', logger })
}

/** FAKE_CA: a CA of this process alone, made at the first request; nobody outside believes it. */
function inProcessSigner(config: ZtunnelConfig, clock: Clock): CertificateSigner {
  let signer: Promise<CertificateSigner> | undefined
  return {
    async sign(request) {
      signer ??= createCertificateAuthority({ trustDomain: config.trustDomain, clock }).then(
        createLocalSigner,
      )
      return (await signer).sign(request)
    },
    async close() {
      await (await signer)?.close()
    },
  }
}

/** `ztunnel~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local`: the last part is literal in ztunnel too. */
function nodeId({ instanceIp, podName, podNamespace }: ZtunnelConfig): string {
  return `ztunnel~${instanceIp}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`
}

function nodeMetadata(config: ZtunnelConfig): NodeMetadata {
  const metadata: Record<string, NodeValue> = {}
  for (const [key, value] of Object.entries(config.metadata)) if (isNodeValue(value)) metadata[key] = value
  return {
    ...metadata,
    NAME: config.podName,
    NAMESPACE: config.podNamespace,
    INSTANCE_IPS: config.instanceIp,
    NODE_NAME: config.nodeName,
    ...(config.serviceAccount === '' ? {} : { SERVICE_ACCOUNT: config.serviceAccount }),
  }
}

/** The values come from `JSON.parse` or are text, so this only narrows the type. */
function isNodeValue(value: unknown): value is NodeValue {
  return value === null || ['string', 'number', 'boolean', 'object'].includes(typeof value)
}
