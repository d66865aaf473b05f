/** grpc-js over HBONE: every kind of call, peers in handlers, failures that say why, drains that fail nothing. */
import { promisify } from 'node:util'
import type { Permit } from '@ambient/core'
import * as grpc from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { loadGrpc } from '../src/grpc/load.ts'
import { createHboneChannelCredentials, createGrpcTunnelHandler } from '../src/grpc/index.ts'
import { identities, later, web } from './harness.ts'
import { chat, count, echo, grpcWorld, join } from './grpc-harness.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const unused = (): Promise<never> => Promise.reject(new Error('unused'))

describe('gRPC over HBONE', () => {
  it('carries every kind of call on one tunnel, and handlers know the peer', async () => {
    const { client, opened, meshed } = await grpcWorld()
    const words = client()
    expect(await echo(words, 'hello')).toBe(`${WEB} hello`)
    expect(await count(words, 3)).toEqual([`${WEB} 1`, `${WEB} 2`, `${WEB} 3`])
    expect(await join(words, ['a', 'b'])).toBe(`${WEB} a b`)
    const talk = chat(words)
    expect(await talk.say('one')).toBe(`${WEB} one`)
    expect(await talk.say('two')).toBe(`${WEB} two`)
    expect(await talk.end()).toMatchObject({ code: grpc.status.OK })
    expect(opened()).toBe(1)
    expect(meshed.connections).toBe(1)
  })

  it('carries large messages, many at a time', async () => {
    const { client } = await grpcWorld()
    const words = client()
    const large = 'x'.repeat(1 << 20)
    const answers = await Promise.all(Array.from({ length: 16 }, () => echo(words, large)))
    for (const answer of answers) expect(answer.length).toBe(WEB.length + 1 + large.length)
  })

  it('tells callers apart that share everything but their identity', async () => {
    const { client } = await grpcWorld()
    const admin = await identities.credentials({ namespace: 'shop', serviceAccount: 'admin' })
    const [a, b] = [client(), client({ credentials: admin })]
    const answers = await Promise.all([echo(a, '1'), echo(b, '1'), echo(a, '2'), echo(b, '2')])
    expect(answers).toEqual([`${WEB} 1`, `${admin.id.uri} 1`, `${WEB} 2`, `${admin.id.uri} 2`])
  })

  it('believes no metadata, and knows nobody on a port without HBONE', async () => {
    const { client, server } = await grpcWorld()
    const forged = new grpc.Metadata()
    for (const name of ['peer', 'x-forwarded-client-cert', 'spiffe-id'])
      forged.set(name, 'spiffe://cluster.local/ns/shop/sa/admin')
    expect(await echo(client(), 'it is me', forged)).toBe(`${WEB} it is me`)
    const bind = promisify(server.bindAsync.bind(server))
    const port = await bind('127.0.0.1:0', grpc.ServerCredentials.createInsecure())
    const plain = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
    later(async () => plain.close())
    expect(await echo(plain, 'hello', forged)).toBe('nobody hello')
  })

  it('gives handlers the address of the peer', async () => {
    const { client, server } = await grpcWorld()
    const same = (value: Buffer): Buffer => value
    const where: grpc.handleUnaryCall<Buffer, Buffer> = (call, reply) =>
      reply(null, Buffer.from(call.getPeer()))
    server.register('/test.Words/Where', where, same, same, 'unary')
    const answer = await new Promise((resolve, reject) => {
      client().makeUnaryRequest('/test.Words/Where', same, same, Buffer.alloc(0), (error, value) =>
        error === null ? resolve(String(value)) : reject(error),
      )
    })
    expect(answer).toMatch(/^127\.0\.0\.1:\d+$/)
  })

  it('lets call credentials be composed', async () => {
    const { client, server } = await grpcWorld()
    const same = (value: Buffer): Buffer => value
    const token: grpc.handleUnaryCall<Buffer, Buffer> = (call, reply) =>
      reply(null, Buffer.from(String(call.metadata.get('authorization'))))
    server.register('/test.Words/Token', token, same, same, 'unary')
    const compose = grpc.credentials.createFromMetadataGenerator((_, give) => {
      const metadata = new grpc.Metadata()
      metadata.set('authorization', 'Bearer t')
      give(null, metadata)
    })
    const answer = await new Promise((resolve, reject) => {
      client({ compose }).makeUnaryRequest(
        '/test.Words/Token',
        same,
        same,
        Buffer.alloc(0),
        (error, value) => (error === null ? resolve(String(value)) : reject(error)),
      )
    })
    expect(answer).toBe('Bearer t')
  })
})

