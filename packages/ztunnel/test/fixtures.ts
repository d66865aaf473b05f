/** Workloads and services with everything filled in, so that a test states only what it is about. */
import type { LoadBalancing, Service, Workload } from '@ambient/core'
import { createDirectory, type WritableDirectory } from '@ambient/discovery'

export function workload(name: string, parts: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/${parts.namespace ?? 'default'}/${name}`,
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

export const standardBalancing: LoadBalancing = {
  routingPreferences: [],
  mode: 'Standard',
  healthPolicy: 'OnlyHealthy',
}

export function service(name: string, vip: string | undefined, parts: Partial<Service> = {}): Service {
  const namespace = parts.namespace ?? 'default'
  return {
    name,
    namespace,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    vips: vip === undefined ? [] : [{ network: parts.vips?.[0]?.network ?? '', ip: vip }],
    cidrVips: [],
    ports: new Map([[80, 8080]]),
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancer: standardBalancing,
    ipFamilies: 'Automatic',
    canonical: true,
    visibility: 'Public',
    ...parts,
  }
}

export function directoryOf(
  workloads: readonly Workload[],
  services: readonly Service[] = [],
): WritableDirectory {
  const directory = createDirectory()
  const problems = directory.apply({ workloads, services })
  if (problems.length > 0) throw new Error(JSON.stringify(problems))
  return directory
}

/** The `services` entry of an endpoint. */
export function endpointOf(...services: readonly Service[]): Workload['services'] {
  return new Map(services.map(one => [`${one.namespace}/${one.hostname}`, one.ports]))
}
