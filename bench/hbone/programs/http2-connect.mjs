// HBONE's shape with Node's own HTTP/2: one session, a CONNECT per connection, windows of 4 and 16 MiB.
import { once } from 'node:events'
import http2 from 'node:http2'
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { mutualTls } from './mutual-tls.mjs'
import { program } from './program.mjs'

const STREAM_WINDOW = 4 << 20
const CONNECTION_WINDOW = 16 << 20
const options = {
  settings: { initialWindowSize: STREAM_WINDOW, maxFrameSize: 1 << 20, maxConcurrentStreams: 100_000 },
  maxSessionMemory: 1000,
  peerMaxConcurrentStreams: 100_000,
}

function join(near, far) {
  pipeline(near, far, () => {})
  pipeline(far, near, () => {})
}

async function listening(server) {
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(server, 'listening')
  return server.address().port
}

/** Node ends a session on which many streams were reset: then there is a new one, as in any client. */
function createSession(folder, target) {
  const tls = mutualTls(folder, 'source')
  const session = http2.connect('https://127.0.0.1', {
    ...options,
    createConnection: () => {
      const socket = connectTls({ ...tls, host: '127.0.0.1', port: target, ALPNProtocols: ['h2'] })
      return socket.setNoDelay()
    },
  })
  session.on('connect', () => session.setLocalWindowSize(CONNECTION_WINDOW))
  session.on('error', () => {})
  return session
}

program({
  source({ folder, target, app }) {
    let session = createSession(folder, target)
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, near => {
      if (session.closed || session.destroyed) session = createSession(folder, target)
      const head = { ':method': 'CONNECT', ':authority': `127.0.0.1:${app}` }
      const far = session.request(head, { endStream: false })
      near.on('error', () => far.destroy())
      far.on('error', () => near.destroy())
      far.once('response', () => join(near, far))
    })
    return listening(server)
  },
  destination({ folder }) {
    const tls = mutualTls(folder, 'destination')
    const server = http2.createSecureServer({ ...tls, ...options, noDelay: true })
    server.on('session', session => session.setLocalWindowSize(CONNECTION_WINDOW))
    server.on('sessionError', () => {})
    server.on('stream', (near, head) => {
      const [host, port] = head[':authority'].split(':')
      const far = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true })
      near.on('error', () => far.destroy())
      far.on('error', () => near.destroy())
      far.once('connect', () => {
        if (near.destroyed) return far.destroy()
        near.respond({ ':status': 200 })
        join(near, far)
      })
    })
    return listening(server)
  },
})
