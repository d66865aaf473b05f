import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import {
  dial,
  followSupervisor,
  listen,
  type SupervisedMessage,
  type SupervisorMessage,
} from '../src/node/index.ts'

type Heard = (message: unknown, handle: unknown) => void

/** A process without a process: what it says is kept, what its supervisor says is said by the test. */
function fakeProcess() {
  const told: SupervisedMessage[] = []
  let hear: Heard = () => {}
  let leave = (): void => {}
  const own = {
    connected: true,
    send: (message: SupervisedMessage) => void told.push(message),
    on(event: 'message' | 'disconnect', listener: Heard | (() => void)) {
      if (event === 'message') hear = listener
      else leave = listener as () => void
    },
  }
  return {
    own,
    told,
    say: (message: SupervisorMessage, handle?: unknown) => hear(message, handle),
    sayNonsense: (message: unknown) => hear(message, undefined),
    disconnect: () => {
      own.connected = false
      leave()
    },
  }
}

const servers: Server[] = []

afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

/** A socket that is bound here: what a supervisor has. */
async function boundSocket(): Promise<{ server: Server; port: number }> {
  const server = createServer()
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bound = server.address()
  return { server, port: typeof bound === 'object' && bound !== null ? bound.port : 0 }
}

describe('a supervised process', () => {
  it('is none without a channel', () => {
    expect(followSupervisor({ on() {} })).toBeUndefined()
  })

  it('asks for its sockets, and gives each back once', async () => {
    const { own, told, say } = fakeProcess()
    const supervisor = followSupervisor(own)
    const { server } = await boundSocket()
    const handle: unknown = Reflect.get(server, '_handle')
    const listening = listen({
      host: '127.0.0.1',
      port: 7,
      onConnection: socket => socket.end('served'),
      ...(supervisor === undefined ? {} : { bind: supervisor.bind }),
    })
    expect(told).toEqual([{ ambient: 'listen', id: 1, host: '127.0.0.1', port: 7 }])
    say({ ambient: 'socket', id: 1 }, handle)
    const listener = await listening
    const socket = await dial({ host: '127.0.0.1', port: listener.port })
    expect(String((await once(socket, 'data'))[0])).toBe('served')
    socket.destroy()
    await listener.close()
    await listener.close()
    expect(told.slice(1)).toEqual([{ ambient: 'release', host: '127.0.0.1', port: 7 }])
    servers.splice(0)
  })

  it('a socket that cannot be had is an error with address and cause', async () => {
    const { own, say } = fakeProcess()
    const listening = listen({
      host: '127.0.0.1',
      port: 7,
      onConnection: () => {},
      bind: (server, at) => followSupervisor(own)?.bind(server, at) ?? Promise.reject(new Error('none')),
    })
    say({ ambient: 'socket', id: 1, error: { code: 'EADDRINUSE', message: 'taken' } })
    await expect(listening).rejects.toMatchObject({
      code: 'AMBIENT_E_LISTEN',
      message: 'cannot listen on 127.0.0.1:7: port 7 is in use',
    })
  })

  it.each(['ENOTSUP', 'gone'])('binds by itself where nothing is lent (%s)', async how => {
    const { own, say, disconnect } = fakeProcess()
    const supervisor = followSupervisor(own)
    const server = createServer()
    servers.push(server)
    const bound = supervisor?.bind(server, { host: '127.0.0.1', port: 0 })
    if (how === 'gone') disconnect()
    else say({ ambient: 'socket', id: 1, error: { code: 'ENOTSUP', message: 'not here' } })
    ;(await bound)?.release()
    expect(server.listening).toBe(true)
  })

  it('says when it is ready, hears when it is to drain, and ignores what is not for it', () => {
    const { own, told, say, sayNonsense } = fakeProcess()
    const supervisor = followSupervisor(own)
    const drains: unknown[] = []
    supervisor?.onDrain(options => drains.push(options))
    supervisor?.ready()
    sayNonsense('hello')
    sayNonsense({ cmd: 'drain' })
    say({ ambient: 'socket', id: 99 })
    say({ ambient: 'drain', graceMs: 5 })
    expect(told).toEqual([{ ambient: 'ready' }])
    expect(drains).toEqual([{ graceMs: 5 }])
  })
})
