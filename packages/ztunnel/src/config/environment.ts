/**
 * ztunnel's environment (its names, defaults and precedence), read into one frozen configuration. Pure but for the
 * version of this package: what it needs of the file system is given to it.
 */
import { messageOf, readHostPort } from '@ambient/core'
import {
  boolean,
  type ConfigFiles,
  durationMs,
  type Environment,
  integer,
  invalid,
  ipAddress,
  oneOf,
  prefixed,
  readAuthToken,
  readControlPlane,
  text,
  withScheme,
} from '@ambient/core/proxy'
import { readWorkloadApiAddress } from '@ambient/identity'
import { defaults, ports } from '../defaults.ts'
import { type ProxyConfig, readProxyConfig } from './proxy-config.ts'
import { packageVersion } from './version.ts'
import { ZtunnelError } from '../errors.ts'
import type { IgnoredVariable, LocalXds, WorkloadName, ZtunnelConfig } from './config.ts'

const KNOWN_WITHOUT_EFFECT = [
  'PACKET_MARK',
  'INPOD_PORT_REUSE',
  'INPOD_ENABLED',
  'KEEPALIVE_ENABLED',
  'KEEPALIVE_TIME',
  'KEEPALIVE_INTERVAL',
  'KEEPALIVE_RETRIES',
  'USER_TIMEOUT_ENABLED',
  'PREFERED_SERVICE_NAMESPACE',
  'LOCALHOST_APP_TUNNEL',
  'ZTUNNEL_WORKER_THREADS',
  'ZTUNNEL_RESOURCE_CPU_LIMIT',
  'ZTUNNEL_RESOURCE_CPU_REQUEST',
  'ZTUNNEL_CPU_LIMIT',
  'ISTIO_META_DNS_CAPTURE',
  'ISTIO_META_DNS_PROXY_ADDR',
]
/** Whoever sets one of these relies on it. */
const MISSING_PROMISES: Readonly<Record<string, string>> = {
  COMPLIANCE_POLICY: 'the key exchange cannot be restricted yet',
  TLS12_ENABLED: 'only TLS 1.3 is spoken',
  XDS_ON_DEMAND: 'everything is subscribed to; nothing is fetched on demand yet',
}

/**
 * Reads the environment as ztunnel does.
 * @throws CoreError `AMBIENT_E_CONFIG`, `invalid env var NAME=VALUE (reason)`; ZtunnelError `AMBIENT_E_CONFIG` for what
 *   the values say together
 */
export function configFromEnvironment(env: Environment, files: ConfigFiles): ZtunnelConfig {
  const proxyConfig = readProxyConfig({
    mesh: files.read(defaults.meshConfigPath),
    proxyConfig: text(env, 'PROXY_CONFIG'),
  })
  const mode = oneOf(env, 'PROXY_MODE', 'shared', ['shared', 'dedicated'] as const)
  const inpod = text(env, 'INPOD_UDS')
  if (mode === 'shared' && inpod !== undefined)
    invalid('INPOD_UDS', inpod, 'in-pod mode needs kernel capture, which is not built yet; unset it')
  const from = { files, rootCertPath: defaults.rootCertPath }
  return Object.freeze({
    ...identityOfProcess(env),
    mode,
    proxyEnabled: readProxyEnabled(env),
    proxyWorkload: readProxyWorkload(env, mode),
    ipv6Enabled: boolean(env, 'IPV6_ENABLED', true),
    originalSource: boolean(env, 'ENABLE_ORIG_SRC', true),
    ports: Object.freeze({
      ...ports,
      admin: proxyConfig.proxyAdminPort ?? ports.admin,
      stats: proxyConfig.statsPort ?? ports.stats,
    }),
    socks5: Object.freeze({
      // Without kernel capture SOCKS5 is the only way in, so rootless shared mode always has it.
      enabled: mode === 'shared' || boolean(env, 'UNSTABLE_ENABLE_SOCKS5', false),
      secretsDir: text(env, 'SOCKS5_SECRETS_DIR'),
    }),
    nodeRelay: readRelay(env),
    xds: readControlPlane(env, { ...from, prefix: 'XDS', address: xdsAddress(env, proxyConfig) }),
    ...readIssuer(env, from),
    authToken: readAuthToken(env, files, defaults.tokenPath),
    localXds: readLocalXds(env, files),
    crl: readCrl(env),
    secretTtlMs: durationMs(env, 'SECRET_TTL', defaults.secretTtlMs),
    hbone: readHbone(env),
    terminationDeadlineMs: readDeadline(env),
    responseBaggage: boolean(env, 'ENABLE_RESPONSE_BAGGAGE', true),
    policyDecisionsAtInfo: boolean(env, 'AUTHZ_POLICY_INFO_LOGGING', false),
    log: Object.freeze({
      filter: text(env, 'RUST_LOG') ?? defaults.logFilter,
      format: oneOf(env, 'LOG_FORMAT', 'plain', ['plain', 'json'] as const),
    }),
    version: text(env, 'ISTIO_META_ISTIO_VERSION') ?? packageVersion(),
    metadata: readMetadata(env, proxyConfig),
    ignored: readIgnored(env),
  })
}

