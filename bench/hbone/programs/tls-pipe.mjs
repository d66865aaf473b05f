// A TLS pipe: each plain connection is a TLS connection of its own between the two proxies.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { connect as connectTls, createSecureContext, createServer as createTlsServer } from 'node:tls'
import { mutualTls } from './mutual-tls.mjs'
import { program } from './program.mjs'

function join(near, far) {
  near.on('error', () => {})
  far.on('error', () => {})
  pipeline(near, far, () => {})
  pipeline(far, near, () => {})
}

async function listening(server) {
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
  await once(server, 'listening')
  return server.address().port
}

program({
  source({ folder, target }) {
    const tls = mutualTls(folder, 'source')
    const secureContext = createSecureContext(tls)
    return listening(
      createServer({ allowHalfOpen: true, noDelay: true }, near => {
        const far = connectTls({
          host: '127.0.0.1',
          port: target,
          allowHalfOpen: true,
          secureContext,
          rejectUnauthorized: false,
        })
        far.setNoDelay()
        join(near, far)
      }),
    )
  },
  destination({ folder, target }) {
    const tls = mutualTls(folder, 'destination')
    return listening(
      createTlsServer({ ...tls, allowHalfOpen: true, noDelay: true }, near =>
        join(near, connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true })),
      ),
    )
  },
})
