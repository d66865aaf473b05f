// gRPC through HBONE: a server without a port of its own, handlers that know who calls, and two callers on one pool.
import { sameSpiffeId, workloadSpiffeId } from '@ambient/core'
import { createHbonePool, tunnelsVia } from '@ambient/hbone'
import { createHboneChannelCredentials, peerOf, serveGrpc } from '@ambient/hbone/grpc'
import { createCertificateAuthority, createIdentityManager, createLocalSigner } from '@ambient/identity'
import grpc from '@grpc/grpc-js'

// Who is who: a CA in memory signs, a manager keeps the certificates fresh.
const trustDomain = 'cluster.local'
const ca = await createCertificateAuthority({ trustDomain })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const idOf = serviceAccount => workloadSpiffeId({ trustDomain, namespace: 'shop', serviceAccount })

// A service without generated code: its messages are texts. With @grpc/proto-loader nothing here is different.
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

// The server is bound to no port: tunnels are its connections. Who calls was proven before its first byte.
const server = new grpc.Server()
server.addService(
  { cancel: method },
  {
    cancel(call, reply) {
      const { id } = peerOf(call)
      if (!sameSpiffeId(id, idOf('web')))
        return reply({ code: grpc.status.PERMISSION_DENIED, details: `${id.uri} may not cancel` })
      reply(null, `${call.request} is cancelled for ${id.uri}`)
    },
  },
)
const meshed = await serveGrpc(server, {
  host: '127.0.0.1',
  port: 0,
  credentials: () => identities.get(idOf('orders')),
})

// A client per caller: `hbone:` and a name that nobody resolves. Here every tunnel leads to the one server.
const pool = createHbonePool()
const Orders = grpc.makeClientConstructor({ cancel: method }, 'Orders')
function clientOf(serviceAccount, expected = 'orders') {
  const open = tunnelsVia({
    pool,
    credentials: () => identities.get(idOf(serviceAccount)),
    to: meshed,
    expect: [idOf(expected)],
  })
  return new Orders('hbone:orders.shop.svc.cluster.local:50051', createHboneChannelCredentials({ open }))
}
const cancel = (client, order) =>
  new Promise(resolve =>
    client.cancel(order, (error, answer) => resolve(error ? `${error.details}` : answer)),
  )

const web = clientOf('web')
const stranger = clientOf('stranger')
const misled = clientOf('web', 'payments')
console.log(`web: ${await cancel(web, 'order 1')}`)
console.log(`stranger: ${await cancel(stranger, 'order 1')}`)
console.log(`misled: ${/AMBIENT_E_\w+/.exec(await cancel(misled, 'order 1'))}`)

// The session drains, as at a rotation or when a proxy restarts: the channel takes a new tunnel, and no call fails.
const calls = Array.from({ length: 100 }, (_, i) => cancel(web, `order ${i}`))
pool.retire()
const answers = await Promise.all([...calls, ...calls.map((_, i) => cancel(web, `order ${i}`))])
console.log(
  `web: ${answers.filter(answer => answer.includes('is cancelled')).length} of 200 calls around a drain`,
)

for (const client of [web, stranger, misled]) client.close()
await Promise.all([pool.close(), meshed.close(), identities.close()])
server.forceShutdown()
