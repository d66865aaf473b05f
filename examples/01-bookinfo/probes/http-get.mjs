// GETs a URL COUNT times, each over a connection of its own; prints one JSON line per answer.
import { get } from 'node:http'

const [url, count = '1', pauseMs = '0'] = process.argv.slice(2)

function once() {
  return new Promise(resolve => {
    const from = {}
    const request = get(url, { agent: false, timeout: 5_000 }, response => {
      const chunks = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode, body: String(Buffer.concat(chunks)), ...from }),
      )
      response.on('error', error => resolve({ error: error.code ?? error.message, ...from }))
    })
    request.on('socket', socket =>
      socket.once('connect', () =>
        Object.assign(from, { address: socket.localAddress, port: socket.localPort }),
      ),
    )
    request.on('timeout', () => request.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })))
    request.on('error', error => resolve({ error: error.code ?? error.message, ...from }))
  })
}

for (let done = 0; done < Number(count); done++) {
  const startedAt = Date.now()
  console.log(JSON.stringify({ at: startedAt, ...(await once()) }))
  if (Number(pauseMs) > 0) await new Promise(resolve => setTimeout(resolve, Number(pauseMs)))
}
