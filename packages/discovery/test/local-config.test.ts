import { describe, expect, it } from 'vitest'
import { createPolicyStore } from '@ambient/policy'
import { applyLocalConfig, createDirectory, readLocalConfig } from '../src/index.ts'

const FILE = `workloads:
- uid: cluster1//v1/Pod/default/local
  name: local
  namespace: default
  serviceAccount: web
  workloadIps: ["127.0.0.1"]
  protocol: HBONE
  node: local
  waypoint: { destination: "/127.10.0.1", hboneMtlsPort: 15008 }
  authorizationPolicies: [default/deny-9999]
  services:
    default/example.com:
      80: 8080
- name: plain
  namespace: default
  workloadIps: ["127.0.0.2", "::1"]
  applicationTunnel: { protocol: PROXY, port: 15088 }
  networkGateway: { destination: other/gateway.example, hboneMtlsPort: 15009 }
  capacity: 2
  status: Unhealthy
  services: {}
services:
- name: local
  namespace: default
  hostname: example.com
  vips: ["/127.10.0.1", "remote/127.10.0.2"]
  cidrVips: [{ network: "", cidr: 127.11.0.0/16 }]
  ports: { 80: 8080 }
  loadBalancer: { routingPreferences: [Network, Region], mode: Failover, healthPolicy: AllowAll }
  subjectAltNames: [spiffe://cluster.local/ns/default/sa/extra]
  endpoints:
    Kubernetes//Pod/default/plain: { workloadUid: Kubernetes//Pod/default/plain, port: { 80: 9090 } }
policies:
- name: deny-9999
  namespace: default
  scope: WorkloadSelector
  action: Deny
  dryRun: false
  rules:
  - - - destinationPorts: [9999]
        principals: [{ Prefix: td/ns/default }, { Presence: [] }]
        sourceIps: [10.0.0.0/8]
`

describe("ztunnel's local file", () => {
  it('fills a directory and a policy store', () => {
    const directory = createDirectory()
    const policies = createPolicyStore()
    applyLocalConfig(readLocalConfig(FILE, 'local.yaml'), directory, policies)
    expect(directory.workloadByAddress('', '127.0.0.1')).toMatchObject({
      uid: 'cluster1//v1/Pod/default/local',
      protocol: 'HBONE',
      trustDomain: 'cluster.local',
      serviceAccount: 'web',
      waypoint: { destination: { kind: 'address', network: '', ip: '127.10.0.1' }, hboneMtlsPort: 15008 },
    })
    expect(directory.workloadByAddress('', '::1')).toMatchObject({
      uid: 'Kubernetes//Pod/default/plain',
      protocol: 'TCP',
      capacity: 2,
      networkGateway: { destination: { kind: 'hostname', namespace: 'other', hostname: 'gateway.example' } },
    })
    const service = directory.serviceByVip('', '127.10.0.1', 'default')
    expect(service).toMatchObject({ hostname: 'example.com', loadBalancer: { mode: 'Failover' } })
    expect(directory.serviceByVip('', '127.11.3.4', 'x')).toBe(service)
    expect(directory.serviceByVip('remote', '127.10.0.2', 'x')).toBe(service)
    const endpoints = service === undefined ? [] : directory.endpoints(service)
    expect(endpoints.map(({ workload, ports }) => [workload.name, ports.get(80)])).toEqual([
      ['local', 8080],
      ['plain', 9090],
    ])
    expect(policies.get('default/deny-9999')).toMatchObject({
      action: 'Deny',
      rules: [
        {
          clauses: [
            {
              matches: [
                {
                  destinationPorts: [9999],
                  principals: [{ kind: 'prefix', value: 'td/ns/default' }, { kind: 'presence' }],
                  sourceIps: ['10.0.0.0/8'],
                },
              ],
            },
          ],
        },
      ],
    })
  })

  it('takes the place of what was there', () => {
    const directory = createDirectory()
    const policies = createPolicyStore()
    applyLocalConfig(readLocalConfig(FILE, 'a'), directory, policies)
    applyLocalConfig(readLocalConfig('', 'a'), directory, policies)
    expect(directory.snapshot()).toEqual({ workloads: [], services: [] })
    expect(policies.list()).toEqual([])
  })

  it.each<[what: string, from: string, to: string, expected: string]>([
    [
      'an unknown field',
      'node: local',
      'nod: local',
      'local.yaml:8:3: error: workloads[0].nod: unknown field',
    ],
    ['an unknown section', 'policies:\n', 'policy:\n', 'local.yaml:33:1: error: policy: unknown field'],
    [
      'an unknown enum',
      'HBONE',
      'HBON',
      'local.yaml:7:13: error: workloads[0].protocol: expected one of TCP, HBONE',
    ],
    [
      'a bad address',
      '"127.0.0.1"',
      '"127.0.0.256"',
      'local.yaml:6:17: error: workloads[0].workloadIps[0]: expected an IP address',
    ],
    [
      'a missing field',
      '  services: {}\n',
      '',
      'local.yaml:14:3: error: workloads[1]: the field "services" is required',
    ],
    [
      'a VIP without network',
      '"/127.10.0.1", "rem',
      '"127.10.0.1", "rem',
      'local.yaml:26:10: error: services[0].vips[0]: expected NETWORK/IP',
    ],
    ['a bad port', '80: 9090', '80: 90900', 'expected an integer from 0 to 65535, found the number 90900'],
    [
      'a bad service key',
      'default/example.com:',
      'example.com:',
      'expected NAMESPACE/HOSTNAME as key, found "example.com"',
    ],
    ['a bad block', '10.0.0.0/8', '10.0.0.0/33', 'sourceIps[0]: invalid IP block'],
    [
      'a bad match',
      '{ Prefix: td/ns/default }',
      '{ Prefix: a, Exact: b }',
      'expected one of Exact, Prefix, Suffix, Presence',
    ],
    [
      'a duplicate',
      'cluster1//v1/Pod/default/local',
      'Kubernetes//Pod/default/plain',
      'duplicate "Kubernetes//Pod/default/plain"',
    ],
    [
      'an endpoint of nobody',
      'Kubernetes//Pod/default/plain, port',
      'nobody, port',
      'refers to the workload "nobody", which is not defined',
    ],
    ['a YAML error', 'services: {}', 'services: {', 'local.yaml:'],
  ])('names %s', (_, from, to, expected) => {
    const text = FILE.replace(from, to)
    expect(text).not.toBe(FILE)
    expect(() => readLocalConfig(text, 'local.yaml')).toThrow(expected)
    expect(() => readLocalConfig(text, 'local.yaml')).toThrow(
      expect.objectContaining({ code: 'AMBIENT_E_LOCAL_CONFIG' }),
    )
  })

  it('may be empty', () => {
    expect(readLocalConfig('', 'a')).toEqual({ workloads: [], services: [], policies: [] })
    expect(readLocalConfig('workloads: []', 'a')).toEqual({ workloads: [], services: [], policies: [] })
  })
})
