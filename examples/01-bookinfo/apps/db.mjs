// A server that speaks first, as MySQL does: a greeting, then one command per line.
//
//   PING                      PONG
//   GET KEY                   a value
//   DUPLEX BYTES SEED         both sides send BYTES at once; then one line with the SHA-256 of what we received
//   DIGEST BYTES SEED         reads until the client ends its direction, then sends BYTES and the SHA-256 of what it read
//   STALL                     reads no more, and never answers
//   QUIT                      says BYE and ends
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { pattern } from './pattern.mjs'
import { endOnSigterm, portOf } from './serve.mjs'

const values = new Map([
  ['Reviewer1', '5'],
  ['Reviewer2', '4'],
])
const port = portOf(3306)
const sockets = new Set()

async function send(socket, bytes, seed) {
  for (const chunk of pattern(bytes, seed)) {
    if (socket.destroyed) return
    if (!socket.write(chunk))
      await new Promise(resolve => socket.once('drain', resolve).once('close', resolve))
  }
}

/** Reads a line; what follows it stays unread. */
async function readLine(socket) {
  let line = Buffer.alloc(0)
  for (;;) {
    const chunk = await read(socket)
    if (chunk === null) return undefined
    const end = chunk.indexOf(10)
    if (end < 0) line = Buffer.concat([line, chunk])
    else {
      if (end + 1 < chunk.length) socket.unshift(chunk.subarray(end + 1))
      return Buffer.concat([line, chunk.subarray(0, end)])
        .toString('utf8')
        .trim()
    }
  }
}

/** The next chunk, or null at the end. */
async function read(socket) {
  for (;;) {
    const chunk = socket.read()
    if (chunk !== null) return chunk
    if (socket.readableEnded || socket.destroyed) return null
    await new Promise(resolve => {
      const done = () => {
        for (const event of ['readable', 'end', 'close']) socket.off(event, done)
        resolve()
      }
      for (const event of ['readable', 'end', 'close']) socket.on(event, done)
    })
  }
}

/** Digest of the next `bytes` bytes (all until the end when not given). */
async function digest(socket, bytes = Number.POSITIVE_INFINITY) {
  const hash = createHash('sha256')
  let left = bytes
  while (left > 0) {
    const chunk = await read(socket)
    if (chunk === null) break
    if (chunk.length > left) socket.unshift(chunk.subarray(left))
    hash.update(chunk.length > left ? chunk.subarray(0, left) : chunk)
    left -= Math.min(left, chunk.length)
  }
  return hash.digest('hex')
}

async function talk(socket) {
  socket.write('10 ambient-db 1.0 ready\n')
  for (;;) {
    const line = await readLine(socket)
    if (line === undefined) return
    const [command, first, second] = line.split(' ')
    if (command === 'PING') socket.write('PONG\n')
    else if (command === 'GET') socket.write(`${values.get(first) ?? 'nothing'}\n`)
    else if (command === 'DUPLEX') {
      const [received] = await Promise.all([
        digest(socket, Number(first)),
        send(socket, Number(first), Number(second)),
      ])
      socket.write(`${received}\n`)
    } else if (command === 'DIGEST') {
      const received = await digest(socket)
      await send(socket, Number(first), Number(second))
      socket.write(`${received}\n`)
      return
    } else if (command === 'STALL') return new Promise(resolve => socket.once('close', resolve))
    else if (command === 'QUIT') return void socket.write('BYE\n')
    else socket.write(`what is ${command}?\n`)
  }
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
  sockets.add(socket)
  socket.on('error', () => {})
  socket.on('close', () => sockets.delete(socket))
  talk(socket).finally(() => socket.end())
})
server.listen(port, () => console.log(`db listens on port ${port}`))
endOnSigterm(() => {
  server.close(() => process.exit(0))
  for (const socket of sockets) socket.destroy()
})
