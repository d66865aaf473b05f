/**
 * Traffic that was addressed to a workload and not to a service: no route but the one to where it was going. Its cluster
 * is named after the address, and the rooms behind find it in the directory like any other.
 */
import { canonicalIp, type Directory, formatHostPort, readHostPort, type Service } from '@ambient/core'
import { type ClusterRef, noEdits, type RouteTable } from './route/ir.ts'
import { noRetry } from './route/retry.ts'

export function workloadTable(
  namespace: string,
  { address, port }: { readonly address: string; readonly port: number },
): RouteTable {
  const origin = { kind: 'implicit', resource: '' } as const
  const cluster: ClusterRef = { namespace, hostname: formatHostPort(address, port), port, subset: undefined }
  const backend = { kind: 'cluster', cluster } as const
  const destinations = [{ weight: 1, backend, requestHeaders: noEdits, responseHeaders: noEdits }]
  return {
    http: [
      {
        name: 'default',
        origin,
        matches: () => true,
        action: { kind: 'forward', destinations, rewrite: undefined },
        requestHeaders: noEdits,
        responseHeaders: noEdits,
        fault: undefined,
        mirrors: [],
        timeoutMs: undefined,
        retry: noRetry,
        matchedPrefix: '/',
      },
    ],
    tcp: [{ name: 'default', origin, destinations }],
    problems: [],
  }
}

/** The directory, in which `IP:PORT` is a service with one port and one endpoint. */
export function withWorkloadClusters(directory: Directory, network: string): Directory {
  const single = (namespace: string, hostname: string): Service | undefined => {
    const read = hostname.includes(':') ? readHostPort(hostname) : undefined
    if (read?.ok !== true || canonicalIp(read.value.host) === undefined) return undefined
    const { host, port } = read.value
    const workload = directory.workloadByAddress(network, host)
    return workload?.namespace === namespace ? serviceOf(namespace, hostname, port) : undefined
  }
  return {
    workload: uid => directory.workload(uid),
    workloadByAddress: (inNetwork, ip) => directory.workloadByAddress(inNetwork, ip),
    workloadsOnNode: node => directory.workloadsOnNode(node),
    serviceByVip: (inNetwork, ip, from) => directory.serviceByVip(inNetwork, ip, from),
    serviceByHostname: (hostname, from) => directory.serviceByHostname(hostname, from),
    service: (namespace, hostname) => directory.service(namespace, hostname) ?? single(namespace, hostname),
    endpoints(service) {
      const read = service.vips.length === 0 ? readHostPort(service.hostname) : undefined
      if (read?.ok !== true || read.value.kind !== 'ip') return directory.endpoints(service)
      const workload = directory.workloadByAddress(network, read.value.host)
      return workload === undefined ? [] : [{ workload, ports: service.ports }]
    },
    watch: listener => directory.watch(listener),
  }
}

function serviceOf(namespace: string, hostname: string, port: number): Service {
  return {
    name: hostname,
    namespace,
    hostname,
    vips: [],
    cidrVips: [],
    ports: new Map([[port, port]]),
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancer: { routingPreferences: [], mode: 'Standard', healthPolicy: 'AllowAll' },
    ipFamilies: 'Automatic',
    canonical: false,
    visibility: 'Public',
  }
}
