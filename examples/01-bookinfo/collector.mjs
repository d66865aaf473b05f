// A collector of spans, as small as one can be: OTLP over HTTP in its JSON form, kept in memory.
import { createServer } from 'node:http'

export async function createCollector() {
  const spans = []
  const server = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    try {
      for (const { resource, scopeSpans } of JSON.parse(Buffer.concat(chunks)).resourceSpans)
        for (const { spans: some } of scopeSpans)
          for (const span of some) spans.push({ ...span, service: serviceOf(resource) })
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    } catch {
      response.writeHead(400).end()
    }
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    /** Of one trace, in the order of their arrival. */
    trace: id => spans.filter(({ traceId }) => traceId === id),
    close() {
      server.closeAllConnections()
      return new Promise(resolve => server.close(resolve))
    },
  }
}

function serviceOf(resource) {
  return resource?.attributes?.find(({ key }) => key === 'service.name')?.value.stringValue ?? 'unknown'
}
