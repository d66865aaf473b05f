/**
 * Field numbers by hand, so that the .proto files are checked against Istio's protocol and not against themselves.
 * Why so long: every field of every message is here once.
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { fromBinary } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { emptyMatch } from '@ambient/policy'
import { decodeAddress, decodeAuthorization } from '../src/index.ts'
import { DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema } from '../src/gen/discovery_pb.js'

type Value = string | number | Uint8Array | readonly Field[]
type Field = readonly [number: number, value: Value]

/** Strings, bytes and messages by length; numbers as varints. */
function message(fields: readonly Field[]): Uint8Array {
  const writer = new BinaryWriter()
  for (const [number, value] of fields) {
    if (typeof value === 'number') writer.tag(number, WireType.Varint).uint32(value)
    else if (typeof value === 'string') writer.tag(number, WireType.LengthDelimited).string(value)
    else
      writer.tag(number, WireType.LengthDelimited).bytes(value instanceof Uint8Array ? value : message(value))
  }
  return writer.finish()
}

const ip = (last: number): Uint8Array => new Uint8Array([10, 0, 0, last])

describe('the wire', () => {
  it('of a workload', () => {
    const workload: Field[] = [
      [20, 'c//Pod/ns/name'],
      [1, 'name'],
      [2, 'ns'],
      [3, ip(1)],
      [21, 'host'],
      [4, 'net'],
      [5, 1],
      [6, 'td'],
      [7, 'sa'],
      [
        8,
        [
          [
            1,
            [
              [1, 'wns'],
              [2, 'whost'],
            ],
          ],
          [3, 15008],
        ],
      ],
      [
        19,
        [
          [
            2,
            [
              [1, 'gnet'],
              [2, ip(2)],
            ],
          ],
          [3, 15009],
        ],
      ],
      [9, 'node'],
      [10, 'cname'],
      [11, 'crev'],
      [12, 1],
      [13, 'wname'],
      [14, 1],
      [
        23,
        [
          [1, 1],
          [2, 15088],
        ],
      ],
      [
        22,
        [
          [1, 'ns/host'],
          [
            2,
            [
              [
                1,
                [
                  [1, 80],
                  [2, 8080],
                  [3, 1],
                ],
              ],
            ],
          ],
        ],
      ],
      [16, 'ns/policy'],
      [17, 1],
      [18, 'cluster'],
      [
        24,
        [
          [1, 'r'],
          [2, 'z'],
          [3, 's'],
        ],
      ],
      [25, 1],
      [26, [[1, 'an extension']]],
      [27, [[1, 7]]],
      [99, 'a field of the future'],
    ]
    expect(decodeAddress(message([[1, workload]]))).toEqual({
      ok: true,
      value: {
        kind: 'workload',
        workload: {
          uid: 'c//Pod/ns/name',
          name: 'name',
          namespace: 'ns',
          addresses: ['10.0.0.1'],
          hostname: 'host',
          network: 'net',
          protocol: 'HBONE',
          trustDomain: 'td',
          serviceAccount: 'sa',
          waypoint: {
            destination: { kind: 'hostname', namespace: 'wns', hostname: 'whost' },
            hboneMtlsPort: 15008,
          },
          networkGateway: {
            destination: { kind: 'address', network: 'gnet', ip: '10.0.0.2' },
            hboneMtlsPort: 15009,
          },
          node: 'node',
          canonicalName: 'cname',
          canonicalRevision: 'crev',
          workloadType: 'cronjob',
          workloadName: 'wname',
          nativeTunnel: true,
          applicationTunnel: { protocol: 'PROXY', port: 15088 },
          services: new Map([['ns/host', new Map([[80, 8080]])]]),
          authorizationPolicies: ['ns/policy'],
          status: 'Unhealthy',
          clusterId: 'cluster',
          locality: { region: 'r', zone: 'z', subzone: 's' },
          networkMode: 'HostNetwork',
          capacity: 7,
        },
      },
    })
  })

  it('of a service', () => {
    const service: Field[] = [
      [1, 'name'],
      [2, 'ns'],
      [3, 'host'],
      [
        4,
        [
          [1, 'net'],
          [2, ip(1)],
        ],
      ],
      [
        4,
        [
          [2, ip(0)],
          [3, 24],
        ],
      ],
      [
        5,
        [
          [1, 80],
          [2, 8080],
        ],
      ],
      [6, 'spiffe://td/ns/a/sa/b'],
      [7, [[2, [[2, ip(3)]]]]],
      [
        8,
        [
          [1, 6],
          [2, 2],
          [3, 1],
        ],
      ],
      [9, 3],
      [11, 1],
      [12, 1],
      [
        13,
        [
          [
            1,
            [
              [
                1,
                [
                  [1, 'a'],
                  [2, 'b'],
                ],
              ],
            ],
          ],
          [2, 9],
        ],
      ],
      [14, 1],
    ]
    expect(decodeAddress(message([[2, service]]))).toEqual({
      ok: true,
      value: {
        kind: 'service',
        service: {
          name: 'name',
          namespace: 'ns',
          hostname: 'host',
          vips: [{ network: 'net', ip: '10.0.0.1' }],
          cidrVips: [{ network: '', cidr: '10.0.0.0/24' }],
          ports: new Map([[80, 8080]]),
          subjectAltNames: ['spiffe://td/ns/a/sa/b'],
          waypoint: { destination: { kind: 'address', network: '', ip: '10.0.0.3' }, hboneMtlsPort: 0 },
          weightedWaypoints: [
            {
              destination: {
                destination: { kind: 'hostname', namespace: 'a', hostname: 'b' },
                hboneMtlsPort: 0,
              },
              weight: 9,
            },
          ],
          loadBalancer: { routingPreferences: ['Network'], mode: 'Failover', healthPolicy: 'AllowAll' },
          ipFamilies: 'Dual',
          canonical: true,
          visibility: 'Namespace',
        },
      },
    })
  })

  it('of a policy', () => {
    const match: Field[] = [
      [1, [[1, 'a']]],
      [2, [[2, 'b']]],
      [3, [[3, 'c']]],
      [4, [[4, []]]],
      [
        5,
        [
          [1, ip(0)],
          [2, 8],
        ],
      ],
      [
        6,
        [
          [1, ip(1)],
          [2, 32],
        ],
      ],
      [
        7,
        [
          [1, ip(2)],
          [2, 32],
        ],
      ],
      [
        8,
        [
          [1, ip(3)],
          [2, 32],
        ],
      ],
      [9, 80],
      [10, 81],
      [
        11,
        [
          [1, 'n'],
          [2, 's'],
        ],
      ],
      [
        12,
        [
          [1, 'n'],
          [2, 't'],
        ],
      ],
    ]
    const policy: Field[] = [
      [1, 'name'],
      [2, 'ns'],
      [3, 2],
      [4, 1],
      [5, [[1, [[2, match]]]]],
      [6, 1],
    ]
    expect(decodeAuthorization(message(policy))).toEqual({
      ok: true,
      value: {
        name: 'name',
        namespace: 'ns',
        scope: 'WorkloadSelector',
        action: 'Deny',
        dryRun: true,
        rules: [
          {
            clauses: [
              {
                matches: [
                  {
                    ...emptyMatch,
                    namespaces: [{ kind: 'exact', value: 'a' }],
                    notNamespaces: [{ kind: 'prefix', value: 'b' }],
                    principals: [{ kind: 'suffix', value: 'c' }],
                    notPrincipals: [{ kind: 'presence' }],
                    sourceIps: ['10.0.0.0/8'],
                    notSourceIps: ['10.0.0.1/32'],
                    destinationIps: ['10.0.0.2/32'],
                    notDestinationIps: ['10.0.0.3/32'],
                    destinationPorts: [80],
                    notDestinationPorts: [81],
                    serviceAccounts: [{ namespace: 'n', serviceAccount: 's' }],
                    notServiceAccounts: [{ namespace: 'n', serviceAccount: 't' }],
                  },
                ],
              },
            ],
          },
        ],
      },
    })
  })

  it('of the envelope', () => {
    const request = message([
      [
        1,
        [
          [1, 'id'],
          [2, 'cluster'],
          [
            3,
            [
              [
                1,
                [
                  [1, 'K'],
                  [2, [[3, 'v']]],
                ],
              ],
            ],
          ],
        ],
      ],
      [2, 'type'],
      [3, 'sub'],
      [4, 'unsub'],
      [
        5,
        [
          [1, 'held'],
          [2, ''],
        ],
      ],
      [6, 'nonce'],
      [7, [[2, 'refused']]],
    ])
    expect(fromBinary(DeltaDiscoveryRequestSchema, request)).toMatchObject({
      node: { id: 'id', cluster: 'cluster', metadata: { K: 'v' } },
      typeUrl: 'type',
      resourceNamesSubscribe: ['sub'],
      resourceNamesUnsubscribe: ['unsub'],
      initialResourceVersions: { held: '' },
      responseNonce: 'nonce',
      errorDetail: { message: 'refused' },
    })
    const response = message([
      [1, 'version'],
      [
        2,
        [
          [1, 'v1'],
          [
            2,
            [
              [1, 'type'],
              [2, ip(1)],
            ],
          ],
          [3, 'name'],
          [4, '/10.0.0.1'],
          [6, [[1, 5]]],
        ],
      ],
      [4, 'type'],
      [5, 'nonce'],
      [6, 'gone'],
    ])
    expect(fromBinary(DeltaDiscoveryResponseSchema, response)).toMatchObject({
      systemVersionInfo: 'version',
      resources: [
        { version: 'v1', name: 'name', aliases: ['/10.0.0.1'], resource: { typeUrl: 'type', value: ip(1) } },
      ],
      typeUrl: 'type',
      nonce: 'nonce',
      removedResources: ['gone'],
    })
  })
})
