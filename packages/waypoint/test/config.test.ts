/** A waypoint's environment in, one configuration out. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { configFromEnvironment } from '../src/config/environment.ts'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const ROOT = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'
const base = { POD_NAMESPACE: 'shop', GATEWAY_NAME: 'waypoint', XDS_ROOT_CA: ROOT, CA_ROOT_CA: ROOT }

function read(env: Record<string, string>, files: Record<string, string> = {}) {
  return configFromEnvironment({ ...base, ...env }, { read: path => files[path] })
}

describe('defaults', () => {
  it('are Istio’s', () => {
    const config = read({})
    expect(config).toMatchObject({
      gateway: { namespace: 'shop', name: 'waypoint' },
      serviceAccount: 'waypoint',
      podName: 'waypoint',
      clusterId: 'Kubernetes',
      clusterDomain: 'cluster.local',
      trustDomain: 'cluster.local',
      rootNamespace: 'istio-system',
      instanceIp: '1.1.1.1',
      ports: { hbone: 15008, admin: 15000, stats: 15020, readiness: 15021 },
      secretTtlMs: 86_400_000,
      drainMs: 5_000,
      accessLog: 'text',
      log: { filter: 'info', format: 'plain' },
      version: manifest.version,
    })
    expect(config.xds.address).toBe('https://localhost:15012')
    expect(config.tracing).toEqual({
      endpoint: undefined,
      headers: {},
      timeoutMs: 10_000,
      maxQueuedSpans: 2_048,
      maxBatchSpans: 512,
      batchDelayMs: 5_000,
      parentBased: true,
      ratio: 0.01,
      serviceName: 'waypoint.shop',
      resourceAttributes: {},
    })
    expect(Object.isFrozen(config)).toBe(true)
  })

  it('of a cluster are its istiod', () => {
    const { xds, ca } = read({ KUBERNETES_SERVICE_HOST: '10.0.0.1' })
    expect([xds.address, ca.address]).toEqual([
      'https://istiod.istio-system.svc:15012',
      'https://istiod.istio-system.svc:15012',
    ])
  })
})

describe('keys of issuers', () => {
  it('are fetched over TLS, from where nothing forbids it', () => {
    expect(read({}).jwks).toEqual({ allowHttp: false, blockedCidrs: [], allowedCidrs: [] })
    const env = {
      JWKS_ALLOW_HTTP: 'true',
      BLOCKED_CIDRS_IN_JWKS_URIS: '10.0.0.0/8, 192.168.0.0/16',
      ALLOWED_CIDRS_IN_JWKS_URIS: '10.1.2.3/32',
      JWKS_CA_CERT: '/ca.pem',
    }
    expect(read(env, { '/ca.pem': ROOT }).jwks).toEqual({
      allowHttp: true,
      blockedCidrs: ['10.0.0.0/8', '192.168.0.0/16'],
      allowedCidrs: ['10.1.2.3/32'],
      ca: ROOT,
    })
    expect(read({ JWKS_CA_CERT: ROOT }).jwks.ca).toBe(ROOT)
    expect(() => read({ BLOCKED_CIDRS_IN_JWKS_URIS: '10.0.0.0/33' })).toThrow(
      /^invalid env var BLOCKED_CIDRS_IN_JWKS_URIS=10\.0\.0\.0\/33 \(invalid IP block/,
    )
    expect(() => read({ JWKS_CA_CERT: '/none' })).toThrow(/there is no such file/)
  })
})

describe('values', () => {
  it('are taken', () => {
    const config = read({
      SERVICE_ACCOUNT: 'gateway',
      ACCESS_LOG_ENCODING: 'JSON',
      TERMINATION_DRAIN_DURATION: '30s',
      ISTIO_META_CLUSTER_ID: 'c1',
      AUTH_TOKEN: 'secret',
      XDS_ADDRESS: '127.0.0.1:15012',
      CA_ADDRESS: '',
    })
    expect(config).toMatchObject({
      serviceAccount: 'gateway',
      accessLog: 'json',
      drainMs: 30_000,
      clusterId: 'c1',
      metadata: { CLUSTER_ID: 'c1' },
      authToken: { kind: 'literal' },
    })
    expect(config.xds.address).toBe('https://127.0.0.1:15012')
    expect(config.ca.address).toBeUndefined()
  })

  it.each([
    ['always_on', undefined, { parentBased: false, ratio: 1 }],
    ['parentbased_always_off', undefined, { parentBased: true, ratio: 0 }],
    ['traceidratio', '0.5', { parentBased: false, ratio: 0.5 }],
    ['parentbased_traceidratio', undefined, { parentBased: true, ratio: 0.01 }],
  ])('sampler %s %s', (sampler, argument, expected) => {
    const env = { OTEL_TRACES_SAMPLER: sampler, ...(argument && { OTEL_TRACES_SAMPLER_ARG: argument }) }
    expect(read(env).tracing).toMatchObject(expected)
  })

  it('of OpenTelemetry: the endpoint gets its path, the one for traces is taken as it is', () => {
    const endpoint = (env: Record<string, string>) => read(env).tracing.endpoint
    expect(endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' })).toBe('http://c:4318/v1/traces')
    expect(endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318/x/' })).toBe('http://c:4318/x/v1/traces')
    expect(endpoint({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c:4318/y' })).toBe('http://c:4318/y')
    expect(
      endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_SDK_DISABLED: 'true' }),
    ).toBeUndefined()
  })
})

describe('what cannot be used is refused with its name', () => {
  it.each([
    ['POD_NAMESPACE', '', 'POD_NAMESPACE is required: the namespace of the Gateway'],
    ['GATEWAY_NAME', '', 'GATEWAY_NAME is required: the name of the Gateway that this process serves'],
    ['INSTANCE_IP', '127.1', 'expected an IP address'],
    ['TRUST_DOMAIN', 'Upper', 'trust domain characters are limited'],
    ['SERVICE_ACCOUNT', 'a/b', 'it cannot be part of a SPIFFE ID'],
    ['XDS_ADDRESS', 'https://', 'expected https://host:port'],
    ['XDS_ROOT_CA', '/nowhere.pem', 'no such file'],
    ['ACCESS_LOG_ENCODING', 'xml', 'expected one of TEXT, JSON, OFF'],
    ['TERMINATION_DRAIN_DURATION', 'soon', 'expected a duration'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc', 'expected one of http/json'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'c:4318', 'expected http://host:port'],
    ['OTEL_TRACES_SAMPLER', 'some', 'expected one of always_on'],
    ['OTEL_TRACES_SAMPLER_ARG', '2', 'expected a number from 0 to 1'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'nothing', 'expected key=value,key=value'],
    ['OTEL_BSP_MAX_QUEUE_SIZE', '0', 'expected a whole number from 1'],
  ])('%s=%s', (name, value, reason) => {
    expect(() => read({ [name]: value })).toThrow(reason)
    expect(() => read({ [name]: value })).toThrow(name)
  })
})

describe('SPIFFE_ENDPOINT_SOCKET', () => {
  const SPIFFE_ENDPOINT_SOCKET = 'unix:///run/agent.sock'

  it('takes the place of the CA', () => {
    const { ca, workloadApi } = read({ SPIFFE_ENDPOINT_SOCKET, CA_ADDRESS: '' })
    expect(ca.address).toBeUndefined()
    expect(workloadApi).toBe(SPIFFE_ENDPOINT_SOCKET)
    expect(read({}).workloadApi).toBeUndefined()
  })

  it('must be an address, and the only issuer', () => {
    expect(() => read({ SPIFFE_ENDPOINT_SOCKET: 'agent.sock' })).toThrow('the scheme is neither unix nor tcp')
    expect(() => read({ SPIFFE_ENDPOINT_SOCKET, CA_ADDRESS: 'https://istiod:15012' })).toThrow(
      'only one of SPIFFE_ENDPOINT_SOCKET and CA_ADDRESS may be set',
    )
  })
})
