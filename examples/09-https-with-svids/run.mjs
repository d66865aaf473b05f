// Servers and clients of Node with X.509-SVIDs that rotate: mutual TLS by SPIFFE ID, without proxies or tunnels.
import { once } from 'node:events'
import * as http2 from 'node:http2'
import * as https from 'node:https'
import { text } from 'node:stream/consumers'
import * as tls from 'node:tls'
import { workloadSpiffeId } from '@ambient/core'
import {
  connectTls,
  createCertificateAuthority,
  createHttpsAgent,
  createIdentityManager,
  createLocalSigner,
  createTlsOptions,
  createUndiciConnector,
  peerIdentity,
  secureServer,
} from '@ambient/identity'
import { Agent, fetch } from 'undici'

// Who is who: a CA in memory signs, a manager keeps the certificates fresh. Files or the Workload API are sources too.
const trustDomain = 'example.org'
const ca = await createCertificateAuthority({ trustDomain })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const idOf = serviceAccount => workloadSpiffeId({ trustDomain, namespace: 'shop', serviceAccount })
const [web, db] = [identities.x509Source(idOf('web')), identities.x509Source(idOf('db'))]
const first = await Promise.all([web.get(), db.get()])
const expect = { kind: 'one-of', ids: [idOf('db')] }

async function listening(server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address().port
}
const answer = (request, response) =>
  response.end(`hello ${peerIdentity(request.socket).path}, I am ${idOf('db').path}`)

// node:https, with an agent whose connections have the identity of their moment.
const server = secureServer(https.createServer(answer), db)
const port = await listening(server)
const agent = createHttpsAgent(web, { expect })
const get = options =>
  new Promise((resolve, reject) =>
    https.get({ port, ...options }, response => resolve(text(response))).on('error', reject),
  )
console.log(`https: ${await get({ agent })}`)

// The certificates rotate. Connections that live go on; new ones show the new certificates.
const next = await Promise.all([identities.rotate(idOf('web')), identities.rotate(idOf('db'))])
const isNew = next.every(({ generation }, i) => generation > first[i].generation)
console.log(`rotated: ${isNew}, and ${await get({ agent })}`)

// Whatever takes the options of node:tls, for one connection.
console.log(`options: ${await get({ ...createTlsOptions(web, { expect }), agent: false })}`)

// fetch, through undici.
const dispatcher = new Agent({ connect: createUndiciConnector(web, { expect }) })
const response = await fetch(`https://127.0.0.1:${port}/`, { dispatcher })
console.log(`fetch: ${response.status} ${await response.text()}`)

// node:http2: its connection is proven before the session begins.
const server2 = secureServer(http2.createSecureServer({}, answer), db)
const port2 = await listening(server2)
const socket = await connectTls(web, { host: '127.0.0.1', port: port2, ALPNProtocols: ['h2'], expect })
const session = http2.connect('https://db', { createConnection: () => socket })
console.log(`http2 with ${peerIdentity(session).path}: ${await text(session.request({ ':path': '/' }))}`)

// node:tls, for any protocol.
const echo = secureServer(
  tls.createServer(connection => connection.pipe(connection)),
  db,
)
const connection = await connectTls(web, { host: '127.0.0.1', port: await listening(echo), expect })
connection.end('ping')
console.log(`tls: ${await text(connection)}`)

// Not the server that was expected: nothing was sent. Not a client that is expected: no handler hears of it.
const misled = createHttpsAgent(web, { expect: { kind: 'one-of', ids: [idOf('payments')] } })
console.log(`misled: ${await get({ agent: misled }).catch(error => error.code)}`)
server.on('tlsClientError', ({ code }) => {
  if (code === 'AMBIENT_E_PEER_IDENTITY') console.log(`server: ${code}`)
})
await get({ agent: false, rejectUnauthorized: false }).catch(error => console.log(`nobody: ${error.code}`))

session.close()
for (const each of [agent, misled]) each.destroy()
await dispatcher.close()
for (const each of [server, server2, echo]) each.close()
await identities.close()
