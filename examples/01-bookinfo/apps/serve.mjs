// What every HTTP app of this example shares: a port, a table of routes, and a clean end on SIGTERM.
import { createServer } from 'node:http'

/** The port to listen on: the first argument, else `PORT`, else 9080. */
export function portOf(fallback = 9080) {
  return Number(process.argv[2] ?? process.env.PORT ?? fallback)
}

/**
 * Serves `routes`: the longest path prefix that matches wins; a handler returns `[status, body]` or just a body.
 * Objects are sent as JSON, strings as they are. `/health` answers by itself.
 */
export function serve(name, routes, port = portOf()) {
  const table = Object.entries({ '/health': () => ({ status: 'ok' }), ...routes }).sort(
    ([a], [b]) => b.length - a.length,
  )
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://app')
    const [, handler] = table.find(([prefix]) => url.pathname.startsWith(prefix)) ?? []
    const result = handler === undefined ? [404, { error: 'no such page' }] : await handler(url, request)
    const [status, body] = Array.isArray(result) ? result : [200, result]
    const isText = typeof body === 'string'
    response.writeHead(status, { 'content-type': isText ? 'text/html; charset=utf-8' : 'application/json' })
    response.end(isText ? body : `${JSON.stringify(body)}\n`)
  })
  server.listen(port, () => console.log(`${name} listens on port ${port}`))
  endOnSigterm(() => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
  return server
}

/** Runs `stop` on SIGTERM and leaves after two seconds at the latest. */
export function endOnSigterm(stop) {
  process.once('SIGTERM', () => {
    setTimeout(() => process.exit(0), 2_000).unref()
    stop()
  })
}

/** GETs JSON over a connection of its own; `undefined` and a line on stderr when it cannot be had. */
export async function fetchJson(url, timeoutMs = 3_000) {
  try {
    const response = await fetch(url, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (!response.ok) throw new Error(`status ${response.status}`)
    return await response.json()
  } catch (error) {
    console.error(`GET ${url} failed: ${error.cause?.message ?? error.message}`)
    return undefined
  }
}
