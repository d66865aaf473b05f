// The generator: keeps a kind of load up through one entry until it is told to stop, and counts.
import { setTimeout as delay } from 'node:timers/promises'
import { ASK, flood, REQUEST, RESPONSE } from './exchange.mjs'
import { program } from './program.mjs'
import { dialEntry } from './entry.mjs'

const counters = { requests: 0, connections: 0, bytes: 0, errors: 0 }
const open = new Set()
let latencies = []
let running = false
let timer

const kinds = {
  /** One request at a time on each of `connections`. */
  requests: ({ entry, connections }) => times(connections, () => keepAsking(entry)),
  /** One request on each connection, `connections` at a time. */
  connections: ({ entry, connections }) => {
    for (let i = 0; i < connections; i++) connectAgain(entry)
  },
  up: ({ entry, streams }) => times(streams, () => send(entry)),
  down: ({ entry, streams }) => times(streams, () => fetchBytes(entry)),
  pingPong: ({ entry, perSecond, bytes }) => pingPong(entry, perSecond, bytes),
  /** Connections that carry one message each and then nothing. */
  idle: async ({ entry, connections, bytes }) => {
    for (let done = 0; done < connections; done += 50)
      await times(Math.min(50, connections - done), () => echoOnce(entry, bytes))
  },
}

function times(count, run) {
  return Promise.all(Array.from({ length: count }, run))
}

function dial(entry, onBytes, onReady) {
  const socket = dialEntry(entry, onBytes, onReady)
  open.add(socket)
  socket.on('error', () => {
    if (running) counters.errors++
  })
  socket.on('close', () => open.delete(socket))
  return socket
}

/** Resolves with the first answer: the whole way stands then. */
function keepAsking(entry) {
  return new Promise((resolve, reject) => {
    let received = 0
    const onBytes = (socket, bytes) => {
      received += bytes.length
      while (received >= RESPONSE.length) {
        received -= RESPONSE.length
        counters.requests++
        if (running) socket.write(REQUEST)
      }
      resolve()
    }
    const socket = dial(entry, onBytes, ready => ready.write(REQUEST))
    socket.once('close', () => reject(new Error('closed before the first answer')))
  })
}

function connectAgain(entry) {
  let received = 0
  const onBytes = (socket, bytes) => {
    received += bytes.length
    if (received >= RESPONSE.length) socket.end()
  }
  const socket = dial(entry, onBytes, ready => ready.write(REQUEST))
  socket.on('close', () => {
    if (received === RESPONSE.length) counters.connections++
    else if (running) counters.errors++
    if (running) connectAgain(entry)
  })
}

function send(entry) {
  return new Promise((resolve, reject) => {
    const onReady = socket => {
      flood(socket)
      resolve()
    }
    const socket = dial(entry, () => {}, onReady)
    socket.once('close', () => reject(new Error('closed before the first byte')))
  })
}

function fetchBytes(entry) {
  return new Promise((resolve, reject) => {
    const onBytes = (_, bytes) => {
      counters.bytes += bytes.length
      resolve()
    }
    const socket = dial(entry, onBytes, ready => ready.write(Buffer.from([ASK.source])))
    socket.once('close', () => reject(new Error('closed before the first byte')))
  })
}

/** Messages leave when they are due, however late the answers are; each is timed from when it left. */
function pingPong(entry, perSecond, size) {
  return new Promise((resolve, reject) => {
    const message = Buffer.alloc(size, ASK.echo)
    const sentAt = []
    let received = 0
    const onBytes = (_, bytes) => {
      received += bytes.length
      for (; received >= size; received -= size) latencies.push(performance.now() - sentAt.shift())
      resolve()
    }
    const socket = dial(entry, onBytes, ready => {
      const started = performance.now()
      let sent = 0
      const tick = () => {
        const due = 1 + Math.floor(((performance.now() - started) * perSecond) / 1000)
        for (; sent < due; sent++) {
          sentAt.push(performance.now())
          ready.write(message)
        }
        if (running) timer = setTimeout(tick, 1)
      }
      tick()
    })
    socket.once('close', () => reject(new Error('closed before the first answer')))
  })
}

function echoOnce(entry, size) {
  return new Promise((resolve, reject) => {
    let received = 0
    const onBytes = (_, bytes) => {
      received += bytes.length
      if (received >= size) resolve()
    }
    const socket = dial(entry, onBytes, ready => ready.write(Buffer.alloc(size, ASK.echo)))
    socket.once('close', () => reject(new Error('closed before the echo')))
  })
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

program({
  ready,
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

/** Resolves when a readiness endpoint says so. */
async function ready({ url }) {
  for (let attempt = 0; attempt < 150; attempt++) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer?.ok) return
    await delay(100)
  }
  throw new Error(`${url} did not become ready`)
}
