/** Workloads, services and policies with every field of no interest filled in. */
import type { Service, Workload } from '@ambient/core'
import { type Authorization, emptyMatch } from '@ambient/policy'
import type { AmbientState } from '../../src/ambient/state.ts'

export function workload(over: Partial<Workload> = {}): Workload {
  return {
    uid: 'Kubernetes//Pod/shop/web-1',
    name: 'web-1',
    namespace: 'shop',
    addresses: ['10.0.0.1'],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'web',
    node: 'node-a',
    canonicalName: 'web',
    canonicalRevision: 'latest',
    workloadType: 'pod',
    workloadName: 'web',
    nativeTunnel: false,
    services: new Map(),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...over,
  }
}

/** A workload by a short name, with an address of its own. */
export function pod(name: string, ip: string, over: Partial<Workload> = {}): Workload {
  return workload({ uid: `Kubernetes//Pod/shop/${name}`, name, addresses: [ip], ...over })
}

export function service(over: Partial<Service> = {}): Service {
  return {
    name: 'web',
    namespace: 'shop',
    hostname: 'web.shop.svc.cluster.local',
    vips: [{ network: '', ip: '10.1.0.1' }],
    cidrVips: [],
    ports: new Map([[80, 8080]]),
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancer: { routingPreferences: [], mode: 'Standard', healthPolicy: 'OnlyHealthy' },
    ipFamilies: 'Automatic',
    canonical: true,
    visibility: 'Public',
    ...over,
  }
}

export function policy(over: Partial<Authorization> = {}): Authorization {
  return {
    name: 'deny-all',
    namespace: 'shop',
    scope: 'Namespace',
    action: 'Deny',
    dryRun: false,
    rules: [{ clauses: [{ matches: [{ ...emptyMatch, notPrincipals: [{ kind: 'presence' }] }] }] }],
    ...over,
  }
}

export function state(parts: {
  workloads?: Workload[]
  services?: Service[]
  policies?: Authorization[]
}): AmbientState {
  return {
    workloads: new Map((parts.workloads ?? []).map(item => [item.uid, item])),
    services: new Map((parts.services ?? []).map(item => [`${item.namespace}/${item.hostname}`, item])),
    authorizations: new Map((parts.policies ?? []).map(item => [`${item.namespace}/${item.name}`, item])),
  }
}
