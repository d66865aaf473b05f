/**
 * The truth when a proxy dies without a word: application ⇄ `ambient hbone forward` ⇄ `ambient hbone serve` ⇄ application,
 * one of them killed. Beside the one that lives, an application hears a reset after what had arrived. Beside the dead
 * one only its kernel speaks: FIN, or RST over what was not read; whoever goes on there hears a reset as well.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Credentials } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { App, MUCH, until } from '../contracts/tcp-app.ts'
import { db, later, web } from './hbone-ends.ts'

const bin = join(
  dirname(createRequire(import.meta.url).resolve('@ambient/cli/package.json')),
  'dist',
  'bin.js',
)
const LOADS = { 'a few bytes': 1_000, 'more than the windows': MUCH } as const

interface Started {
  readonly child: ChildProcess
  readonly port: number
}

async function start(...args: readonly string[]): Promise<Started> {
  const child = spawn(process.execPath, [bin, 'hbone', ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
  later(() => kill(child))
  for await (const line of createInterface({ input: child.stdout })) {
    const [, port] = /^listening .*:(\d+)$/.exec(line) ?? []
    if (port !== undefined) return { child, port: Number(port) }
  }
  throw new Error(`ambient hbone ${args[0]} did not start`)
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

function filesOf(folder: string, name: string, own: Credentials): string[] {
  const file = (end: string, text: string): string => {
    const path = join(folder, `${name}.${end}`)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const [cert, key] = [file('crt', own.certificateChain), file('key', own.privateKey())]
  return ['--cert', cert, '--key', key, '--ca', file('ca', own.trustBundle)]
}

/** One connection through two processes; a `paused` application has read nothing. */
async function openLine(paused: 'client' | 'server' | undefined) {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-killed-'))
  later(async () => rmSync(folder, { recursive: true, force: true }))
  const target = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true })
  target.listen(0, '127.0.0.1')
  await once(target, 'listening')
  later(async () => void target.close())
  const accepted = once(target, 'connection').then(([socket]) => socket as Socket)
  const own = `127.0.0.1:${(target.address() as AddressInfo).port}`
  const any = '127.0.0.1:0'
  const serve = await start('serve', '--listen', any, '--allow-target', own, ...filesOf(folder, 'db', db))
  const via = ['--via', `127.0.0.1:${serve.port}`, '--forward', `${any}=${own}`]
  const forward = await start('forward', ...via, ...filesOf(folder, 'web', web))
  const dialled = connect({ host: '127.0.0.1', port: forward.port, allowHalfOpen: true, noDelay: true })
  // A socket that connects begins to read otherwise.
  dialled.pause()
  await once(dialled, 'connect')
  const client = new App(dialled, paused === 'client')
  const server = new App(await accepted, paused === 'server')
  later(async () => {
    for (const { socket } of [client, server]) socket.destroy()
  })
  /** There and back on a connection of its own. */
  const askAgain = async (): Promise<void> => {
    target.once('connection', (socket: Socket) => socket.on('error', () => {}).pipe(socket))
    const socket = connect({ host: '127.0.0.1', port: forward.port })
    later(async () => void socket.destroy())
    socket.on('error', () => {}).write('again')
    await once(socket, 'data')
  }
  return { client, server, serve, forward, askAgain }
}

const rows = (['forward', 'serve'] as const).flatMap(killed =>
  (['client', 'server'] as const).flatMap(from =>
    (Object.keys(LOADS) as (keyof typeof LOADS)[]).map(load => ({ killed, from, load })),
  ),
)

async function hearsReset(app: App): Promise<void> {
  await until(() => {
    // A kernel answers the first bytes to a closed socket with a reset.
    if (app.ending === 'end' && app.sent < MUCH) app.send(1)
    return app.events.log.includes('reset')
  })
}

describe('a proxy that is killed', () => {
  for (const { killed, from, load } of rows)
    it(`${killed}, ${load} on the way from the ${from}`, async () => {
      const line = await openLine(undefined)
      const [sender, reader] = from === 'client' ? [line.client, line.server] : [line.server, line.client]
      const alive = killed === 'forward' ? line.server : line.client
      const dead = killed === 'forward' ? line.client : line.server
      sender.send(LOADS[load])
      await until(() => reader.events.received >= Math.min(LOADS[load], 1 << 20))
      await kill(line[killed].child)
      await alive.events.until(() => alive.ending !== undefined)
      expect(alive.ending).toBe('reset')
      await hearsReset(dead)
      expect(reader.hasTrueBytes).toBe(true)
      if (load === 'a few bytes') expect(reader.events.received).toBe(LOADS[load])
    })

  for (const killed of ['forward', 'serve'] as const)
    it(`${killed}, before the application beside the other has read: its bytes come first`, async () => {
      const side = killed === 'forward' ? 'server' : 'client'
      const line = await openLine(side)
      const [sender, reader] = killed === 'forward' ? [line.client, line.server] : [line.server, line.client]
      sender.send(1_000)
      // What was said earlier to the same two processes has passed them.
      await line.askAgain()
      await kill(line[killed].child)
      reader.resume()
      await reader.events.until(() => reader.ending !== undefined)
      expect([reader.ending, reader.events.received, reader.hasTrueBytes]).toEqual(['reset', 1_000, true])
    })
})
