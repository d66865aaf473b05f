import { create, toBinary } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { emptyMatch } from '@ambient/policy'
import { AuthorizationSchema } from '../src/gen/authorization_pb.js'
import { AddressSchema, ServiceSchema, WorkloadSchema } from '../src/gen/workload_pb.js'
import {
  decodeAddress,
  decodeAuthorization,
  encodeAuthorization,
  encodeService,
  encodeWorkload,
} from '../src/index.ts'
import { limits } from '../src/limits.ts'
import { policy, service, workload } from './support/samples.ts'

const waypoint = {
  destination: { kind: 'hostname', namespace: 'shop', hostname: 'way.shop.svc.cluster.local' },
  hboneMtlsPort: 15008,
} as const
const gateway = {
  destination: { kind: 'address', network: 'other', ip: '192.168.0.1' },
  hboneMtlsPort: 15009,
} as const

describe('a round trip keeps every field', () => {
  it.each([
    ['a plain pod', workload()],
    [
      'a full workload',
      workload({
        addresses: ['10.0.0.1', 'fd00::1'],
        hostname: 'db.example',
        network: 'net-1',
        protocol: 'TCP',
        trustDomain: 'td.example',
        waypoint,
        networkGateway: gateway,
        workloadType: 'cronjob',
        nativeTunnel: true,
        applicationTunnel: { protocol: 'PROXY', port: 15088 },
        services: new Map([
          ['shop/a.shop.svc.cluster.local', new Map([[80, 8080]])],
          ['shop/b.shop.svc.cluster.local', new Map()],
        ]),
        authorizationPolicies: ['shop/p', 'istio-system/q'],
        status: 'Unhealthy',
        clusterId: 'c2',
        locality: { region: 'r', zone: 'z', subzone: 's' },
        networkMode: 'HostNetwork',
        capacity: 3,
      }),
    ],
    ['a workload with capacity 0', workload({ capacity: 0 })],
  ])('%s', (_, value) => {
    expect(decodeAddress(encodeWorkload(value))).toEqual({
      ok: true,
      value: { kind: 'workload', workload: value },
    })
  })

  it.each([
    ['a plain service', service()],
    [
      'a full service',
      service({
        vips: [
          { network: 'n', ip: '10.1.0.1' },
          { network: 'n', ip: 'fd00::2' },
        ],
        cidrVips: [
          { network: 'n', cidr: '10.2.0.0/16' },
          { network: '', cidr: 'fd00::/64' },
        ],
        ports: new Map([
          [80, 0],
          [443, 8443],
        ]),
        subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/extra'],
        waypoint: gateway,
        weightedWaypoints: [{ destination: waypoint, weight: 7 }],
        loadBalancer: {
          routingPreferences: ['Network', 'Region', 'Zone'],
          mode: 'Failover',
          healthPolicy: 'AllowAll',
        },
        ipFamilies: 'Dual',
        canonical: false,
        visibility: 'Namespace',
      }),
    ],
  ])('%s', (_, value) => {
    expect(decodeAddress(encodeService(value))).toEqual({
      ok: true,
      value: { kind: 'service', service: value },
    })
  })

  it.each([
    ['a policy', policy()],
    [
      'a policy with every attribute',
      policy({
        scope: 'WorkloadSelector',
        action: 'Allow',
        dryRun: true,
        rules: [
          { clauses: [] },
          {
            clauses: [
              { matches: [] },
              {
                matches: [
                  {
                    ...emptyMatch,
                    namespaces: [{ kind: 'exact', value: 'a' }],
                    notNamespaces: [{ kind: 'prefix', value: 'b' }],
                    principals: [{ kind: 'suffix', value: '/sa/c' }],
                    notPrincipals: [{ kind: 'presence' }],
                    serviceAccounts: [{ namespace: 'n', serviceAccount: 's' }],
                    notServiceAccounts: [{ namespace: 'n', serviceAccount: 't' }],
                    sourceIps: ['10.0.0.0/8'],
                    notSourceIps: ['10.1.2.3/32'],
                    destinationIps: ['fd00::/8'],
                    notDestinationIps: ['0.0.0.0/0'],
                    destinationPorts: [80],
                    notDestinationPorts: [81, 82],
                  },
                ],
              },
            ],
          },
        ],
      }),
    ],
  ])('%s', (_, value) => {
    expect(decodeAuthorization(encodeAuthorization(value))).toEqual({ ok: true, value })
  })

  it('gives equal bytes for equal content, whatever the order of its maps', () => {
    const ports = new Map([[80, 8080]])
    const one = workload({
      services: new Map([
        ['a/b', ports],
        ['c/d', ports],
      ]),
    })
    const two = workload({
      services: new Map([
        ['c/d', ports],
        ['a/b', ports],
      ]),
    })
    expect(encodeWorkload(two)).toEqual(encodeWorkload(one))
  })
})

describe('what istiod leaves out', () => {
  it('means the defaults', () => {
    const bytes = workloadBytes({ uid: 'u' })
    expect(decodeAddress(bytes)).toMatchObject({
      value: {
        workload: {
          trustDomain: 'cluster.local',
          serviceAccount: 'default',
          clusterId: 'Kubernetes',
          capacity: 1,
          protocol: 'TCP',
        },
      },
    })
  })

  it('is left out by us too: the trust domain cluster.local', () => {
    const text = Buffer.from(encodeWorkload(workload())).toString('latin1')
    expect(text).not.toContain('cluster.local')
  })
})

