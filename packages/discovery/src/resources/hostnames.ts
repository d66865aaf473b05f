/** Hosts as Istio reads them: a name without a dot is a service of the namespace in which it was written. */
import type { YamlReader } from '@ambient/policy'
import { shown } from './read-values.ts'

const HOST =
  /^(\*\.)?([A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\.?$/

/** `reviews` written in `shop` is `reviews.shop.svc.cluster.local`; a name with a dot is complete. */
export function fullHostname(host: string, namespace: string, clusterDomain: string): string {
  return host.includes('.') || host === '*' ? host.toLowerCase() : `${host}.${namespace}.svc.${clusterDomain}`
}

/** `*` and `*.domain` hold everything below; equal names hold each other. */
export function hostMatches(pattern: string, hostname: string): boolean {
  if (pattern === '*') return true
  return pattern.startsWith('*.') ? hostname.endsWith(pattern.slice(1)) : pattern === hostname
}

/** A host or, where that is allowed, a wildcard. */
export function readHost(reader: YamlReader | undefined, wildcard: boolean): string | undefined {
  const host = reader?.text()
  if (reader === undefined || host === undefined) return undefined
  const good = host === '*' ? wildcard : HOST.test(host) && (wildcard || !host.startsWith('*'))
  if (good && host.length <= 255) return host
  const expected = wildcard ? 'a host, *.DOMAIN or *' : 'a host without wildcards'
  reader.problem(`expected ${expected}, found ${shown(host)}`)
  return undefined
}
