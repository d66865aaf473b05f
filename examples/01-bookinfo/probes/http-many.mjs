// Sends COUNT requests over ONE connection, one after the other; prints one JSON line: answers by status, by a field of
// the JSON body, and the last answer.
//
//   node http-many.mjs URL COUNT FIELD [--method M] [--header name=value]... [--trace]
import { Agent, request } from 'node:http'
import { clientSpan } from '../apps/trace.mjs'

const [url, count = '1', field = 'version', ...rest] = process.argv.slice(2)
const headers = {}
let method = 'GET'
for (let index = 0; index < rest.length; index++) {
  if (rest[index] === '--method') method = rest[++index]
  else if (rest[index] === '--header') {
    const [name, value] = rest[++index].split(/=(.*)/s)
    headers[name] = value
  }
}
const traced = rest.includes('--trace')
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
const sockets = new Set()
const answers = { at: Date.now(), statuses: {}, values: {}, errors: {}, connections: 0 }

function once() {
  const span = traced ? clientSpan('probe', `${method} ${url}`) : undefined
  const sent = span === undefined ? headers : { ...headers, traceparent: span.traceparent }
  return new Promise(resolve => {
    const startedAt = performance.now()
    const outgoing = request(url, { agent, method, headers: sent, timeout: 8_000 }, response => {
      const chunks = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', error => resolve({ error: error.code ?? error.message }))
      response.on('end', async () => {
        await span?.end()
        const tookMs = Math.round(performance.now() - startedAt)
        const body = String(Buffer.concat(chunks))
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body,
          tookMs,
          traceId: span?.traceId,
        })
      })
    })
    outgoing.on('socket', socket => sockets.add(socket))
    outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })))
    outgoing.on('error', error => resolve({ error: error.code ?? error.message }))
    outgoing.end()
  })
}

const add = (table, key) => {
  table[key] = (table[key] ?? 0) + 1
}

function fieldOf(body) {
  try {
    return JSON.parse(body)[field]
  } catch {
    return undefined
  }
}

for (let done = 0; done < Number(count); done++) {
  const answer = await once()
  if (answer.error !== undefined) add(answers.errors, answer.error)
  else {
    add(answers.statuses, answer.status)
    const value = fieldOf(answer.body)
    if (value !== undefined) add(answers.values, String(value))
  }
  answers.last = answer
}
answers.connections = sockets.size
agent.destroy()
console.log(JSON.stringify(answers))
