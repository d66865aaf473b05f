// Direct TCP, our HBONE tunnel and a node:http2 CONNECT tunnel, both ends in this process; medians and ratios.
import { once } from 'node:events'
import http2 from 'node:http2'
import { connect, createServer } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { pump } from '@ambient/core'
import { listen, socketChannel } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'

const BULK_BYTES = 256 << 20
const ROUND_TRIPS = 20_000
const MESSAGE = Buffer.alloc(1024, 'a')
const RUNS = 3

const identities = await createTestIdentities()
const client = await identities.credentials({ namespace: 'bench', serviceAccount: 'client' })
const server = await identities.credentials({ namespace: 'bench', serviceAccount: 'server' })

// The application: counts what it gets; echoes when the first byte is `a`.
const app = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
  socket.on('error', () => {})
  socket.once('data', first => {
    if (first[0] === MESSAGE[0]) {
      socket.write(first)
      socket.on('data', chunk => socket.write(chunk))
      return
    }
    let total = first.length
    socket.on('data', chunk => {
      total += chunk.length
    })
    socket.on('end', () => socket.end(String(total)))
  })
})
app.listen(0, '127.0.0.1')
await once(app, 'listening')
const appPort = app.address().port
const dialApp = () => connect({ host: '127.0.0.1', port: appPort, allowHalfOpen: true, noDelay: true })

const hboneServer = createHboneServer({
  credentials: () => server,
  onTunnel: async request => {
    const socket = dialApp()
    await once(socket, 'connect')
    await pump(request.accept(), socketChannel(socket))
  },
})
const hbonePort = await listen({
  host: '127.0.0.1',
  port: 0,
  onConnection: socket => hboneServer.accept(socket),
})
const pool = createHbonePool()

const tls = {
  key: server.privateKey(),
  cert: server.certificateChain,
  ca: server.trustBundle,
  requestCert: true,
  rejectUnauthorized: false,
}
const window = { settings: { initialWindowSize: 4 << 20, maxFrameSize: 1 << 20 } }
const h2Server = http2.createSecureServer({ ...tls, ...window, maxSessionMemory: 1000 })
h2Server.on('session', session => session.setLocalWindowSize(16 << 20))
h2Server.on('stream', stream => {
  const socket = dialApp()
  stream.respond({ ':status': 200 })
  stream.on('error', () => {})
  stream.pipe(socket).pipe(stream)
})
h2Server.listen(0, '127.0.0.1')
await once(h2Server, 'listening')
const h2Session = http2.connect('https://127.0.0.1', {
  ...window,
  maxSessionMemory: 1000,
  createConnection: () =>
    tlsConnect({
      host: '127.0.0.1',
      port: h2Server.address().port,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
      key: client.privateKey(),
      cert: client.certificateChain,
    }),
})
await once(h2Session, 'connect')
h2Session.setLocalWindowSize(16 << 20)

const transports = {
  'direct TCP': async () => {
    const socket = dialApp()
    await once(socket, 'connect')
    return socket
  },
  'HBONE (ours)': async () => {
    const tunnel = await pool.connect({
      credentials: client,
      to: { address: '127.0.0.1', port: hbonePort.port },
      expect: [server.id],
      authority: `127.0.0.1:${appPort}`,
    })
    return tunnel.socket()
  },
  'HTTP/2 CONNECT (node:http2)': async () => {
    const stream = h2Session.request(
      { ':method': 'CONNECT', ':authority': `127.0.0.1:${appPort}` },
      { endStream: false },
    )
    await once(stream, 'response')
    return stream
  },
}

async function bulk(open) {
  const stream = await open()
  const chunk = Buffer.alloc(65_536, 'b')
  const started = performance.now()
  for (let sent = 0; sent < BULK_BYTES; sent += chunk.length)
    if (!stream.write(chunk)) await once(stream, 'drain')
  stream.end()
  let answer = ''
  for await (const part of stream) answer += part
  if (Number(answer) !== BULK_BYTES) throw new Error(`only ${answer} bytes arrived`)
  return (BULK_BYTES * 8) / (performance.now() - started) / 1e6
}

async function roundTrips(open) {
  const stream = await open()
  const started = performance.now()
  for (let i = 0; i < ROUND_TRIPS; i++) {
    stream.write(MESSAGE)
    for (let got = 0; got < MESSAGE.length; ) got += (await once(stream, 'data'))[0].length
  }
  const rate = (ROUND_TRIPS * 1000) / (performance.now() - started)
  stream.destroy()
  return rate
}

const median = values => values.sort((a, b) => a - b)[values.length >> 1]
const figures = {}
for (let run = 0; run < RUNS; run++) {
  for (const [name, open] of Object.entries(transports)) {
    figures[name] ??= { gbits: [], trips: [] }
    figures[name].gbits.push(await bulk(open))
    figures[name].trips.push(await roundTrips(open))
    process.stderr.write('.')
  }
}
process.stderr.write('\n')
const base = figures['direct TCP']
const rows = Object.entries(figures).map(([name, { gbits, trips }]) => ({
  transport: name,
  'Gbit/s': median(gbits).toFixed(2),
  'of direct': `${((100 * median(gbits)) / median(base.gbits)).toFixed(0)} %`,
  'round trips/s': median(trips).toFixed(0),
  'of direct ': `${((100 * median(trips)) / median(base.trips)).toFixed(0)} %`,
}))
console.table(rows)

await pool.close({ graceMs: 0 })
await hbonePort.close()
await hboneServer.close({ graceMs: 0 })
h2Session.destroy()
h2Server.close()
app.close()
process.exit(0)
