/** Workloads, the service and policies of the process's tests, with everything filled in. */
import type { AppProtocol, Service, Workload } from '@ambient/core'
import type { AuthorizationPolicy } from '@ambient/policy'

export function webService(vip: string, appPort: number, protocol: AppProtocol | undefined): Service {
  return {
    name: 'web',
    namespace: 'default',
    hostname: 'web.default.svc.cluster.local',
    vips: [{ network: '', ip: vip }],
    cidrVips: [],
    ports: new Map([[80, appPort]]),
    ...(protocol === undefined ? {} : { appProtocols: new Map([[80, protocol]]) }),
    subjectAltNames: [],
    waypoint: {
      destination: {
        kind: 'hostname',
        namespace: 'default',
        hostname: 'waypoint.default.svc.cluster.local',
      },
      hboneMtlsPort: 15008,
    },
    weightedWaypoints: [],
    loadBalancer: { routingPreferences: [], mode: 'Standard', healthPolicy: 'OnlyHealthy' },
    ipFamilies: 'Automatic',
    canonical: true,
    visibility: 'Public',
  }
}

export function workload(name: string, parts: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/default/${name}`,
    name,
    namespace: 'default',
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: name,
    node: 'local',
    canonicalName: name,
    canonicalRevision: 'v1',
    workloadType: 'deployment',
    workloadName: name,
    nativeTunnel: false,
    services: new Map(),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...parts,
  }
}

type Rule = NonNullable<AuthorizationPolicy['spec']['rules']>[number]
type PolicySource = NonNullable<Rule['from']>[number]['source']
type PolicyOperation = NonNullable<Rule['to']>[number]['operation']

/** A policy for the service `web` with one rule. */
export function policy(
  name: string,
  action: 'ALLOW' | 'DENY',
  match: Pick<PolicySource, 'principals'> & Pick<PolicyOperation, 'methods' | 'paths'>,
): AuthorizationPolicy & { readonly source: { file: string; line: number; column: number } } {
  const { principals, ...operation } = match
  return {
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'default', name, labels: {}, annotations: {} },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
      action,
      rules: [
        {
          ...(principals === undefined ? {} : { from: [{ source: { principals } }] }),
          ...(Object.keys(operation).length === 0 ? {} : { to: [{ operation }] }),
        },
      ],
    },
    source: { file: 'test', line: 1, column: 1 },
  }
}
