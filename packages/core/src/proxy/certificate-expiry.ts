/** `istio_cert_expiry_seconds`: when each certificate of this proxy ends. Name and labels are those of istio/ztunnel#1889. */
import type { MetricsRegistry } from './openmetrics.ts'

/** A certificate that is held, as far as this metric needs it. */
export interface HeldCertificate {
  /** SPIFFE ID. */
  readonly identity: string
  /** Milliseconds since the epoch; absent while there is none. */
  readonly notAfter?: number
}

/**
 * Asked for at each scrape. A moment, not what is left: so that it stays right between scrapes, and an expired one stays
 * to be alerted on. Identities that are not listed any more lose their series.
 */
export function registerCertificateExpiry(
  metrics: MetricsRegistry,
  list: () => readonly HeldCertificate[],
): void {
  const expiry = metrics.gauge({
    name: 'istio_cert_expiry_seconds',
    help: 'When the certificate of the workload expires, in seconds since the epoch (unstable)',
    labels: ['identity'],
  })
  let shown: readonly string[] = []
  metrics.beforeScrape(() => {
    const held = list().filter(({ notAfter }) => notAfter !== undefined)
    const now = new Set(held.map(({ identity }) => identity))
    for (const identity of shown) if (!now.has(identity)) expiry.remove([identity])
    for (const { identity, notAfter = 0 } of held) expiry.set(Math.floor(notAfter / 1_000), [identity])
    shown = [...now]
  })
}
