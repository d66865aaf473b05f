/** Which services a host means. Destinations, which name exactly one, are completed by discovery's `fullHostname`. */

/** Whether a host written in a namespace names this service; `*` and `*.domain` name everything below. */
export function hostNames(host: string, namespace: string, hostname: string): boolean {
  const written = host.toLowerCase()
  if (written === '*' || written === hostname) return true
  if (written.startsWith('*')) return hostname.endsWith(written.slice(1))
  // Short names know no cluster domain, so any will do: hostnames of services come from the control plane.
  return !written.includes('.') && hostname.startsWith(`${written}.${namespace.toLowerCase()}.svc.`)
}
