/** The server under test, as the cases see it: how to reach it, with which TLS, and what is behind its tunnels. */
import type { Socket } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { type Clock, type Credentials, formatHostPort, messageOf } from '@ambient/core'
import { dial } from '@ambient/core/node'
import { FRAME, SETTING } from '../http2/codes.ts'
import type { HeaderList } from '../http2/hpack.ts'
import type { SocketAddress } from '../tunnel.ts'
import type { Origin } from './origin.ts'
import { check, fail, skip } from './verdict.ts'
import { frame, PREFACE, settingsPayload, Wire, windowUpdate, type WireStream } from './wire.ts'

/** Window that we give from the start, so that servers never wait for us unless a case wants that. */
const WINDOW_BYTES = 1_048_576

export interface TargetFacts {
  readonly to: SocketAddress
  readonly credentials: Credentials
  /** Of a CA that the server does not know. */
  readonly foreign: Credentials | undefined
  /** A target that echoes. */
  readonly authority: string
  /** Behind `authority`, when it is ours and the server was seen to dial it. */
  readonly origin: Origin | undefined
  readonly clock: Clock
  readonly timeoutMs: number
}

/** What became of a TLS handshake. */
export type Handshake =
  | { readonly ok: true; readonly socket: TLSSocket }
  | { readonly ok: false; readonly reason: string }

export interface SessionOptions {
  readonly tls?: ConnectionOptions
  /** Ours, beside ENABLE_PUSH 0. */
  readonly settings?: readonly (readonly [number, number])[]
  readonly refill?: boolean
  /** Give no window at all beyond HTTP/2's defaults. */
  readonly narrow?: boolean
}

export class Target {
  readonly facts: TargetFacts
  readonly #sockets = new Set<Socket>()

  constructor(facts: TargetFacts) {
    this.facts = facts
  }

  get authority(): string {
    return this.facts.authority
  }

  /** A CONNECT to the echo. */
  get head(): HeaderList {
    return connectTo(this.authority)
  }

  /** TCP and TLS as a good client does it, but for `over`. Rejects only when there is no TCP. */
  async handshake(over: ConnectionOptions = {}): Promise<Handshake> {
    const { to, credentials, timeoutMs, clock } = this.facts
    const tcp = await dial({ host: to.address, port: to.port, timeoutMs })
    tcp.setNoDelay(true)
    const options: ConnectionOptions & { readonly allowHalfOpen: boolean } = {
      socket: tcp,
      cert: credentials.certificateChain,
      key: credentials.privateKey(),
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      ALPNProtocols: ['h2'],
      allowHalfOpen: true,
      ...over,
    }
    const socket = connect(options)
    return new Promise(resolve => {
      const settle = (result: Handshake): void => {
        timer.cancel()
        if (!result.ok) socket.destroy()
        resolve(result)
      }
      const timer = clock.after(timeoutMs, () => settle({ ok: false, reason: 'not finished in time' }), {
        keepAlive: true,
      })
      // Only ever this one is destroyed: taking the TCP socket away from under it first ends the process.
      this.#sockets.add(socket)
      socket.once('secureConnect', () => settle({ ok: true, socket }))
      socket.on('error', error => settle({ ok: false, reason: messageOf(error) }))
      socket.once('close', () => settle({ ok: false, reason: 'the server closed the connection' }))
    })
  }

  /** As {@link handshake}, where anything but success ends the case. */
  async secure(over: ConnectionOptions = {}): Promise<TLSSocket> {
    const result = await this.handshake(over)
    return result.ok ? result.socket : fail(`TLS failed: ${result.reason}`)
  }

  /** Over a connection, before a word was said. */
  wire(socket: TLSSocket, refill = true): Wire {
    const { clock, timeoutMs } = this.facts
    return new Wire(socket, { role: 'client', clock, timeoutMs, refill })
  }

