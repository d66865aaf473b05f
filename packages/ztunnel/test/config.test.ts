/** ztunnel's environment in, one configuration out. */
import { readFileSync } from 'node:fs'
import { readDurationMs } from '@ambient/core/proxy'
import { describe, expect, it } from 'vitest'
import { configFromEnvironment } from '../src/config/environment.ts'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const ROOT = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'
const base = { XDS_ROOT_CA: ROOT, CA_ROOT_CA: ROOT }

function read(env: Record<string, string>, files: Record<string, string> = {}) {
  return configFromEnvironment({ ...base, ...env }, { read: path => files[path] })
}

describe('defaults', () => {
  it('are ztunnel’s', () => {
    const config = read({})
    expect(config).toMatchObject({
      mode: 'shared',
      clusterId: 'Kubernetes',
      clusterDomain: 'cluster.local',
      instanceIp: '1.1.1.1',
      secretTtlMs: 86_400_000,
      terminationDeadlineMs: 5_000,
      responseBaggage: true,
      ports: { outbound: 15001, inboundPlaintext: 15006, inboundHbone: 15008, admin: 15000, stats: 15020 },
      hbone: { streamWindowBytes: 4_194_304, connectionWindowBytes: 16_777_216, frameBytes: 1_048_576 },
      log: { filter: 'info', format: 'plain' },
    })
    expect(config.xds.address).toBe('https://localhost:15012')
    expect(Object.isFrozen(config)).toBe(true)
  })

  it('of the version is the own version of the package', () => {
    expect(read({}).version).toBe(manifest.version)
    expect(read({ ISTIO_META_ISTIO_VERSION: '1.2.3' }).version).toBe('1.2.3')
  })

  it('of istiod inside a cluster', () => {
    expect(read({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }).ca.address).toBe(
      'https://istiod.istio-system.svc:15012',
    )
  })
})

describe('malformed values', () => {
  it.each([
    ['ENABLE_PROXY', 'yes', 'expected true or false'],
    ['PROXY_MODE', 'both', 'expected one of shared, dedicated'],
    ['SECRET_TTL', '1 fortnight', 'expected a duration such as 180s, 5m, 1h or 1h 30m'],
    ['HTTP2_FRAME_SIZE', '12', 'expected a whole number from 16384 to 16777215'],
    ['INSTANCE_IP', '127.1', 'expected an IP address'],
    ['XDS_ADDRESS', 'https://', 'expected https://host:port'],
    ['NODE_RELAY', 'http://127.0.0.1:1', 'expected socks5://IP:PORT'],
    ['LOG_FORMAT', 'xml', 'expected one of plain, json'],
    ['ISTIO_METAJSON_LABELS', '{', 'expected JSON'],
    ['LOCAL_XDS_PATH', '/nowhere.yaml', 'no such file'],
    ['XDS_ROOT_CA', '/nowhere.pem', 'no such file'],
    ['PROXY_WORKLOAD_INFO', 'a/b', 'expected namespace/name/serviceAccount'],
    [
      'SPIFFE_ENDPOINT_SOCKET',
      '/run/agent.sock',
      'address: "/run/agent.sock": the scheme is neither unix nor tcp',
    ],
  ])('%s=%s', (name, value, reason) => {
    expect(() => read({ [name]: value })).toThrow(`invalid env var ${name}=${value} (${reason})`)
  })

  it('dedicated mode needs its workload', () => {
    expect(() => read({ PROXY_MODE: 'dedicated' })).toThrow(
      'PROXY_WORKLOAD_INFO=namespace/name/serviceAccount',
    )
  })

  it('both forms of local configuration at once', () => {
    expect(() => read({ LOCAL_XDS_PATH: 'a', LOCAL_XDS: 'b' })).toThrow('only one of')
  })

  it('in-pod mode is not there yet', () => {
    expect(() => read({ INPOD_UDS: '/run/z.sock' })).toThrow('invalid env var INPOD_UDS=/run/z.sock')
  })
})

