// Our pair on the public API: what `ambient hbone forward` and `ambient hbone serve` do, with counts to ask for.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pump } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import { createCredentials } from '@ambient/identity'
import { program } from './program.mjs'

const HOST = '127.0.0.1'
/** This authority is not dialled: the tunnel is ended when its peer ends it. */
const NOWHERE = `${HOST}:1`

function credentialsOf(folder, name) {
  const file = suffix => readFileSync(join(folder, `${name}.${suffix}`), 'utf8')
  return createCredentials({
    certificateChain: file('crt'),
    privateKey: file('key'),
    trustBundle: readFileSync(join(folder, 'ca.crt'), 'utf8'),
  })
}

let side
let requestOf

async function onTunnel(request) {
  if (request.authority === NOWHERE) {
    const channel = request.accept()
    channel.start({ data: () => true, end: () => channel.end(), drained() {}, finished() {}, reset() {} })
    return
  }
  const [host, port] = request.authority.split(':')
  const socket = await dial({ host, port: Number(port), signal: request.signal })
  void pump(request.accept(), socketChannel(socket))
}

async function carry(socket, authority) {
  socket.on('error', () => {})
  try {
    const tunnel = await side.connect(requestOf(authority))
    void pump(socketChannel(socket), tunnel.channel)
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    socket.destroy()
  }
}

/** Opens a tunnel that carries nothing and ends it. */
async function openAndEnd() {
  const { channel } = await side.connect(requestOf(NOWHERE))
  await new Promise((resolve, reject) => {
    let left = 2
    const half = () => {
      if (--left === 0) resolve()
    }
    channel.start({
      data: () => true,
      end: half,
      drained() {},
      finished: half,
      reset: reset => reject(new Error(reset.reason)),
    })
    channel.end()
  })
}

program({
  async source({ folder, target, app }) {
    const credentials = credentialsOf(folder, 'source')
    const expect = [credentialsOf(folder, 'destination').id]
    side = createHbonePool()
    requestOf = authority => ({ credentials, to: { address: HOST, port: target }, expect, authority })
    const authority = `${HOST}:${app}`
    return (await listen({ host: HOST, port: 0, onConnection: socket => void carry(socket, authority) })).port
  },
  async destination({ folder }) {
    const credentials = credentialsOf(folder, 'destination')
    side = createHboneServer({ credentials: () => credentials, onTunnel })
    return (await listen({ host: HOST, port: 0, onConnection: socket => side.accept(socket) })).port
  },
  counts: () => ({ sessions: side.sessions, tunnels: side.tunnels }),
  async churn({ tunnels, atOnce }) {
    let left = tunnels
    const worker = async () => {
      while (left-- > 0) await openAndEnd()
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
  },
})
