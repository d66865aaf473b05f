// Says which version it is. Like any HTTP server, it ends on SIGTERM after the requests that it has.
import { createServer } from 'node:http'

const version = process.env.VERSION
const server = createServer((_request, response) => response.end(version)).listen(9080)
process.once('SIGTERM', () => server.close())
