// The application behind every pair: answers requests, counts, sends or echoes, as a connection's first byte asks.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { ASK, flood, REQUEST, RESPONSE } from './exchange.mjs'
import { program } from './program.mjs'
import { adoptStatic } from './static-read.mjs'

const counters = { bytes: 0, requests: 0 }
const open = new Set()

const server = createServer({ pauseOnConnect: true, noDelay: true }, accepted => {
  const state = { ask: 0, carry: 0 }
  const socket = adoptStatic(accepted, (from, bytes) => receive(from, bytes, state))
  open.add(socket)
  socket.on('close', () => open.delete(socket))
})

function receive(socket, bytes, state) {
  if (state.ask === 0) {
    state.ask = bytes[0]
    if (state.ask === ASK.source) flood(socket)
  }
  if (state.ask === ASK.request) answer(socket, bytes.length, state)
  else if (state.ask === ASK.echo) socket.write(Buffer.from(bytes))
  else counters.bytes += bytes.length
}

function answer(socket, length, state) {
  state.carry += length
  while (state.carry >= REQUEST.length) {
    state.carry -= REQUEST.length
    counters.requests++
    socket.write(RESPONSE)
  }
}

program({
  async listen({ host = '127.0.0.1', port = 0 }) {
    server.listen({ host, port, backlog: 4096 })
    await once(server, 'listening')
    return server.address().port
  },
  snapshot: () => ({ atMs: performance.now(), ...counters }),
  connections: () => open.size,
  /** Resolves when nobody is connected; after `waitMs` it ends the rest and says how many there were. */
  async idle({ waitMs }) {
    const deadline = performance.now() + waitMs
    while (open.size > 0 && performance.now() < deadline) await delay(10)
    const left = open.size
    for (const socket of open) socket.destroy()
    return left
  },
})
