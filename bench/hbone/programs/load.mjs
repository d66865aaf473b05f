// The generator: keeps a kind of load up through one port until it is told to stop, and counts.
import { once } from 'node:events'
import { ASK, flood, REQUEST, RESPONSE } from './exchange.mjs'
import { program } from './program.mjs'
import { dialStatic } from './static-read.mjs'

const counters = { requests: 0, connections: 0, bytes: 0, errors: 0 }
const open = new Set()
let latencies = []
let running = false
let timer

const kinds = {
  /** One request at a time on each of `connections`. */
  requests: ({ port, connections }) =>
    Promise.all(Array.from({ length: connections }, () => keepAsking(port))),
  /** One request on each connection, `connections` at a time. */
  connections: ({ port, connections }) => {
    for (let i = 0; i < connections; i++) connectAgain(port)
  },
  up: ({ port, streams }) => Promise.all(Array.from({ length: streams }, () => send(port))),
  down: ({ port, streams }) => Promise.all(Array.from({ length: streams }, () => fetchBytes(port))),
  pingPong: ({ port, perSecond, bytes }) => pingPong(port, perSecond, bytes),
  /** Connections that carry one message each and then nothing. */
  idle: async ({ port, connections, bytes }) => {
    for (let done = 0; done < connections; done += 50)
      await Promise.all(Array.from({ length: Math.min(50, connections - done) }, () => echoOnce(port, bytes)))
  },
}

function dial(port, onBytes) {
  const socket = dialStatic(port, onBytes)
  open.add(socket)
  socket.on('error', () => {
    if (running) counters.errors++
  })
  socket.on('close', () => open.delete(socket))
  return socket
}

/** Resolves with the first answer: the whole way stands then. */
function keepAsking(port) {
  return new Promise((resolve, reject) => {
    let received = 0
    const socket = dial(port, (_, bytes) => {
      received += bytes.length
      while (received >= RESPONSE.length) {
        received -= RESPONSE.length
        counters.requests++
        if (running) socket.write(REQUEST)
      }
      resolve()
    })
    socket.once('close', () => reject(new Error('closed before the first answer')))
    socket.write(REQUEST)
  })
}

function connectAgain(port) {
  let received = 0
  const socket = dial(port, (_, bytes) => {
    received += bytes.length
    if (received >= RESPONSE.length) socket.end()
  })
  socket.write(REQUEST)
  socket.on('close', () => {
    if (received === RESPONSE.length) counters.connections++
    else if (running) counters.errors++
    if (running) connectAgain(port)
  })
}

async function send(port) {
  const socket = dial(port, () => {})
  await once(socket, 'connect')
  flood(socket)
}

function fetchBytes(port) {
  return new Promise((resolve, reject) => {
    const socket = dial(port, (_, bytes) => {
      counters.bytes += bytes.length
      resolve()
    })
    socket.once('close', () => reject(new Error('closed before the first byte')))
    socket.write(Buffer.from([ASK.source]))
  })
}

/** Messages leave when they are due, however late the answers are; each is timed from when it left. */
async function pingPong(port, perSecond, size) {
  const message = Buffer.alloc(size, ASK.echo)
  const sentAt = []
  let received = 0
  const socket = dial(port, (_, bytes) => {
    received += bytes.length
    for (; received >= size; received -= size) latencies.push(performance.now() - sentAt.shift())
  })
  await once(socket, 'connect')
  const started = performance.now()
  let sent = 0
  const tick = () => {
    const due = Math.floor(((performance.now() - started) * perSecond) / 1000)
    for (; sent < due; sent++) {
      sentAt.push(performance.now())
      socket.write(message)
    }
    if (running) timer = setTimeout(tick, 1)
  }
  tick()
}

function echoOnce(port, size) {
  return new Promise((resolve, reject) => {
    let received = 0
    const socket = dial(port, (_, bytes) => {
      received += bytes.length
      if (received >= size) resolve()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed before the echo')))
    socket.write(Buffer.alloc(size, ASK.echo))
  })
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

program({
  /** Resolves when every connection stands. */
  async begin({ kind, ...args }) {
    running = true
    await kinds[kind](args)
  },
  snapshot: () => ({ atMs: performance.now(), ...counters }),
  /** Round trips since the last call, in milliseconds. */
  latencies: () => {
    const sorted = latencies.sort((a, b) => a - b)
    latencies = []
    return { count: sorted.length, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) }
  },
  async stop() {
    running = false
    clearTimeout(timer)
    const closed = [...open].map(socket => new Promise(resolve => socket.once('close', resolve)))
    for (const socket of open) socket.destroy()
    await Promise.all(closed)
  },
})
