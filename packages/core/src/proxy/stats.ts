/** `/metrics` and `/stats/prometheus`: the metrics as OpenMetrics text, on 15020 and on the admin port. */
import { readdirSync, readFileSync } from 'node:fs'
import { type HttpAnswer, type HttpHandler, type HttpRequest, text } from './http.ts'
import type { MetricsRegistry } from './openmetrics.ts'

const OPENMETRICS = 'application/openmetrics-text;charset=utf-8;version=1.0.0'

export function isStatsPath(path: string): boolean {
  return path === '/metrics' || path === '/stats/prometheus'
}

export function statsAnswer(metrics: MetricsRegistry, request: HttpRequest): HttpAnswer {
  const accepts = (request.header('accept') ?? '').includes('application/openmetrics-text')
  return {
    status: 200,
    body: metrics.render(),
    contentType: accepts ? OPENMETRICS : 'text/plain; charset=utf-8',
  }
}

export function statsHandler(metrics: MetricsRegistry): HttpHandler {
  return request => (isStatsPath(request.path) ? statsAnswer(metrics, request) : text(404, 'not found\n'))
}

/** `istio_build` and the process's file descriptors (where the system shows them). */
export function registerProcessMetrics(metrics: MetricsRegistry, component: string, version: string): void {
  metrics
    .gauge({ name: 'istio_build', help: 'Build of this component', labels: ['component', 'tag'] })
    .set(1, [component, version])
  const open = metrics.gauge({ name: 'process_open_fds', help: 'Open file descriptors', labels: [] })
  const max = metrics.gauge({ name: 'process_max_fds', help: 'Limit of open file descriptors', labels: [] })
  metrics.beforeScrape(() => {
    try {
      open.set(readdirSync('/proc/self/fd').length, [])
      const limit = /^Max open files +([0-9]+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
      if (limit?.[1] !== undefined) max.set(Number(limit[1]), [])
    } catch {
      // No /proc here: the families stay without samples and are left out.
    }
  })
}
