/** The environment of a waypoint (the names that Istio's proxies know), read into one frozen configuration. */
import { messageOf, readSpiffeId, trustDomainProblem, workloadIdentityOf } from '@ambient/core'
import {
  boolean,
  type ConfigFiles,
  durationMs,
  type Environment,
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
import { type MeshConfig, parseMeshConfig } from '@ambient/policy'
import { defaults, ports } from '../defaults.ts'
import { WaypointError } from '../errors.ts'
import type { GatewayName, WaypointConfig } from './config.ts'
import { jwksFromEnvironment } from './jwks.ts'
import { tracingFromEnvironment } from './tracing.ts'
import { packageVersion } from './version.ts'

/**
 * Pure but for the version of this package: what it needs of the file system is given to it.
 * @throws CoreError `AMBIENT_E_CONFIG`, `invalid env var NAME=VALUE (reason)`; WaypointError `AMBIENT_E_CONFIG` for one
 *   that is missing
 */
export function configFromEnvironment(env: Environment, files: ConfigFiles): WaypointConfig {
  const gateway: GatewayName = Object.freeze({
    namespace: required(env, 'POD_NAMESPACE', 'the namespace of the Gateway'),
    name: required(env, 'GATEWAY_NAME', 'the name of the Gateway that this process serves'),
  })
  const trustDomain = readTrustDomain(env)
  const workloadApi = readWorkloadApi(env)
  const control = (prefix: 'XDS' | 'CA') =>
    readControlPlane(env, {
      prefix,
      address: prefix === 'CA' && workloadApi !== undefined ? undefined : addressOf(env, prefix),
      files,
      rootCertPath: defaults.rootCertPath,
    })
  return Object.freeze({
    gateway,
    nodeName: text(env, 'NODE_NAME') ?? '',
    network: text(env, 'NETWORK') ?? '',
    clusterId: text(env, 'ISTIO_META_CLUSTER_ID') ?? text(env, 'CLUSTER_ID') ?? defaults.clusterId,
    clusterDomain: text(env, 'CLUSTER_DOMAIN') ?? defaults.clusterDomain,
    trustDomain,
    rootNamespace: text(env, 'ROOT_NAMESPACE') ?? defaults.rootNamespace,
    instanceIp: ipAddress(env, 'INSTANCE_IP', defaults.instanceIp),
    ipv6Enabled: boolean(env, 'IPV6_ENABLED', true),
    podName: text(env, 'POD_NAME') ?? gateway.name,
    serviceAccount: readServiceAccount(env, gateway, trustDomain),
    ports,
    xds: control('XDS'),
    ca: control('CA'),
    workloadApi,
    authToken: readAuthToken(env, files, defaults.tokenPath),
    crl: readCrl(env),
    meshConfig: readMesh(env, files),
    severalProviders: boolean(env, 'PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS', defaults.severalProviders),
    jwks: jwksFromEnvironment(env, files),
    secretTtlMs: durationMs(env, 'SECRET_TTL', defaults.secretTtlMs),
    drainMs: durationMs(env, 'TERMINATION_DRAIN_DURATION', defaults.drainMs),
    accessLog: readAccessLog(env),
    log: Object.freeze({
      filter: text(env, 'RUST_LOG') ?? defaults.logFilter,
      format: oneOf(env, 'LOG_FORMAT', 'plain', ['plain', 'json'] as const),
    }),
    tracing: tracingFromEnvironment(env, `${gateway.name}.${gateway.namespace}`),
    version: text(env, 'ISTIO_META_ISTIO_VERSION') ?? packageVersion(),
    metadata: Object.freeze(prefixed(env, 'ISTIO_META_')),
  })
}

function required(env: Environment, name: string, meaning: string): string {
  const value = text(env, name)
  if (value === undefined)
    throw new WaypointError('AMBIENT_E_CONFIG', `${name} is required: ${meaning}`, { layer: 'config' })
  return value
}

function readTrustDomain(env: Environment): string {
  const value = text(env, 'TRUST_DOMAIN') ?? defaults.trustDomain
  const problem = trustDomainProblem(value)
  return problem === undefined ? value : invalid('TRUST_DOMAIN', value, problem)
}

/** As istiod's template: the service account has the name of the Gateway, unless the Gateway says otherwise. */
function readServiceAccount(env: Environment, gateway: GatewayName, trustDomain: string): string {
  const serviceAccount = text(env, 'SERVICE_ACCOUNT') ?? gateway.name
  const read = readSpiffeId(`spiffe://${trustDomain}/ns/${gateway.namespace}/sa/${serviceAccount}`)
  return read.ok && workloadIdentityOf(read.id)?.serviceAccount === serviceAccount
    ? serviceAccount
    : invalid('SERVICE_ACCOUNT', serviceAccount, 'it cannot be part of a SPIFFE ID')
}

/** The variables of a ztunnel. */
function readCrl(env: Environment): WaypointConfig['crl'] {
  const path = text(env, 'CRL_PATH')
  const mode = oneOf(env, 'CRL_MODE', 'allow-unknown', ['allow-unknown', 'require'] as const)
  return path === undefined ? undefined : Object.freeze({ path, mode })
}

/** A path, or the YAML itself, as of a root certificate. */
function readMesh(env: Environment, files: ConfigFiles): MeshConfig | undefined {
  const name = 'MESH_CONFIG'
  const value = text(env, name)
  if (value === undefined) return undefined
  const isPath = !/[\n:{]/.test(value)
  const content = isPath ? files.read(value) : value
  if (content === undefined) return invalid(name, value, 'there is no such file')
  try {
    return parseMeshConfig(String(content), isPath ? value : name)
  } catch (error) {
    return invalid(name, isPath ? value : '…', messageOf(error))
  }
}

/** SPIFFE's own name for it, as for a ztunnel: one issuer, which of two is meant cannot be guessed. */
function readWorkloadApi(env: Environment): string | undefined {
  const name = 'SPIFFE_ENDPOINT_SOCKET'
  const address = text(env, name)
  if (address === undefined) return undefined
  if (text(env, 'CA_ADDRESS') !== undefined)
    return invalid(name, address, `only one of ${name} and CA_ADDRESS may be set`)
  try {
    return readWorkloadApiAddress(address).text
  } catch (error) {
    return invalid(name, address, messageOf(error))
  }
}

/** An empty XDS_ADDRESS is a statement: no xDS at all, somebody else fills the directory. */
function addressOf(env: Environment, prefix: 'XDS' | 'CA'): string | undefined {
  const name = `${prefix}_ADDRESS`
  const value = env[name] ?? defaultIstiod(env)
  return value === '' ? undefined : withScheme(name, value)
}

function defaultIstiod(env: Environment): string {
  return text(env, 'KUBERNETES_SERVICE_HOST') === undefined
    ? 'https://localhost:15012'
    : 'https://istiod.istio-system.svc:15012'
}

/** meshConfig's `accessLogEncoding`, in any case; `OFF` where Istio leaves `accessLogFile` empty. */
function readAccessLog(env: Environment): 'text' | 'json' | 'off' {
  const value = text(env, 'ACCESS_LOG_ENCODING')
  const known = (['text', 'json', 'off'] as const).find(choice => choice === (value ?? 'text').toLowerCase())
  return known ?? invalid('ACCESS_LOG_ENCODING', value ?? '', 'expected one of TEXT, JSON, OFF')
}
