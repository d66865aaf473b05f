// The methods of the greeter, for its server and for its client.

const write = value => Buffer.from(JSON.stringify(value))
const read = bytes => JSON.parse(bytes.toString('utf8'))
const method = (name, responseStream) => ({
  path: `/bookinfo.Greeter/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: write,
  requestDeserialize: read,
  responseSerialize: write,
  responseDeserialize: read,
})

export const greeterMethods = { SayHello: method('SayHello', false), SayHellos: method('SayHellos', true) }
