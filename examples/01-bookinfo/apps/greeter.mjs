// A gRPC server: `SayHello` answers once, `SayHellos` five times. Messages are JSON, so that no code is generated.
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { greeterMethods } from './greeter-methods.mjs'
import { endOnSigterm, portOf } from './serve.mjs'

const REPLIES = 5
const port = portOf(9090)
const server = new Server()

server.addService(greeterMethods, {
  SayHello: ({ request }, answer) => answer(null, { message: `hello ${request.name}` }),
  async SayHellos(call) {
    for (let index = 0; index < REPLIES; index++)
      call.write({ message: `hello ${call.request.name} ${index}` })
    call.end()
  },
})
server.bindAsync(`0.0.0.0:${port}`, ServerCredentials.createInsecure(), error => {
  if (error) throw error
  console.log(`greeter listens on port ${port}`)
})
endOnSigterm(() => server.tryShutdown(() => process.exit(0)))
