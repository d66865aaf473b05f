/** Hosts as Istio reads them: a name without a dot is a service of the namespace in which it was written. */

/** `reviews` written in `shop` is `reviews.shop.svc.cluster.local`; whatever has a dot, and `*`, is complete. */
export function completeHost(host: string, namespace: string, clusterDomain: string): string {
  const isComplete = host === '*' || host.includes('.')
  return (isComplete ? host : `${host}.${namespace}.svc.${clusterDomain}`).toLowerCase()
}

/** Whether a host written in a namespace names this service; `*` and `*.domain` name everything below. */
export function hostNames(host: string, namespace: string, hostname: string): boolean {
  const written = host.toLowerCase()
  if (written === '*' || written === hostname) return true
  if (written.startsWith('*')) return hostname.endsWith(written.slice(1))
  // Short names know no cluster domain, so any will do: hostnames of services come from the control plane.
  return !written.includes('.') && hostname.startsWith(`${written}.${namespace.toLowerCase()}.svc.`)
}
