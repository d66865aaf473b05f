// An Express application behind HBONE: every request has a proven peer. Its callers use Node's http with an agent of tunnels.
import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { text } from 'node:stream/consumers'
import { workloadIdentityOf, workloadSpiffeId } from '@ambient/core'
import { createHbonePool, tunnelsVia } from '@ambient/hbone'
import { createHboneAgent, peerOf, serveHttp } from '@ambient/hbone/http'
import { createCertificateAuthority, createIdentityManager, createLocalSigner } from '@ambient/identity'
import express from 'express'

const trustDomain = 'cluster.local'
const ca = await createCertificateAuthority({ trustDomain })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const idOf = serviceAccount => workloadSpiffeId({ trustDomain, namespace: 'shop', serviceAccount })

// The application. Who calls comes from the connection; a header can say anything.
const app = express()
app.get('/orders', (request, response) => {
  const { id } = peerOf(request)
  const who = workloadIdentityOf(id)?.serviceAccount
  if (who !== 'web') return response.status(403).send(`orders are not for ${who}`)
  response.send(`orders for ${id.uri}, whatever ${request.get('x-user')} says`)
})

// It does not listen: HBONE does, and hands over its tunnels. Strangers do not get as far as HTTP.
const server = createServer(app)
const meshed = await serveHttp(server, {
  host: '127.0.0.1',
  port: 0,
  credentials: () => identities.get(idOf('orders')),
  authorize: tunnel => workloadIdentityOf(tunnel.peer.id)?.serviceAccount !== 'stranger',
})

const pool = createHbonePool()

/** What a program of this service account sees. */
async function visit(serviceAccount) {
  const credentials = () => identities.get(idOf(serviceAccount))
  const open = tunnelsVia({ pool, credentials, to: meshed, expect: [idOf('orders')] })
  const agent = createHboneAgent({ open, maxSockets: 1 })
  for (let visits = 0; visits < 2; visits++) {
    try {
      const request = get('http://orders.shop/orders', { agent, headers: { 'x-user': 'root' } })
      const [response] = await once(request, 'response')
      const isKept = request.reusedSocket ? ', by the same tunnel' : ''
      console.log(`${serviceAccount}: ${response.statusCode} ${await text(response)}${isKept}`)
    } catch (error) {
      console.log(`${serviceAccount}: ${error.code} (status ${error.status})`)
    }
    // The agent takes its connection back after the answer was read.
    await new Promise(resolve => setImmediate(resolve))
  }
  return agent
}

const agents = []
for (const name of ['web', 'ratings', 'stranger']) agents.push(await visit(name))

console.log(`open when the server says goodbye: ${meshed.connections} connections`)
await meshed.close()
console.log(`and after: ${meshed.connections}`)

for (const agent of agents) agent.destroy()
server.close()
await Promise.all([pool.close(), identities.close()])
