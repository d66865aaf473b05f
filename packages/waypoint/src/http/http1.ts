/**
 * HTTP/1.1 from a caller: Node's parser and writer over any Duplex, one exchange at a time in the order of the requests.
 * One `http.Server`, never listening, reads for all connections of a room.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { InboundStream } from '../stream.ts'
import type { HttpConnection, RoomFacts } from './connection.ts'
import { isH2cOffer } from './h2c-offer.ts'
import { Http1Connection } from './http1-connection.ts'
import { allowHalfOpen, ignoreUpgrades } from './node-types.ts'

export interface Http1Room {
  /** Owns the socket from now on. */
  serve(socket: Duplex, stream: InboundStream): HttpConnection
}

export function createHttp1Room(facts: RoomFacts): Http1Room {
  const connections = new WeakMap<Duplex, Http1Connection>()
  const server = createParser(facts)
  const of = (message: IncomingMessage): Http1Connection | undefined => connections.get(message.socket)
  const onRequest = (message: IncomingMessage, response: ServerResponse): void =>
    of(message)?.take({ message, response, isExpecting: false })
  server.on('request', onRequest)
  // Whatever is expected beside a 100: Envoy does not look, and neither do we.
  server.on('checkExpectation', onRequest)
  server.on('checkContinue', (message: IncomingMessage, response: ServerResponse) =>
    of(message)?.take({ message, response, isExpecting: true }),
  )
  server.on('upgrade', (message: IncomingMessage, _socket: Duplex, head: Buffer) =>
    of(message)?.upgrade(message, head),
  )
  server.on('connect', (message: IncomingMessage, _socket: Duplex, head: Buffer) =>
    of(message)?.upgrade(message, head),
  )
  server.on('clientError', (error: Error, socket: Duplex) => connections.get(socket)?.malformed(error))
  return {
    serve(socket, stream) {
      const connection = new Http1Connection(socket, stream, facts, server)
      connections.set(socket, connection)
      connection.start()
      return connection
    },
  }
}

/** Every time limit is ours: Node's depend on a server that listens. */
function createParser({ limits }: RoomFacts): Server {
  const server = createServer({
    insecureHTTPParser: false,
    maxHeaderSize: limits.headerBytes,
    // Judged where it can be recorded.
    requireHostHeader: false,
    keepAliveTimeout: 0,
    requestTimeout: 0,
    headersTimeout: 0,
  })
  server.timeout = 0
  // Fields beyond a count of Node's would be hidden from us; the bytes are bounded.
  server.maxHeadersCount = 0
  allowHalfOpen(server)
  ignoreUpgrades(server, isH2cOffer)
  return server
}
