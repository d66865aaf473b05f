/** The admin endpoint on 15000: local only, whatever address it is bound to. */
import { type HttpAnswer, type HttpHandler, type HttpRequest, isLocalRequest, text } from './http.ts'
import { isStatsPath, statsAnswer } from './stats.ts'
import type { LogSink } from './log-sink.ts'
import type { MetricsRegistry } from './openmetrics.ts'

export interface AdminOptions {
  /** Heads the index page. */
  readonly title: string
  /** What `/config_dump` shows, for the index page. */
  readonly dumped: string
  readonly metrics: MetricsRegistry
  readonly log: LogSink
  /** The filter that `/logging?reset` goes back to. */
  readonly defaultFilter: string
  /** Freshly made for each request. */
  readonly configDump: () => unknown
  readonly onQuit: () => void
}

const LOGGING_USAGE = `usage: POST /logging                 shows the log filter
       POST /logging?level=LEVEL     adds to it: off|error|warn|info|debug|trace, or SCOPE=LEVEL, comma-separated
       POST /logging?level=LEVEL&reset  replaces it
`

const indexPage = ({ title, dumped }: AdminOptions): string => `<!doctype html>
<title>${title}</title>
<h1>${title}</h1>
<ul>
<li><a href="config_dump">config_dump</a>: ${dumped}</li>
<li><a href="stats/prometheus">stats/prometheus</a>: metrics</li>
<li>logging (POST): the log filter</li>
<li>quitquitquit (POST): drains and ends the process</li>
</ul>
`

export function adminHandler(options: AdminOptions): HttpHandler {
  return request => {
    if (!isLocalRequest(request)) return text(403, 'the admin port answers local requests only\n')
    if (isStatsPath(request.path)) return statsAnswer(options.metrics, request)
    switch (request.path) {
      case '/':
        return { status: 200, body: indexPage(options), contentType: 'text/html; charset=utf-8' }
      case '/config_dump':
        return {
          status: 200,
          body: `${JSON.stringify(options.configDump(), null, 2)}\n`,
          contentType: 'application/json',
        }
      case '/logging':
        return logging(options, request)
      case '/quitquitquit':
        return quit(options, request)
      default:
        return text(404, 'not found\n')
    }
  }
}

function logging({ log, defaultFilter }: AdminOptions, request: HttpRequest): HttpAnswer {
  if (request.method !== 'POST') return text(405, `the log filter is changed by POST\n${LOGGING_USAGE}`)
  const level = request.query.get('level') ?? undefined
  const isReset = request.query.has('reset')
  if (level !== undefined || isReset) {
    const base = isReset ? defaultFilter : log.filter
    const next = level === undefined || level === '' ? base : `${base},${level}`
    if (!log.setFilter(next)) return text(400, `invalid level ${JSON.stringify(level)}\n${LOGGING_USAGE}`)
  }
  return text(200, `current log level is ${log.filter}\n`)
}

function quit({ onQuit }: AdminOptions, request: HttpRequest): HttpAnswer {
  if (request.method !== 'POST') return text(405, 'quitting is asked for by POST\n')
  setImmediate(onQuit)
  return text(200, 'shutdown now\n')
}
