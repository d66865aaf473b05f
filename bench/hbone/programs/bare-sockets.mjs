// Sockets and nothing behind them: what the operating system and Node take for a connection.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { program } from './program.mjs'

const held = new Set()

function hold(socket, onData) {
  held.add(socket)
  socket.on('error', () => {})
  socket.on('close', () => held.delete(socket))
  socket.on('data', onData)
}

program({
  async listen() {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, socket =>
      hold(socket, bytes => socket.write(bytes)),
    )
    server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
    await once(server, 'listening')
    return server.address().port
  },
  /** Each carries one message there and back. */
  async dial({ port, connections, bytes }) {
    const message = Buffer.alloc(bytes)
    for (let i = 0; i < connections; i += 50)
      await Promise.all(
        Array.from({ length: Math.min(50, connections - i) }, async () => {
          const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
          let left = bytes
          await new Promise((resolve, reject) => {
            socket.once('error', reject)
            hold(socket, data => {
              left -= data.length
              if (left === 0) resolve()
            })
            socket.write(message)
          })
        }),
      )
  },
  counts: () => ({ sockets: held.size }),
})
