// fetch through a gateway that speaks HBONE: the programs behind it know nothing of the mesh.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { parseHostPort, pump, workloadSpiffeId } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createHbonePool, createHboneServer, tunnelsVia } from '@ambient/hbone'
import { createHboneFetch } from '@ambient/hbone/undici'
import { createCertificateAuthority, createIdentityManager, createLocalSigner } from '@ambient/identity'

const trustDomain = 'cluster.local'
const ca = await createCertificateAuthority({ trustDomain })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const idOf = serviceAccount => workloadSpiffeId({ trustDomain, namespace: 'shop', serviceAccount })

// Two programs: one speaks HTTP, the other HTTPS with a certificate of its own.
async function listening(server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address().port
}
const shout = createServer(async (request, response) => {
  for await (const chunk of request.setEncoding('utf8')) response.write(chunk.toUpperCase())
  response.end()
})
const tls = await ca.issueServerCertificate({ dnsNames: ['vault.shop'], ipAddresses: [] })
const vault = createTlsServer({ cert: tls.certificateChain, key: tls.privateKey }, (_request, response) =>
  response.end('opened'),
)
const ports = new Map([
  ['shout.shop', await listening(shout)],
  ['vault.shop', await listening(vault)],
])

// The gateway: knows two names, refuses the rest.
const gateway = createHboneServer({
  credentials: () => identities.get(idOf('gateway')),
  onTunnel: async tunnel => {
    const { host } = parseHostPort(tunnel.authority)
    const port = ports.get(host)
    if (port === undefined) return tunnel.refuse(404)
    console.log(`gateway: ${tunnel.peer.id.uri} → ${tunnel.authority}`)
    await pump(tunnel.accept(), socketChannel(await dial({ host: '127.0.0.1', port, signal: tunnel.signal })))
  },
})
const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => gateway.accept(socket) })

// The client: fetch as everybody knows it. HTTPS is TLS inside the tunnel, so the gateway does not see in.
const pool = createHbonePool()
const credentials = () => identities.get(idOf('web'))
const open = tunnelsVia({ pool, credentials, to: listener, expect: [idOf('gateway')] })
const fetch = createHboneFetch({ open, connect: { ca: ca.rootPem } })

const shouted = await fetch('http://shout.shop/', { method: 'POST', body: 'hello' })
console.log(`shout.shop: ${shouted.status} ${await shouted.text()}`)
const opened = await fetch('https://vault.shop/')
console.log(`vault.shop: ${opened.status} ${await opened.text()}`)
try {
  await fetch('http://nowhere.shop/')
} catch (error) {
  console.log(`nowhere.shop: ${error.cause.code} (status ${error.cause.status})`)
}

await fetch.close()
await Promise.all([pool.close(), gateway.close(), listener.close(), identities.close()])
for (const server of [shout, vault]) server.close()
