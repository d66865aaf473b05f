// A plain TCP pipe: each connection is piped to a connection of its own, by both proxies alike.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { program } from './program.mjs'

async function forward({ target }) {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, near => {
    const far = connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true })
    pipeline(near, far, () => {})
    pipeline(far, near, () => {})
  })
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(server, 'listening')
  return server.address().port
}

program({ source: forward, destination: forward })
