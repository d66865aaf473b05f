/** Names in SOCKS5 requests, resolved in the registry the way a pod's resolver would (ztunnel.md §8.2). */
import { canonicalIp, type Directory, type Service, type Workload } from '@ambient/core'
import type { Random } from './upstream.ts'

export interface NameQuestion {
  /** An IP literal or a DNS name, any case, a final dot allowed. */
  readonly host: string
  readonly source: Workload
  readonly directory: Directory
  readonly network: string
  readonly clusterDomain: string
  readonly random: Random
}

export type Resolution =
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'unknown'; readonly reason: string }

/** A VIP of the service that the name means; of a headless one, an endpoint. */
export function resolveName(question: NameQuestion): Resolution {
  const ip = canonicalIp(question.host)
  if (ip !== undefined) return { kind: 'address', address: ip }
  const name = question.host.toLowerCase().replace(/\.$/, '')
  const { namespace } = question.source
  for (const candidate of expandName(name, namespace, question.clusterDomain)) {
    const service = question.directory.serviceByHostname(candidate, namespace)
    if (service === undefined) continue
    const address = addressOf(service, question)
    return address === undefined
      ? { kind: 'unknown', reason: `the service ${service.hostname} has no address on this network` }
      : { kind: 'address', address }
  }
  return { kind: 'unknown', reason: `no service is called ${name}` }
}

/** The name itself, then what Kubernetes' search list would make of it. */
export function expandName(name: string, namespace: string, clusterDomain: string): readonly string[] {
  const labels = name.split('.')
  const names = [name]
  if (labels.length === 1) names.push(`${name}.${namespace}.svc.${clusterDomain}`)
  if (labels.length === 2)
    names.push(`${name}.svc.${clusterDomain}`, `${name}.${namespace}.svc.${clusterDomain}`)
  if (labels.length === 3 && name.endsWith('.svc')) names.push(`${name}.${clusterDomain}`)
  if (labels.length === 3) names.push(`${name}.svc.${clusterDomain}`)
  if (labels.length === 4 && name.endsWith('.svc')) names.push(`${name}.${clusterDomain}`)
  return names
}

function addressOf(service: Service, question: NameQuestion): string | undefined {
  const own = service.vips.filter(vip => vip.network === question.network).map(vip => vip.ip)
  const vip = preferV4(own)
  if (vip !== undefined || service.vips.length > 0) return vip
  const endpoints = question.directory
    .endpoints(service)
    .map(({ workload }) => preferV4(workload.addresses))
    .filter(address => address !== undefined)
  return endpoints[Math.floor(question.random() * endpoints.length)]
}

function preferV4(addresses: readonly string[]): string | undefined {
  return addresses.find(address => !address.includes(':')) ?? addresses[0]
}