function identityOfProcess(
  env: Environment,
): Pick<
  ZtunnelConfig,
  | 'nodeName'
  | 'network'
  | 'clusterId'
  | 'clusterDomain'
  | 'trustDomain'
  | 'instanceIp'
  | 'podName'
  | 'podNamespace'
  | 'serviceAccount'
> {
  return {
    nodeName: text(env, 'NODE_NAME') ?? '',
    network: text(env, 'NETWORK') ?? '',
    clusterId: text(env, 'ISTIO_META_CLUSTER_ID') ?? text(env, 'CLUSTER_ID') ?? defaults.clusterId,
    clusterDomain: text(env, 'CLUSTER_DOMAIN') ?? defaults.clusterDomain,
    trustDomain: text(env, 'TRUST_DOMAIN') ?? defaults.trustDomain,
    instanceIp: ipAddress(env, 'INSTANCE_IP', defaults.instanceIp),
    podName: text(env, 'POD_NAME') ?? '',
    podNamespace: text(env, 'POD_NAMESPACE') ?? '',
    serviceAccount: text(env, 'SERVICE_ACCOUNT') ?? '',
  }
}

function readProxyEnabled(env: Environment): boolean {
  const enabled = boolean(env, 'ENABLE_PROXY', true)
  // The DNS proxy comes later; without it a ztunnel that does not proxy does nothing.
  if (!enabled) invalid('ENABLE_PROXY', 'false', 'the proxy cannot be disabled when there is no DNS proxy')
  return enabled
}

function readProxyWorkload(env: Environment, mode: 'shared' | 'dedicated'): WorkloadName | undefined {
  const value = text(env, 'PROXY_WORKLOAD_INFO')
  if (value === undefined) {
    if (mode === 'dedicated')
      throw new ZtunnelError(
        'AMBIENT_E_CONFIG',
        'PROXY_WORKLOAD_INFO=namespace/name/serviceAccount is required when PROXY_MODE=dedicated',
        { layer: 'config' },
      )
    return undefined
  }
  const [namespace, name, serviceAccount, ...rest] = value.split('/')
  if (!namespace || !name || !serviceAccount || rest.length > 0)
    return invalid('PROXY_WORKLOAD_INFO', value, 'expected namespace/name/serviceAccount')
  return Object.freeze({ namespace, name, serviceAccount })
}

function readRelay(env: Environment): ZtunnelConfig['nodeRelay'] {
  const value = text(env, 'NODE_RELAY')
  if (value === undefined) return undefined
  const address = value.startsWith('socks5://') ? readHostPort(value.slice('socks5://'.length)) : undefined
  if (address?.ok !== true || address.value.kind !== 'ip')
    return invalid('NODE_RELAY', value, 'expected socks5://IP:PORT')
  return Object.freeze({ host: address.value.host, port: address.value.port })
}

function defaultIstiod(env: Environment): string {
  return text(env, 'KUBERNETES_SERVICE_HOST') === undefined
    ? 'https://localhost:15012'
    : 'https://istiod.istio-system.svc:15012'
}

/** An empty XDS_ADDRESS is a statement: no xDS at all. */
function xdsAddress(env: Environment, proxyConfig: ProxyConfig): string | undefined {
  const value = env['XDS_ADDRESS'] ?? proxyConfig.discoveryAddress ?? defaultIstiod(env)
  return value === '' ? undefined : withScheme('XDS_ADDRESS', value)
}

function caAddress(env: Environment): string {
  return withScheme('CA_ADDRESS', text(env, 'CA_ADDRESS') ?? defaultIstiod(env))
}

function readIssuer(
  env: Environment,
  from: { readonly files: ConfigFiles; readonly rootCertPath: string },
): Pick<ZtunnelConfig, 'ca' | 'fakeCa' | 'workloadApi'> {
  const fakeCa = boolean(env, 'FAKE_CA', false)
  const workloadApi = readWorkloadApi(env, fakeCa)
  const address = fakeCa || workloadApi !== undefined ? undefined : caAddress(env)
  return { ca: readControlPlane(env, { ...from, prefix: 'CA', address }), fakeCa, workloadApi }
}