  /** A session that works: prefaces and SETTINGS were exchanged both ways. */
  async session(options: SessionOptions = {}): Promise<Wire> {
    const wire = this.wire(await this.secure(options.tls), options.refill)
    const base: readonly (readonly [number, number])[] =
      options.narrow === true ? [] : [[SETTING.initialWindowSize, WINDOW_BYTES]]
    const settings = settingsPayload([[SETTING.enablePush, 0], ...base, ...(options.settings ?? [])])
    wire.send(PREFACE, frame(FRAME.settings, 0, 0, settings))
    if (options.narrow !== true) wire.send(windowUpdate(0, WINDOW_BYTES))
    await wire.until("the server's SETTINGS", () => wire.settings)
    await wire.until('the acknowledgement of our SETTINGS', () => wire.settingsAcks > 0)
    return wire
  }

  /** A tunnel to the echo, or to `authority`, that was answered 200. */
  async tunnel(wire: Wire, headers: HeaderList = this.head): Promise<WireStream> {
    const stream = wire.request(headers)
    const status = await answer(wire, stream)
    check(status === '200', `CONNECT ${headers[1]?.[1] ?? ''} was answered ${status}`)
    check(!stream.headEndedStream, 'the answer 200 ended the stream')
    return stream
  }

  /** A tunnel whose far end is the caller's. Skips the case where the application is not ours. */
  async tunnelToApplication(wire: Wire): Promise<{ readonly stream: WireStream; readonly app: Socket }> {
    const { origin } = this.facts
    if (origin === undefined) skip('the application behind the tunnel is not ours to observe')
    const arrives = origin.take()
    // Handled below; a failed CONNECT must not leave it unhandled.
    arrives.catch(() => {})
    const stream = await this.tunnel(wire)
    return { stream, app: await arrives }
  }

  /** What is sent comes back. */
  async echoes(wire: Wire, stream: WireStream, text: string): Promise<void> {
    const before = stream.bytes
    await wire.sendData(stream, Buffer.from(text))
    await wire.until('the echo', () => stream.bytes >= before + text.length)
    const back = wire.received(stream).subarray(before).toString()
    check(back === text, `${JSON.stringify(text)} came back as ${JSON.stringify(back.slice(0, 80))}`)
  }

  /** No more than `bytes` come on a stream, though the server has had its time: it answered two PINGs meanwhile. */
  async stillSilent(wire: Wire, stream: WireStream, bytes: number): Promise<void> {
    await wire.sync()
    await wire.sync()
    check(stream.bytes <= bytes, `${stream.bytes} bytes came where ${bytes} were allowed`)
  }

  /** The session still carries tunnels. */
  async stillWorks(wire: Wire): Promise<void> {
    const stream = await this.tunnel(wire)
    await this.echoes(wire, stream, 'still here')
  }

  /** Cuts what a case left behind. */
  clear(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
    this.facts.origin?.clear()
  }

  get name(): string {
    return formatHostPort(this.facts.to.address, this.facts.to.port)
  }
}

export function connectTo(authority: string): HeaderList {
  return [
    [':method', 'CONNECT'],
    [':authority', authority],
  ]
}

/** The status of the final answer, or how the stream ended without one: `reset with PROTOCOL_ERROR`. */
export async function answer(wire: Wire, stream: WireStream): Promise<string> {
  return wire.until(`the answer on stream ${stream.id}`, () => {
    if (stream.head !== undefined) return stream.head.find(([name]) => name === ':status')?.[1] ?? 'no status'
    return stream.resetCode === undefined ? undefined : `reset with ${stream.resetCode}`
  })
}

/** As {@link answer}; a connection that ends over it is an answer as well. */
export async function answerOrEnd(wire: Wire, stream: WireStream): Promise<string> {
  await wire.until(
    'an answer',
    () => stream.head !== undefined || stream.resetCode !== undefined || wire.ended,
  )
  if (stream.head === undefined && stream.resetCode === undefined)
    return `connection ended with ${wire.goaways.at(-1)?.code ?? 'nothing said'}`
  return answer(wire, stream)
}

export function isSuccess(status: string): boolean {
  return /^2[0-9][0-9]$/.test(status)
}
