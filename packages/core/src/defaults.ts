/** Defaults of what every proxy process has (`@ambient/core/proxy`), each with its reason. */

export const proxyDefaults = Object.freeze({
  /** Keeps a peer that invents baggage from filling the memory with metric series. */
  maxMetricSeries: 10_000,
  /** Envoy's, for whatever a histogram measures: milliseconds and bytes alike. */
  histogramBuckets: Object.freeze([
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
  ]),
  /** Admin requests are small and local. */
  adminHeadersTimeoutMs: 2_000,
  /** Who connected just before a hand-over asks within this time; clients that keep idle connections lose them then. */
  adminHandOverMs: 500,
  /** No admin client sends more than a few lines. */
  adminMaxHeaderBytes: 8_192,
})
