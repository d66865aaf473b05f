// Says what it was asked, misbehaves on demand, and counts: the far end of the L7 steps.
//
//   ANY  /anything/...      what arrived: method, path, headers, and which pod answered
//   GET  /flaky/KEY?fails=N  503 for the first N requests of a key, then 200
//   GET  /slow?ms=N         answers late
//   GET  /counts            how often each of these was asked, by path and by key
//   WS   /echo              sends back what it is sent
import { WebSocketServer } from 'ws'
import { serve } from './serve.mjs'
import { serverSpan } from './trace.mjs'

const name = process.env.NAME ?? 'httpbin'
const pod = process.env.HOSTNAME ?? 'unknown'
const counts = { paths: {}, keys: {} }

const count = (table, key) => {
  table[key] = (table[key] ?? 0) + 1
  return table[key]
}

async function anything(url, request) {
  const span = serverSpan(name, request)
  let bytes = 0
  for await (const chunk of request) bytes += chunk.length
  count(counts.paths, url.pathname)
  span?.end()
  return {
    name,
    pod,
    method: request.method,
    path: url.pathname,
    query: url.search,
    headers: request.headers,
    bytes,
  }
}

const server = serve(name, {
  '/anything': anything,
  '/flaky/': (url, request) => {
    const attempt = count(counts.keys, url.pathname.split('/')[2])
    const body = { name, pod, attempt, sent: request.headers['x-envoy-attempt-count'] }
    return attempt <= Number(url.searchParams.get('fails') ?? 2) ? [503, body] : body
  },
  '/slow': async (url, request) => {
    count(counts.paths, '/slow')
    await new Promise(resolve => {
      setTimeout(resolve, Number(url.searchParams.get('ms') ?? 2_000))
      request.on('close', resolve)
    })
    return { name, pod }
  },
  '/counts': () => counts,
})

const sockets = new WebSocketServer({ server, path: '/echo' })
sockets.on('connection', socket => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  socket.on('error', () => {})
})
