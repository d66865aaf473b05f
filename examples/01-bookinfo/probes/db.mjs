// Talks to the database of `apps/db.mjs`; prints JSON lines.
//
//   greeting                 what the server says first
//   duplex BYTES             BYTES each way at once, with the SHA-256 of both ends
//   half-close BYTES         ends its own direction first, and reads the whole answer
//   stall                    sends for ever to a server that reads no more; says how the connection ended
//   hold                     keeps one connection; a line on standard input sends PING
import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { pattern, patternDigest } from '../apps/pattern.mjs'

const [mode, bytesText = '0'] = process.argv.slice(2)
const bytes = Number(bytesText)
const say = fact => console.log(JSON.stringify(fact))
const socket = connect({ host: 'db', port: 3306, allowHalfOpen: true })
socket.on('error', error => say({ ended: 'error', code: error.code ?? error.message, at: Date.now() }))
socket.on('close', hadError => {
  if (!hadError && mode !== 'stall') return process.exit(0)
  process.exit(hadError ? 3 : 0)
})

async function line() {
  let text = ''
  for (;;) {
    const chunk = await read()
    if (chunk === null) return undefined
    const end = chunk.indexOf(10)
    if (end < 0) text += chunk
    else {
      if (end + 1 < chunk.length) socket.unshift(chunk.subarray(end + 1))
      return text + chunk.subarray(0, end)
    }
  }
}

async function read() {
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

async function receive(total) {
  const hash = createHash('sha256')
  let got = 0
  while (got < total) {
    const chunk = await read()
    if (chunk === null) break
    const part = chunk.subarray(0, total - got)
    if (part.length < chunk.length) socket.unshift(chunk.subarray(part.length))
    hash.update(part)
    got += part.length
  }
  return { bytes: got, sha256: hash.digest('hex') }
}

async function send(total, seed) {
  for (const chunk of pattern(total, seed))
    if (!socket.write(chunk))
      await new Promise(resolve => socket.once('drain', resolve).once('close', resolve))
}

const greeting = await line()
if (mode === 'greeting') {
  say({ greeting })
  socket.end('QUIT\n')
} else if (mode === 'duplex') {
  socket.write(`DUPLEX ${bytes} 7\n`)
  const [received] = await Promise.all([receive(bytes), send(bytes, 9)])
  say({ received, expected: patternDigest(bytes, 7), arrived: await line(), sent: patternDigest(bytes, 9) })
  socket.end()
} else if (mode === 'half-close') {
  socket.write(`DIGEST ${bytes} 7\n`)
  await send(100_000, 5)
  socket.end()
  const received = await receive(bytes)
  say({ received, expected: patternDigest(bytes, 7), arrived: await line(), sent: patternDigest(100_000, 5) })
} else if (mode === 'stall') {
  socket.on('end', () => say({ ended: 'end' }))
  socket.resume()
  socket.write('STALL\n')
  say({ sending: true })
  await send(Number.MAX_SAFE_INTEGER, 3)
} else if (mode === 'hold') {
  say({ greeting })
  const input = createInterface({ input: process.stdin })
  input.on('line', () => socket.write('PING\n'))
  for (let answer = await line(); answer !== undefined; answer = await line()) say({ answer, at: Date.now() })
  say({ ended: 'end', at: Date.now() })
  process.exit(0)
}
