/** Real servers with the middleware in front of one handler, and a client with a certificate. */
import type { Credentials } from '@ambient/core'
import { createTestIdentities } from '@ambient/identity/testing'
import { meshAuth as expressAuth } from '@ambient/policy/express'
import { meshAuth as fastifyAuth } from '@ambient/policy/fastify'
import { meshAuth as honoAuth, type MeshEnv } from '@ambient/policy/hono'
import { type MeshAuthOptions, meshAuth } from '@ambient/policy/http'
import { createAdaptorServer } from '@hono/node-server'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import { once } from 'node:events'
import { connect, createSecureServer, type IncomingHttpHeaders } from 'node:http2'
import { createServer, request } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach } from 'vitest'

const identities = await createTestIdentities()
const named = (namespace: string, serviceAccount: string): Promise<Credentials> =>
  identities.credentials({ namespace, serviceAccount })
export const server = await named('shop', 'web')
export const callers = {
  alice: await named('client', 'alice'),
  mallory: await named('client', 'mallory'),
  waypoint: await named('shop', 'waypoint'),
}

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
export function later(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup)
}

export function tlsOf(of: Credentials): { readonly key: string; readonly cert: string; readonly ca: string } {
  return { key: of.privateKey(), cert: of.certificateChain, ca: of.trustBundle }
}

/** Callers without a certificate may connect: the policy refuses them. */
const asServer = { ...tlsOf(server), requestCert: true, rejectUnauthorized: false }

type Start = (options: MeshAuthOptions) => Promise<number>

/** Each answers `{ peer, url }` with what the handler sees. */
export const servers: Readonly<Record<string, Start>> = {
  'node:https'(options) {
    const guard = meshAuth(options)
    return listening(
      createServer(asServer, (incoming, response) =>
        guard(incoming, response, () => {
          response.end(JSON.stringify({ peer: Reflect.get(incoming, 'peer'), url: incoming.url }))
        }),
      ),
    )
  },
  'node:http2'(options) {
    const guard = meshAuth(options)
    return listening(
      createSecureServer({ ...asServer, allowHTTP1: false }, (incoming, response) =>
        guard(incoming, response, () => {
          response.end(JSON.stringify({ peer: Reflect.get(incoming, 'peer'), url: incoming.url }))
        }),
      ),
    )
  },
  Express(options) {
    const app = express()
    app.use(expressAuth(options))
    app.use((incoming, response) => {
      response.json({ peer: incoming.peer, url: incoming.url })
    })
    return listening(createServer(asServer, app))
  },
  async Fastify(options) {
    const app = fastify({ https: asServer })
    await app.register(fastifyAuth(options))
    app.all('/*', incoming => ({ peer: incoming.peer, url: incoming.url }))
    later(() => app.close())
    await app.listen({ host: '127.0.0.1', port: 0 })
    return (app.server.address() as AddressInfo).port
  },
  Hono(options) {
    const app = new Hono<MeshEnv>()
    app.use(honoAuth(options))
    app.all('*', c => c.json({ peer: c.get('peer'), url: new URL(c.req.url).pathname }))
    return listening(
      createAdaptorServer({ fetch: app.fetch, createServer, serverOptions: asServer }) as unknown as Server,
    )
  },
}

export async function listening(at: Server): Promise<number> {
  at.listen(0, '127.0.0.1')
  await once(at, 'listening')
  later(async () => {
    at.close()
    await once(at, 'close')
  })
  return (at.address() as AddressInfo).port
}

export interface Call {
  readonly who?: Credentials | undefined
  readonly path?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export function call(kind: string, port: number, of: Call = {}): Promise<Answer> {
  return kind === 'node:http2' ? callHttp2(port, of) : callHttp1(port, of)
}

async function callHttp1(
  port: number,
  { who, path = '/', method = 'GET', headers = {} }: Call,
): Promise<Answer> {
  const sent = request({
    host: '127.0.0.1',
    port,
    path,
    method,
    headers: { host: 'web', ...headers },
    agent: false,
    ca: server.trustBundle,
    checkServerIdentity: () => undefined,
    ...(who === undefined ? {} : { key: who.privateKey(), cert: who.certificateChain }),
  })
  sent.end()
  const [response] = await once(sent, 'response')
  return { status: response.statusCode, headers: response.headers, body: await text(response) }
}

async function callHttp2(
  port: number,
  { who, path = '/', method = 'GET', headers = {} }: Call,
): Promise<Answer> {
  const session = connect(`https://127.0.0.1:${port}`, {
    ca: server.trustBundle,
    checkServerIdentity: () => undefined,
    ...(who === undefined ? {} : { key: who.privateKey(), cert: who.certificateChain }),
  })
  const stream = session.request({ ':path': path, ':method': method, ':authority': 'web', ...headers })
  stream.end()
  const [answered] = await once(stream, 'response')
  const body = await text(stream)
  session.close()
  return { status: Number(answered[':status']), headers: answered, body }
}