describe('a gRPC call that gets no tunnel', () => {
  it('fails as UNAVAILABLE with the reason of HBONE', async () => {
    const failures: string[] = []
    const onFailure = (failure: { error: { code: string; status: number | undefined } }): void =>
      void failures.push(`${failure.error.code} ${failure.error.status}`)
    const { client } = await grpcWorld({ authorize: () => false })
    await expect(echo(client({ onFailure }), 'x')).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: expect.stringMatching(
        /AMBIENT_E_HBONE_REFUSED: http status: 401: .* refused CONNECT words.shop:50051/,
      ),
    })
    expect(failures).toEqual(['AMBIENT_E_HBONE_REFUSED 401'])
  })

  it('says that what opens tunnels failed otherwise', async () => {
    const { client } = await grpcWorld()
    const open = (): Promise<never> => Promise.reject(new Error('no such workload'))
    await expect(echo(client({ open }), 'x')).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: expect.stringContaining(
        'AMBIENT_E_HBONE_UNREACHABLE: no tunnel to words.shop:50051: no such workload',
      ),
    })
  })

  it.each(['hbone:words.shop', 'hbone:words shop:1', 'hbone:words.shop:0'])(
    'says what is wrong with %s',
    async target => {
      const { client } = await grpcWorld()
      await expect(echo(client({ target }), 'x')).rejects.toMatchObject({
        code: grpc.status.UNAVAILABLE,
        details: expect.stringContaining('AMBIENT_E_HBONE_OPTION: the target hbone:words'),
      })
    },
  )

  it('says that a proxy of the environment is in the way, and what to do', async () => {
    const { client } = await grpcWorld()
    // It accepts, and grants whatever it is asked for.
    const { createServer } = await import('node:http')
    const proxy = createServer().on('connect', (_, socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'))
    await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
    later(async () => proxy.close())
    const bound = proxy.address()
    const port = typeof bound === 'object' ? bound?.port : undefined
    process.env['grpc_proxy'] = `http://127.0.0.1:${port}`
    later(async () => void delete process.env['grpc_proxy'])
    const details = expect.stringContaining('AMBIENT_E_HBONE_OPTION: the environment names a proxy')
    await expect(echo(client(), 'x')).rejects.toMatchObject({ details })
    const without = client({ channel: { 'grpc.enable_http_proxy': 0 } })
    expect(await echo(without, 'x')).toBe(`${WEB} x`)
  })
})

describe('a drain', () => {
  it('of the session fails no call: those under way finish, new ones take a new tunnel', async () => {
    const { client, pool, opened } = await grpcWorld()
    const words = client()
    const talk = chat(words)
    expect(await talk.say('before')).toBe(`${WEB} before`)
    let asked = 0
    let going = true
    const caller = async (): Promise<void> => {
      while (going) expect(await echo(words, String(asked++))).toMatch(WEB)
    }
    const callers = Promise.all(Array.from({ length: 8 }, caller))
    for (let round = 1; round <= 5; round++) {
      const until = asked + 200
      while (asked < until) await echo(words, 'x')
      pool.retire()
      while (opened() <= round) await echo(words, 'x')
    }
    going = false
    await callers
    expect(await talk.say('after')).toBe(`${WEB} after`)
    expect(await talk.end()).toMatchObject({ code: grpc.status.OK })
    expect(opened()).toBe(6)
  })

  it('of the server says goodbye, lets calls finish, and resolves when they have', async () => {
    const { client, meshed } = await grpcWorld()
    const words = client()
    const talk = chat(words)
    await talk.say('before')
    const closing = meshed.close({ graceMs: 60_000 })
    expect(await talk.say('during')).toBe(`${WEB} during`)
    await expect(echo(words, 'late')).rejects.toMatchObject({ code: grpc.status.UNAVAILABLE })
    expect(await talk.end()).toMatchObject({ code: grpc.status.OK })
    await closing
    expect(meshed.connections).toBe(0)
  })

  it('of the server cuts what does not finish', async () => {
    const { client, meshed } = await grpcWorld()
    const talk = chat(client())
    await talk.say('before')
    await meshed.close({ graceMs: 1 })
    expect(await talk.end()).toMatchObject({ code: grpc.status.UNAVAILABLE })
  })
})