/** SPIFFE's own name for it. One issuer: which of two is meant cannot be guessed. */
function readWorkloadApi(env: Environment, fakeCa: boolean): string | undefined {
  const name = 'SPIFFE_ENDPOINT_SOCKET'
  const address = text(env, name)
  if (address === undefined) return undefined
  const other = fakeCa ? 'FAKE_CA' : text(env, 'CA_ADDRESS') === undefined ? undefined : 'CA_ADDRESS'
  if (other !== undefined) return invalid(name, address, `only one of ${name} and ${other} may be set`)
  try {
    return readWorkloadApiAddress(address).text
  } catch (error) {
    return invalid(name, address, messageOf(error))
  }
}

function readLocalXds(env: Environment, files: ConfigFiles): LocalXds | undefined {
  const path = text(env, 'LOCAL_XDS_PATH')
  const inline = text(env, 'LOCAL_XDS')
  if (path !== undefined && inline !== undefined)
    return invalid('LOCAL_XDS_PATH', path, 'only one of LOCAL_XDS_PATH and LOCAL_XDS may be set')
  if (inline !== undefined) return { file: 'LOCAL_XDS', text: inline }
  if (path === undefined) return undefined
  const content = files.read(path)
  return content === undefined
    ? invalid('LOCAL_XDS_PATH', path, 'no such file')
    : { file: path, text: content }
}

/** CRL_MODE is ours: ztunnel refuses only what a list names. */
function readCrl(env: Environment): ZtunnelConfig['crl'] {
  const path = text(env, 'CRL_PATH')
  const mode = oneOf(env, 'CRL_MODE', 'allow-unknown', ['allow-unknown', 'require'] as const)
  return path === undefined ? undefined : Object.freeze({ path, mode })
}

function readHbone(env: Environment): ZtunnelConfig['hbone'] {
  const window = { min: 65_535, max: 2_147_483_647 }
  return Object.freeze({
    streamWindowBytes: integer(env, 'HTTP2_STREAM_WINDOW_SIZE', 4_194_304, window),
    connectionWindowBytes: integer(env, 'HTTP2_CONNECTION_WINDOW_SIZE', 16_777_216, window),
    frameBytes: integer(env, 'HTTP2_FRAME_SIZE', 1_048_576, { min: 16_384, max: 16_777_215 }),
    maxStreamsPerConnection: integer(env, 'POOL_MAX_STREAMS_PER_CONNECTION', 100, { min: 1, max: 65_535 }),
    idleTimeoutMs: durationMs(env, 'POOL_UNUSED_RELEASE_TIMEOUT', 300_000),
  })
}

/** The grace period less the time that the process needs to end. */
function readDeadline(env: Environment): number {
  const explicit = text(env, 'CONNECTION_TERMINATION_DEADLINE')
  if (explicit !== undefined) return durationMs(env, 'CONNECTION_TERMINATION_DEADLINE', 0)
  if (text(env, 'TERMINATION_GRACE_PERIOD_SECONDS') === undefined) return defaults.terminationDeadlineMs
  const seconds = integer(env, 'TERMINATION_GRACE_PERIOD_SECONDS', 0, { min: 0, max: 86_400 })
  return Math.max(1, seconds > 10 ? seconds - 5 : seconds - 1) * 1_000
}

function readMetadata(env: Environment, proxyConfig: ProxyConfig): Readonly<Record<string, unknown>> {
  const metadata: Record<string, unknown> = { ...proxyConfig.proxyMetadata }
  for (const [name, value] of Object.entries(prefixed(env, 'ISTIO_META_'))) metadata[name] = value
  for (const [name, value] of Object.entries(prefixed(env, 'ISTIO_METAJSON_'))) {
    try {
      metadata[name] = JSON.parse(value)
    } catch {
      invalid(`ISTIO_METAJSON_${name}`, value, 'expected JSON')
    }
  }
  return Object.freeze(metadata)
}

function readIgnored(env: Environment): readonly IgnoredVariable[] {
  const ignored: IgnoredVariable[] = []
  for (const name of KNOWN_WITHOUT_EFFECT)
    if (text(env, name) !== undefined) ignored.push({ name, severity: 'debug', reason: 'has no effect here' })
  for (const [name, reason] of Object.entries(MISSING_PROMISES)) {
    const value = text(env, name)
    if (value !== undefined && value !== 'false') ignored.push({ name, severity: 'warn', reason })
  }
  return ignored
}
