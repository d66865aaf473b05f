/** HBONE commands in this process: real files, real sockets, and a hand on Ctrl-C. */
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, type Readable, type Writable } from 'node:stream'
import { createTestIdentities, type TestIdentities } from '@ambient/identity/testing'
import { afterEach, expect } from 'vitest'
import { runCli } from '../src/index.ts'
import { testHost } from './host.ts'

const cleanups: (() => unknown)[] = []
export const atEnd = (run: () => unknown): void => void cleanups.push(run)

afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

export interface Started {
  readonly code: Promise<number>
  out(): string
  err(): string
  interrupt(): void
  /** Of the n-th `listening` line. */
  port(index?: number): Promise<number>
}

export function start(
  args: readonly string[],
  streams: { input?: Readable; output?: Writable } = {},
): Started {
  const given = testHost()
  const listeners = new Set<(signal: NodeJS.Signals) => void>()
  const code = runCli(['hbone', ...args], {
    ...given.host,
    ...streams,
    onInterrupt(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  })
  const interrupt = (): void => {
    for (const listener of listeners) listener('SIGTERM')
  }
  atEnd(async () => {
    interrupt()
    interrupt()
    await code
  })
  return {
    code,
    out: given.out,
    err: given.err,
    interrupt,
    async port(index = 0) {
      const ports = (): string[] =>
        [...given.out().matchAll(/^listening .*:(\d+)$/gm)].map(([, port]) => port ?? '')
      await expect.poll(() => ports()[index] ?? given.err()).toMatch(/^\d+$/)
      return Number(ports()[index])
    },
  }
}

export interface Files {
  readonly folder: string
  readonly identities: TestIdentities
  /** `--cert`, `--key` and `--ca` of a service account, written anew. */
  of(serviceAccount: string, file?: string): Promise<readonly string[]>
}

export async function certificateFiles(): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-hbone-'))
  atEnd(() => rm(folder, { recursive: true, force: true }))
  const identities = await createTestIdentities()
  return {
    folder,
    identities,
    async of(serviceAccount, file = serviceAccount) {
      const own = await identities.credentials({ namespace: 'shop', serviceAccount })
      const [cert, key, ca] = ['crt', 'key', 'ca'].map(end => join(folder, `${file}.${end}`)) as [
        string,
        string,
        string,
      ]
      await writeFile(cert, own.certificateChain)
      await writeFile(key, own.privateKey())
      await writeFile(ca, own.trustBundle)
      return ['--cert', cert, '--key', key, '--ca', ca]
    },
  }
}

/** A TCP server; its port, and how many connections it had. */
export async function tcpServer(
  onConnection: (socket: net.Socket) => void,
): Promise<{ readonly port: number; connections(): number }> {
  let connections = 0
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(done => server.close(done))
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    connections: () => connections,
  }
}

/** What a client that says `text` and ends hears; rejects with the socket's error. */
export async function ask(port: number, text: string): Promise<string> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  atEnd(() => socket.destroy())
  socket.end(text)
  let heard = ''
  socket.on('data', chunk => {
    heard += String(chunk)
  })
  await once(socket, 'end')
  return heard
}

/** Answers once the question has ended. */
export function answering(socket: net.Socket): void {
  let heard = ''
  socket.on('data', chunk => {
    heard += String(chunk)
  })
  socket.on('end', () => socket.end(`heard ${heard}`))
}

export function typed(text: string): PassThrough {
  const input = new PassThrough()
  input.end(text)
  return input
}
