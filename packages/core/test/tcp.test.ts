/** Dialling and listening on loopback, against real sockets. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { CoreError } from '@ambient/core'
import { dial, type Listener, listen, socketChannel } from '@ambient/core/node'
import { afterEach, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'

const open: { close(): Promise<void> }[] = []
const sockets: Socket[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) {
    if (socket.closed) continue
    socket.destroy()
    await once(socket, 'close')
  }
  for (const listener of open.splice(0)) await listener.close()
})

const keep = (socket: Socket): Socket => {
  socket.on('error', () => {})
  sockets.push(socket)
  return socket
}

/** A listener that hands out what it accepts. */
async function accepting(host = '127.0.0.1'): Promise<{ listener: Listener; next: () => Promise<Socket> }> {
  const ready: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  const listener = await listen({
    host,
    port: 0,
    onConnection: socket => {
      keep(socket)
      const resolve = waiting.shift()
      if (resolve === undefined) ready.push(socket)
      else resolve(socket)
    },
  })
  open.push(listener)
  const next = async (): Promise<Socket> =>
    ready.shift() ?? (await new Promise<Socket>(resolve => waiting.push(resolve)))
  return { listener, next }
}

/** A port of loopback that nobody listens on. */
async function freePort(): Promise<number> {
  const { listener } = await accepting()
  await listener.close()
  return listener.port
}

describe('dial', () => {
  it('gives a half-open socket that the other side can answer after our end', async () => {
    const { listener, next } = await accepting()
    const dialled = keep(await dial({ host: '127.0.0.1', port: listener.port }))
    expect(dialled.allowHalfOpen).toBe(true)
    expect(dialled.listenerCount('error')).toBe(1)
    const accepted = await next()
    const [near, far] = [new Recorder(), new Recorder()]
    const [a, b] = [socketChannel(dialled), socketChannel(accepted)]
    a.start(near)
    b.start(far)
    a.end()
    await far.seen('end')
    b.write(new TextEncoder().encode('still here'))
    b.end()
    await near.seen('end')
    expect(near.bytes.toString()).toBe('still here')
  })

  it('does not read before its owner does', async () => {
    const { listener, next } = await accepting()
    const dialled = keep(await dial({ host: '127.0.0.1', port: listener.port }))
    ;(await next()).end('spoken first')
    await new Promise(resolve => setImmediate(resolve))
    expect(dialled.bytesRead).toBe(0)
    const events = new Recorder()
    socketChannel(dialled).start(events)
    await events.seen('end')
    expect(events.bytes.toString()).toBe('spoken first')
  })

  it('binds the local address that it is told', async () => {
    const { listener, next } = await accepting()
    keep(await dial({ host: '127.0.0.1', port: listener.port, localAddress: '127.0.0.1' }))
    expect((await next()).remoteAddress).toBe('127.0.0.1')
    // Linux answers on all of 127.0.0.0/8; elsewhere the address has to be added first.
    if (process.platform !== 'linux') return
    keep(await dial({ host: '127.0.0.1', port: listener.port, localAddress: '127.0.7.9' }))
    expect((await next()).remoteAddress).toBe('127.0.7.9')
  })

  it('names the target when it is refused, and keeps the cause', async () => {
    const port = await freePort()
    const error = await rejection(dial({ host: '127.0.0.1', port }))
    expect(error).toBeInstanceOf(CoreError)
    expect(error).toMatchObject({
      code: 'AMBIENT_E_CONNECT_FAILED',
      layer: 'tcp',
      message: expect.stringContaining(`127.0.0.1:${port}`),
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    })
  })

  it('names a local address that the machine does not have', async () => {
    const { listener } = await accepting()
    const error = await rejection(
      // TEST-NET-1 (RFC 5737) is nobody's; binding fails before anything is sent.
      dial({ host: '127.0.0.1', port: listener.port, localAddress: '192.0.2.1' }),
    )
    expect(error).toMatchObject({
      code: 'AMBIENT_E_CONNECT_FAILED',
      cause: expect.objectContaining({ code: 'EADDRNOTAVAIL' }),
    })
  })

  it('gives the signal’s reason when it is aborted, before and during', async () => {
    const { listener } = await accepting()
    const target = { host: '127.0.0.1', port: listener.port }
    const reason = new Error('the caller left')
    expect(await rejection(dial({ ...target, signal: AbortSignal.abort(reason) }))).toBe(reason)
    const controller = new AbortController()
    const dialling = rejection(dial({ ...target, signal: controller.signal }))
    controller.abort(reason)
    expect(await dialling).toBe(reason)
  })

  it.runIf(process.platform === 'linux')('times out with a message that names target and time', async () => {
    const deaf = await deafListener()
    try {
      const target = { host: '127.0.0.1', port: deaf.port, timeoutMs: 100 }
      let error: unknown
      // The first few fill the accept queue; what comes after gets no answer from the kernel.
      for (let i = 0; i < 10 && error === undefined; i++)
        await dial(target).then(keep, reason => {
          error = reason
        })
      expect(error).toMatchObject({
        code: 'AMBIENT_E_CONNECT_TIMEOUT',
        layer: 'tcp',
        message: `connecting to 127.0.0.1:${deaf.port} timed out after 100 ms`,
      })
    } finally {
      await deaf.close()
    }
  })
})