describe("the server's own end", () => {
  it('by tryShutdown lets calls finish, over tunnels as over TCP', async () => {
    const { client, server, meshed } = await grpcWorld()
    const talk = chat(client())
    await talk.say('before')
    const shutdown = promisify(server.tryShutdown.bind(server))()
    expect(await talk.say('during')).toBe(`${WEB} during`)
    expect(await talk.end()).toMatchObject({ code: grpc.status.OK })
    await shutdown
    while (meshed.connections > 0) await new Promise(resolve => setImmediate(resolve))
  })

  it('by forceShutdown cuts them', async () => {
    const { client, server, meshed } = await grpcWorld()
    const talk = chat(client())
    await talk.say('before')
    server.forceShutdown()
    expect((await talk.end()).code).not.toBe(grpc.status.OK)
    while (meshed.connections > 0) await new Promise(resolve => setImmediate(resolve))
  })
})

describe('authorization', () => {
  it('that is withdrawn ends the connection', async () => {
    const withdrawn: (() => void)[] = []
    let released = 0
    const { client, meshed } = await grpcWorld({
      authorize: () => {
        const decision = { allowed: true, reason: 'a policy says so' } as const
        const permit: Permit = { decision, release: () => void released++, onWithdrawn: undefined }
        const denial = { allowed: false, reason: 'a policy changed', considered: [] } as const
        withdrawn.push(() => permit.onWithdrawn?.(denial))
        return { allowed: true, permit }
      },
    })
    const talk = chat(client())
    await talk.say('before')
    for (const withdraw of withdrawn) withdraw()
    expect(await talk.end()).toMatchObject({ code: grpc.status.UNAVAILABLE })
    while (meshed.connections > 0) await new Promise(resolve => setImmediate(resolve))
    expect(released).toBe(1)
  })
})

describe('grpc-js', () => {
  const real = { ...grpc }
  const required = (version: string, module: unknown) => (id: string) =>
    id.endsWith('package.json') ? { version } : module

  it('that is missing is asked for', () => {
    const require = (): never => {
      throw new Error("Cannot find module '@grpc/grpc-js/package.json'")
    }
    expect(() => loadGrpc(require)).toThrow(
      '@grpc/grpc-js is not installed: npm install @grpc/grpc-js@~1.14.0',
    )
  })

  it('of another minor is refused, since what is used is not promised', () => {
    expect(() => loadGrpc(required('1.15.0', real))).toThrow(
      'grpc-js 1.15.0 is installed, 1.14 is known to work',
    )
    expect(() => loadGrpc(required('1.14.9', { ...real, experimental: {} }))).toThrow(
      'lacks experimental.createServerCredentialsWithInterceptors, experimental.registerResolver',
    )
    expect(loadGrpc(required('1.14.9', real))).toBe(real)
  })

  it('in two copies is told apart', () => {
    const strange = { createConnectionInjector: unused }
    expect(() => createGrpcTunnelHandler(strange as never)).toThrow('two copies')
  })

  it('still has channel credentials of the shape that ours are made in', () => {
    const methods = (value: object): string[] => Object.getOwnPropertyNames(Object.getPrototypeOf(value))
    const theirs = methods(grpc.credentials.createInsecure()).filter(name => name.startsWith('_'))
    const ours = methods(createHboneChannelCredentials({ open: unused }))
    expect(ours.filter(name => name.startsWith('_')).sort()).toEqual(theirs.sort())
    const connector = grpc.credentials.createInsecure()._createSecureConnector({ path: 'a:1' }, {})
    expect(Object.keys(connector).sort()).toEqual([
      'connect',
      'destroy',
      'getCallCredentials',
      'waitForReady',
    ])
  })

  it('is used with the identity that tests have', () => expect(web.id.uri).toBe(WEB))
})