describe('precedence', () => {
  it('environment over PROXY_CONFIG over the mesh file', () => {
    const files = {
      './etc/istio/config/mesh':
        'defaultConfig:\n  discoveryAddress: mesh:1\n  statsPort: 1111\n  proxyAdminPort: 2222\n  proxyMetadata:\n    ISTIO_META_A: mesh\n    B: mesh\n',
    }
    const config = read(
      { PROXY_CONFIG: 'statsPort: 3333\nproxyMetadata: {B: variable}', ISTIO_META_A: 'environment' },
      files,
    )
    expect(config.xds.address).toBe('https://mesh:1')
    expect(config.ports).toMatchObject({ stats: 3333, admin: 2222 })
    expect(config.metadata).toMatchObject({ A: 'environment', B: 'variable' })
  })

  it('an empty XDS_ADDRESS means none, and needs no root', () => {
    const config = configFromEnvironment({ XDS_ADDRESS: '', FAKE_CA: 'true' }, { read: () => undefined })
    expect(config.xds.address).toBeUndefined()
    expect(config.ca.address).toBeUndefined()
  })

  it('ISTIO_META_CLUSTER_ID before CLUSTER_ID', () => {
    expect(read({ ISTIO_META_CLUSTER_ID: 'one', CLUSTER_ID: 'two' }).clusterId).toBe('one')
    expect(read({ CLUSTER_ID: 'two' }).clusterId).toBe('two')
  })

  it('headers of the control plane are lower-cased', () => {
    expect(read({ XDS_HEADER_X_Tenant: 'a', CA_HEADER_Y: 'b' })).toMatchObject({
      xds: { headers: { x_tenant: 'a' } },
      ca: { headers: { y: 'b' } },
    })
  })

  it('a token is a file when there is one, else literal', () => {
    expect(read({ AUTH_TOKEN: '/t' }, { '/t': 'x' }).authToken).toEqual({ kind: 'file', path: '/t' })
    expect(read({ AUTH_TOKEN: 'abc' }).authToken).toEqual({ kind: 'literal', token: 'abc' })
    expect(read({}).authToken).toEqual({ kind: 'none' })
  })
})

describe('drain deadline', () => {
  it.each([
    ['30', 25_000],
    ['11', 6_000],
    ['10', 9_000],
    ['1', 1_000],
    ['0', 1_000],
  ])('TERMINATION_GRACE_PERIOD_SECONDS=%s gives %i ms', (seconds, expected) => {
    expect(read({ TERMINATION_GRACE_PERIOD_SECONDS: seconds }).terminationDeadlineMs).toBe(expected)
  })

  it('CONNECTION_TERMINATION_DEADLINE wins', () => {
    expect(
      read({ TERMINATION_GRACE_PERIOD_SECONDS: '30', CONNECTION_TERMINATION_DEADLINE: '2s' })
        .terminationDeadlineMs,
    ).toBe(2_000)
  })
})

describe('what has no effect', () => {
  it('is listed, louder where somebody relies on it', () => {
    const { ignored } = read({ PACKET_MARK: '1', COMPLIANCE_POLICY: 'pqc', TLS12_ENABLED: 'false' })
    expect(ignored.map(({ name, severity }) => `${severity} ${name}`)).toEqual([
      'debug PACKET_MARK',
      'warn COMPLIANCE_POLICY',
    ])
  })
})

describe('durations', () => {
  it.each([
    ['180s', 180_000],
    ['5m', 300_000],
    ['1h 30m', 5_400_000],
    ['1h30m', 5_400_000],
    ['250ms', 250],
    ['2days', 172_800_000],
    ['0', 0],
    ['', undefined],
    ['5', undefined],
    ['m5', undefined],
    ['5 parsecs', undefined],
    ['-5s', undefined],
  ])('%s', (text, expected) => {
    expect(readDurationMs(text)).toBe(expected)
  })
})

describe('SPIFFE_ENDPOINT_SOCKET', () => {
  const SPIFFE_ENDPOINT_SOCKET = 'unix:///run/agent.sock'

  it('takes the place of the CA', () => {
    const { ca, workloadApi } = configFromEnvironment(
      { SPIFFE_ENDPOINT_SOCKET, XDS_ADDRESS: '' },
      { read: () => undefined },
    )
    expect(ca.address).toBeUndefined()
    expect(workloadApi).toBe(SPIFFE_ENDPOINT_SOCKET)
    expect(read({}).workloadApi).toBeUndefined()
  })

  it.each([
    ['CA_ADDRESS', 'https://istiod:15012'],
    ['FAKE_CA', 'true'],
  ])('and %s exclude one another', (name, value) => {
    expect(() => read({ SPIFFE_ENDPOINT_SOCKET, [name]: value })).toThrow(
      `only one of SPIFFE_ENDPOINT_SOCKET and ${name} may be set`,
    )
  })
})
