// Managed identities and a mesh of two in a process of its own, whose clock somebody else sets and which somebody else stops.
// Each line on standard input is answered by a line of JSON.
import { createInterface } from 'node:readline'
import { parseSpiffeId } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { connect, createHboneServer } from '@ambient/hbone'
import { createCertificateAuthority, createIdentityManager, createLocalSigner } from '@ambient/identity'

const [count, ttlMs] = process.argv.slice(2).map(Number)
const ids = Array.from({ length: count }, (_, n) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/w${n}`))
const [server, client] = ids
const local = createLocalSigner(await createCertificateAuthority({ trustDomain: 'cluster.local' }))
let signed = 0
const signer = {
  sign: request => {
    signed += 1
    return local.sign(request)
  },
  close: () => local.close(),
}
const manager = createIdentityManager({ signer, ttlMs })
let refused = ''
const hbone = createHboneServer({
  credentials: () => manager.get(server),
  onTunnel: request => request.refuse(404),
  onFailure: ({ error }) => {
    refused = error.problem ?? error.code
  },
})
const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => hbone.accept(socket) })
await Promise.all(ids.map(id => manager.get(id)))
const first = await manager.get(client)

// A 404 through the tunnel's session is proof that both were believed.
async function visit(credentials) {
  refused = ''
  const to = { address: '127.0.0.1', port: listener.port }
  const believes = { ...credentials, verifyPeer: (await manager.get(client)).verifyPeer }
  const error = await connect({ credentials: believes, to, expect: [server], authority: 'a.b:1' }).catch(
    e => e,
  )
  return error.status === 404 ? 'believed' : (error.problem ?? (refused || error.code))
}

const answers = {
  /** Everybody asks for a certificate, ten times over, at once. */
  async get() {
    const asked = Array.from({ length: 10 }, () => ids).flat()
    const settled = await Promise.allSettled(asked.map(id => manager.get(id)))
    const late = settled.filter(({ status, value }) => status === 'rejected' || value.notAfter < Date.now())
    return { failed: late.length }
  },
  visit: async () => ({ verdict: await visit(await manager.get(client)) }),
  visitWithFirst: async () => ({ verdict: await visit(first) }),
  /** A second of doing nothing: what is counted afterwards was done by timers alone. */
  rest: () => new Promise(resolve => setTimeout(resolve, 1_000, {})),
}

const say = facts => process.stdout.write(`${JSON.stringify({ signed, now: Date.now(), ...facts })}\n`)
say({})
for await (const line of createInterface({ input: process.stdin })) {
  const facts = await answers[line]()
  say(facts)
}
