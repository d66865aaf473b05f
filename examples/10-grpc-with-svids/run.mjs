// grpc-js with X.509-SVIDs that rotate: mutual TLS by SPIFFE ID, on a port of its own.
import { workloadSpiffeId } from '@ambient/core'
import {
  createCertificateAuthority,
  createGrpcChannelCredentials,
  createGrpcServerCredentials,
  createIdentityManager,
  createLocalSigner,
  peerOfCall,
} from '@ambient/identity'
import grpc from '@grpc/grpc-js'

const trustDomain = 'example.org'
const ca = await createCertificateAuthority({ trustDomain })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const idOf = serviceAccount => workloadSpiffeId({ trustDomain, namespace: 'shop', serviceAccount })
const [web, orders, thief] = ['web', 'orders', 'thief'].map(name => identities.x509Source(idOf(name)))
await Promise.all([web, orders, thief].map(source => source.get()))

// A service without generated code: its messages are texts.
const text = { to: value => Buffer.from(value), from: bytes => bytes.toString() }
const method = {
  path: '/shop.Orders/Cancel',
  requestStream: false,
  responseStream: false,
  requestSerialize: text.to,
  requestDeserialize: text.from,
  responseSerialize: text.to,
  responseDeserialize: text.from,
}
const server = new grpc.Server()
server.addService(
  { cancel: method },
  { cancel: (call, reply) => reply(null, `${call.request} is cancelled for ${peerOfCall(call).path}`) },
)
const credentials = createGrpcServerCredentials(orders, { expect: id => id.uri !== idOf('thief').uri })
const port = await new Promise((resolve, reject) =>
  server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
)

const Orders = grpc.makeClientConstructor({ cancel: method }, 'Orders')
const clients = []
function clientOf(source, expected = 'orders') {
  const expect = { kind: 'one-of', ids: [idOf(expected)] }
  const client = new Orders(`localhost:${port}`, createGrpcChannelCredentials(source, { expect }))
  clients.push(client)
  return client
}
const cancel = (client, order) =>
  new Promise(resolve => client.cancel(order, (error, answer) => resolve(error ?? answer)))

const client = clientOf(web)
console.log(await cancel(client, 'order 1'))
await Promise.all([identities.rotate(idOf('web')), identities.rotate(idOf('orders'))])
console.log(
  `rotated: ${await cancel(client, 'order 2')}, and anew: ${await cancel(clientOf(web), 'order 3')}`,
)

const refused = await cancel(clientOf(thief), 'order 4')
console.log(`thief: ${grpc.status[refused.code]}`)
const misled = await cancel(clientOf(web, 'payments'), 'order 5')
console.log(`misled: ${grpc.status[misled.code]}, ${misled.details.includes('payments')}`)

for (const each of clients) each.close()
server.forceShutdown()
await identities.close()
