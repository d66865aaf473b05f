// Calls the greeter: once, and as a stream; prints one JSON line with what came and how it ended.
import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js'
import { greeterMethods } from '../apps/greeter-methods.mjs'

const [target, name = 'bookinfo'] = process.argv.slice(2)
const Client = makeGenericClientConstructor(greeterMethods, 'Greeter')
const client = new Client(target, credentials.createInsecure())
const deadline = () => ({ deadline: Date.now() + 5_000 })

const unary = () =>
  new Promise(resolve => {
    client.SayHello({ name }, deadline(), (error, answer) =>
      resolve(error ? { code: error.code, details: error.details } : { code: 0, message: answer.message }),
    )
  })

const streamed = () =>
  new Promise(resolve => {
    const messages = []
    const call = client.SayHellos({ name }, deadline())
    call.on('data', ({ message }) => messages.push(message))
    const ended = new Promise(end => call.on('end', end))
    call.on('error', error => resolve({ code: error.code, details: error.details, messages }))
    call.on('status', ({ code }) => void ended.then(() => resolve({ code, messages })))
  })

console.log(JSON.stringify({ unary: await unary(), streamed: await streamed() }))
client.close()
