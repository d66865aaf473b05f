/** Where discovery and certificates come from, made of the configuration: istiod, a local file, an in-process CA. */
import type { Clock, Logger, Meter } from '@ambient/core'
import { loadRoot, loadToken } from '@ambient/core/proxy'
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
} from '@ambient/identity'
import type { PolicyStore } from '@ambient/policy'
import type { ZtunnelConfig } from './config/config.ts'

/** `undefined` when the configuration names no xDS server. */
export function createDiscoveryClient(options: {
  readonly config: ZtunnelConfig
  readonly directory: WritableDirectory
  readonly policies: PolicyStore
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
    policies: options.policies,
    clock: options.clock,
    logger: options.logger,
    meter: options.meter,
  })
}

export function createSigner(config: ZtunnelConfig, clock: Clock, logger: Logger): CertificateSigner {
  const { address, alternativeHostname, headers, rootCa } = config.ca
  if (address === undefined) return inProcessSigner(config, clock)
  return createIstioCaClient({
    address,
    rootPem: () => loadRoot(rootCa),
    token: () => loadToken(config.authToken),
    clusterId: config.clusterId,
    impersonate: config.mode === 'shared',
    headers,
    ...(alternativeHostname === undefined ? {} : { alternativeHostname }),
    logger,
  })
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
