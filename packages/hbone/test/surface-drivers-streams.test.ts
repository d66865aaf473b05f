/** Protocols that are given a socket, over tunnels: HTTP/2, TLS, mail, WebSockets; with the socket there before its tunnel. */
import { once } from 'node:events'
import http2 from 'node:http2'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { buffer, text } from 'node:stream/consumers'
import tls from 'node:tls'
import { createLazyTunnelSocket, type TunnelSocket } from '@ambient/hbone'
import { createTransport } from 'nodemailer'
import { SMTPServer } from 'smtp-server'
import { describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { identities, later } from './harness.ts'
import { listening, quiet, type Tunnels, tunnels } from './tunnels.ts'

/** Sockets that connect late, and sockets whose tunnel is there: both have to do everywhere. */
const KINDS = {
  'a socket before its tunnel': async (ends: Tunnels, port: number): Promise<TunnelSocket> =>
    createLazyTunnelSocket(async signal => {
      // Everybody has had a turn before there is a tunnel.
      for (let turn = 0; turn < 5; turn++) await new Promise(resolve => setImmediate(resolve))
      return ends.open({ host: 'app.shop', port }, { signal })
    }),
  'a tunnel’s socket': async (ends: Tunnels, port: number): Promise<TunnelSocket> =>
    (await ends.open({ host: 'app.shop', port })).socket(),
}

for (const [kind, socketTo] of Object.entries(KINDS))
  describe(kind, () => {
    it('carries http2.connect: many streams, large bodies both ways', async () => {
      const server = http2.createServer((request, response) => void request.pipe(response))
      const [ends, { port }] = [await tunnels(), await listening(server)]
      const socket = await socketTo(ends, port)
      const session = http2.connect('http://app.shop', { createConnection: () => socket })
      const bodies = Array.from({ length: 20 }, (_, index) => Buffer.alloc(100_000, index + 1))
      const echoes = bodies.map(body => {
        const stream = session.request({ ':method': 'POST' })
        stream.end(body)
        return buffer(stream)
      })
      expect((await Promise.all(echoes)).map((echo, index) => echo.equals(bodies[index] ?? echo))).toEqual(
        bodies.map(() => true),
      )
      const closed = once(session, 'close')
      session.close()
      await closed
      await quiet(ends)
    })

    it('carries tls.connect, with the certificate checked', async () => {
      const { certificateChain, privateKey } = await identities.ca.issueServerCertificate({
        dnsNames: ['app.shop'],
        ipAddresses: [],
      })
      const server = tls.createServer(
        { cert: certificateChain, key: privateKey },
        socket => void socket.pipe(socket),
      )
      const [ends, { port }] = [await tunnels(), await listening(server)]
      const ca = identities.ca.rootPem
      const secured = tls.connect({ socket: await socketTo(ends, port), servername: 'app.shop', ca })
      await once(secured, 'secureConnect')
      const body = Buffer.alloc(1_000_000, 7)
      secured.end(body)
      expect((await buffer(secured)).equals(body)).toBe(true)
      const wrong = tls.connect({ socket: await socketTo(ends, port), servername: 'other.shop', ca })
      await expect(once(wrong, 'secureConnect')).rejects.toMatchObject({
        code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      })
      await quiet(ends)
    })

    it('carries nodemailer, also when mail turns to TLS on the way', async () => {
      const mails: string[] = []
      const { certificateChain, privateKey } = await identities.ca.issueServerCertificate({
        dnsNames: ['app.shop'],
        ipAddresses: [],
      })
      const server = new SMTPServer({
        cert: certificateChain,
        key: privateKey,
        authOptional: true,
        disableReverseLookup: true,
        logger: false,
        onData(stream, _session, done) {
          text(stream).then(mail => {
            mails.push(mail)
            done()
          }, done)
        },
      })
      server.on('error', () => {})
      const [ends, { port }] = [await tunnels(), await listening(server.server)]
      const connection = async (): Promise<Socket> => {
        const socket = await socketTo(ends, port)
        if (socket.connecting) await once(socket, 'connect')
        return socket
      }
      const mail = { from: 'web@shop', to: 'box@shop', subject: 'order', text: 'seven\n'.repeat(20_000) }
      for (const secure of [{ ignoreTLS: true }, { requireTLS: true, tls: { ca: identities.ca.rootPem } }]) {
        const transport = createTransport({
          host: 'app.shop',
          ...secure,
          getSocket: (_options: object, done: (error: Error | null, socket?: object) => void) => {
            connection().then(
              socket => done(null, { connection: socket }),
              (error: Error) => done(error),
            )
          },
        })
        expect((await transport.sendMail(mail)).accepted).toEqual(['box@shop'])
        transport.close()
      }
      expect(mails).toHaveLength(2)
      for (const received of mails) expect(received.match(/seven/g)).toHaveLength(20_000)
      await quiet(ends)
    })

    it('carries ws, to the closing handshake', async () => {
      const http = createHttpServer()
      const sockets = new WebSocketServer({ server: http })
      sockets.on('connection', socket =>
        socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
      )
      const [ends, { port }] = [await tunnels(), await listening(http)]
      const socket = await socketTo(ends, port)
      const client = new WebSocket('ws://app.shop/', { createConnection: () => socket })
      await once(client, 'open')
      client.send(Buffer.alloc(500_000, 3))
      const [echo] = (await once(client, 'message')) as [Buffer]
      expect(echo.equals(Buffer.alloc(500_000, 3))).toBe(true)
      const pong = once(client, 'pong')
      client.ping()
      await pong
      client.close(1_000, 'done')
      expect(await once(client, 'close')).toEqual([1_000, Buffer.from('done')])
      await quiet(ends)
    })
  })

describe('a socket whose tunnel does not come', () => {
  const refused = (): TunnelSocket => createLazyTunnelSocket(() => Promise.reject(new Error('no way there')))

  it('fails http2.connect, tls.connect and ws with the reason', async () => {
    const session = http2.connect('http://app.shop', { createConnection: refused })
    const [error] = (await once(session, 'error')) as [Error]
    expect(error.message).toBe('no way there')
    const socket = refused()
    const secured = tls.connect({ socket, servername: 'app.shop' })
    secured.on('error', () => {})
    const [reason] = (await once(socket, 'error')) as [Error]
    expect(reason.message).toBe('no way there')
    const client = new WebSocket('ws://app.shop/', { createConnection: refused })
    const [failure] = (await once(client, 'error')) as [Error]
    expect(failure.message).toBe('no way there')
  })
})

it('a driver’s socket goes where net.connect would: kept alive, timed, and closed by the peer', async () => {
  const server = createTcpServer(socket => {
    socket.end('bye')
    later(async () => void socket.destroy())
  })
  const [ends, { port }] = [await tunnels(), await listening(server)]
  const socket: Socket = createLazyTunnelSocket(signal => ends.open({ host: 'app', port }, { signal }))
  socket.setNoDelay(true).setKeepAlive(true, 1_000).setTimeout(60_000).ref().unref()
  const closed = once(socket, 'close')
  expect(await text(socket)).toBe('bye')
  expect(await closed).toEqual([false])
  await quiet(ends)
})