describe('listen', () => {
  it('tells its address and port, and gives paused half-open sockets', async () => {
    const { listener, next } = await accepting()
    expect(listener.address).toBe('127.0.0.1')
    expect(listener.port).toBeGreaterThan(0)
    keep(await dial({ host: '127.0.0.1', port: listener.port })).write('early bytes')
    const accepted = await next()
    expect(accepted.allowHalfOpen).toBe(true)
    expect(accepted.isPaused()).toBe(true)
  })

  it('says which port is in use', async () => {
    const { listener } = await accepting()
    const error = await rejection(listen({ host: '127.0.0.1', port: listener.port, onConnection: keep }))
    expect(error).toMatchObject({
      code: 'AMBIENT_E_LISTEN',
      layer: 'tcp',
      message: `cannot listen on 127.0.0.1:${listener.port}: port ${listener.port} is in use`,
      cause: expect.objectContaining({ code: 'EADDRINUSE' }),
    })
  })

  it('says which address this machine does not have', async () => {
    const error = await rejection(listen({ host: '192.0.2.1', port: 0, onConnection: keep }))
    expect(error).toMatchObject({
      code: 'AMBIENT_E_LISTEN',
      message: 'cannot listen on 192.0.2.1:0: this machine does not have the address 192.0.2.1',
    })
  })

  it('close frees the port at once, leaves accepted sockets alive, and may be called again', async () => {
    const { listener, next } = await accepting()
    const dialled = keep(await dial({ host: '127.0.0.1', port: listener.port }))
    const accepted = await next()
    await Promise.all([listener.close(), listener.close()])
    expect(await rejection(dial({ host: '127.0.0.1', port: listener.port }))).toMatchObject({
      code: 'AMBIENT_E_CONNECT_FAILED',
    })
    const again = await listen({ host: '127.0.0.1', port: listener.port, onConnection: keep })
    open.push(again)
    const events = new Recorder()
    socketChannel(dialled).start(events)
    accepted.end('alive')
    await events.seen('end')
    expect(events.bytes.toString()).toBe('alive')
  })
})

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    const value = await promise
    if (value !== null && typeof value === 'object' && 'destroy' in value) keep(value as Socket)
  } catch (error) {
    return error
  }
  throw new Error('it did not fail')
}

/** A process that listens and never accepts. */
async function deafListener(): Promise<{ port: number; close(): Promise<void> }> {
  const program = `
    const server = require('node:net').createServer()
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('node:fs').writeSync(1, String(server.address().port))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    port: Number(port),
    async close() {
      child.kill('SIGKILL')
      await once(child, 'close')
    },
  }
}