describe('what ztunnel refuses', () => {
  it.each<[string, Uint8Array, RegExp]>([
    ['an address of 3 bytes', workloadBytes({ addresses: [new Uint8Array(3)] }), /3 bytes, not 4 or 16/],
    ['an address without bytes', workloadBytes({ addresses: [new Uint8Array(0)] }), /0 bytes/],
    ['legacy mTLS', workloadBytes({ tunnelProtocol: 2 }), /unknown tunnel_protocol 2/],
    ['an unknown tunnel protocol', workloadBytes({ tunnelProtocol: 9 }), /unknown tunnel_protocol 9/],
    ['an unknown status', workloadBytes({ status: 2 }), /unknown status 2/],
    ['an unknown network mode', workloadBytes({ networkMode: 2 }), /unknown network_mode 2/],
    [
      'a service key without a slash',
      workloadBytes({ services: { web: {} } }),
      /"web" is not namespace\/hostname/,
    ],
    ['a waypoint without destination', workloadBytes({ waypoint: {} }), /no destination/],
    [
      'an unknown tunnel to the application',
      workloadBytes({ applicationTunnel: { protocol: 5 } }),
      /application_tunnel\.protocol 5/,
    ],
    [
      'neither workload nor service',
      toBinary(AddressSchema, create(AddressSchema)),
      /neither a workload nor a service/,
    ],
    ['an unknown scope', serviceBytes({ loadBalancing: { routingPreference: [0] } }), /routing_preference 0/],
    ['an unknown mode', serviceBytes({ loadBalancing: { mode: 4 } }), /load_balancing\.mode 4/],
    ['an unknown health policy', serviceBytes({ loadBalancing: { healthPolicy: 2 } }), /health_policy 2/],
    ['unknown families', serviceBytes({ ipFamilies: 4 }), /ip_families 4/],
    [
      'a weighted waypoint without destination',
      serviceBytes({ weightedWaypoints: [{ weight: 1 }] }),
      /weighted waypoint/,
    ],
    ['a VIP of 5 bytes', serviceBytes({ addresses: [{ address: new Uint8Array(5) }] }), /5 bytes/],
    [
      'a block longer than its address',
      serviceBytes({ addresses: [{ address: new Uint8Array(4), length: 33 }] }),
      /not an IP block/,
    ],
    ['bytes that are no protobuf', new Uint8Array([255, 255, 255]), /./],
    ['too many bytes', new Uint8Array(limits.maxResourceBytes + 1), /more than 1048576/],
  ])('%s', (_, bytes, reason) => {
    const result = decodeAddress(bytes)
    expect(result.ok ? 'accepted' : result.reason).toMatch(reason)
  })

  it('is not an unknown workload type, nor an unknown visibility', () => {
    expect(decodeAddress(workloadBytes({ workloadType: 9 }))).toMatchObject({
      value: { workload: { workloadType: 'deployment' } },
    })
    expect(decodeAddress(serviceBytes({ visibility: 9 }))).toMatchObject({
      value: { service: { visibility: 'Public' } },
    })
  })

  it('is not a port above 65535 either: its low bits count', () => {
    const result = decodeAddress(serviceBytes({ ports: [{ servicePort: 65536 + 80, targetPort: 65536 }] }))
    expect(result).toMatchObject({ value: { service: { ports: new Map([[80, 0]]) } } })
  })

  it.each([
    ['an unknown scope', { scope: 3 }, /unknown scope 3/],
    ['an unknown action', { action: 2 }, /unknown action 2/],
  ])('%s of a policy', (_, init, reason) => {
    const result = decodeAuthorization(toBinary(AuthorizationSchema, create(AuthorizationSchema, init)))
    expect(result.ok ? 'accepted' : result.reason).toMatch(reason)
  })

  it('is not a policy with unusable values: those are left out', () => {
    const bytes = toBinary(
      AuthorizationSchema,
      create(AuthorizationSchema, {
        rules: [
          {
            clauses: [
              { matches: [{ namespaces: [{}], sourceIps: [{ address: new Uint8Array(3), length: 8 }] }] },
            ],
          },
        ],
      }),
    )
    expect(decodeAuthorization(bytes)).toMatchObject({
      value: { rules: [{ clauses: [{ matches: [emptyMatch] }] }] },
    })
  })
})

describe('addresses', () => {
  it('of a whole length are hosts, mapped ones are IPv4', () => {
    const mapped = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 0])
    const result = decodeAddress(
      serviceBytes({
        addresses: [
          { address: new Uint8Array([10, 0, 0, 9]), length: 32 },
          { address: new Uint8Array(16), length: 128 },
          { address: mapped, length: 120 },
        ],
      }),
    )
    expect(result).toMatchObject({
      value: {
        service: {
          vips: [{ ip: '10.0.0.9' }, { ip: '::' }],
          cidrVips: [{ cidr: '10.0.0.0/24' }],
        },
      },
    })
  })

  it('0.0.0.0 is one', () => {
    expect(decodeAddress(workloadBytes({ addresses: [new Uint8Array(4)] })).ok).toBe(true)
  })
})

/** Numbers that the types do not know are the point here. */
type Init = Readonly<Record<string, unknown>>

function workloadBytes(init: Init): Uint8Array {
  const value = create(WorkloadSchema, init as never)
  return toBinary(AddressSchema, create(AddressSchema, { type: { case: 'workload', value } }))
}

function serviceBytes(init: Init): Uint8Array {
  const value = create(ServiceSchema, init as never)
  return toBinary(AddressSchema, create(AddressSchema, { type: { case: 'service', value } }))
}
