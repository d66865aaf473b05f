/**
 * Reads of a socket into memory that is used again, instead of a fresh ArrayBuffer and a `'data'` event for each.
 *
 * Node offers this as `onread`, but only to whoever constructs the socket of an outgoing connection. Accepted sockets and both kinds of TLS
 * sockets have the same machinery: three fields that Node keeps under symbols, and the handle's `useUserBuffer`. Those names are
 * not documented, so everything that leans on them is in this file, and it is used only in a process where a loop-back
 * connection has shown that it works; elsewhere `readStatically` says `false`, and the caller listens to `'data'`.
 */
import { once } from 'node:events'
import { connect, createServer, Socket } from 'node:net'
import { systemClock } from '../clock.ts'

/** With the nine bytes of its DATA header, a full read fills four TLS records exactly. */
const READ_BYTES = 65_527
/** A socket whose reads have become this small gives its buffer back. */
const SMALL_READ_BYTES = 8_192
/** Sockets that may hold a buffer of their own at a time, 64 MiB in all; the others pay a copy for each read. */
const MAX_OWN_BUFFERS = 1_024
/** Buffers kept for the next busy socket. */
const MAX_SPARE_BUFFERS = 64
/** A loop-back that says nothing for this long has failed. */
const PROOF_MS = 1_000

/** Whom the bytes of a socket are for. */
export interface StaticUser {
  /** Bytes arrived. `true` when they are consumed on return; `false` keeps their memory for ever. */
  take(bytes: Uint8Array): boolean
  /** Asked after each read: reading goes on. Otherwise `socket.read(0)` starts it again. */
  readonly wantsMore: boolean
}

/** Where reads go. */
export interface ReadBuffer {
  /** Memory for the next read. */
  next(): Uint8Array
  /** `bytes` arrived at the start of `into`, which `next` gave. `false` stops reading. */
  filled(bytes: number, into: Uint8Array): boolean
  /** Bytes whose memory was left behind are not looked at any more. */
  free?(bytes: Uint8Array): void
  /** The socket is closed. */
  release(): void
}

interface Names {
  readonly buffer: symbol
  readonly callback: symbol
  readonly generator: symbol
}

let names: Names | undefined
let proof: Promise<boolean> | undefined
let isProven = false
let isAllowed = true

/**
 * Reads `socket`, which is connected, for `user`. `undefined` when this process cannot, and nothing has changed then.
 * What had been read before comes as `'data'`; end, error and close come as ever. Call `release` at `'close'`.
 */
export function readStatically(socket: Socket, user: StaticUser): ReadBuffer | undefined {
  const buffer = new SocketBuffer(user)
  return readInto(socket, buffer) ? buffer : undefined
}

/** As {@link readStatically}, into a buffer of the caller's. */
export function readInto(socket: Socket, buffer: ReadBuffer): boolean {
  if (isProven) return isAllowed && arm(socket, buffer)
  void proveStaticReads()
  return false
}

/** Tells whether static reads work in this process; the first call finds out. */
export function proveStaticReads(): Promise<boolean> {
  proof ??= prove().then(works => {
    isProven = works
    return works
  })
  return proof
}

/** For tests: `false` makes every socket read as if nothing had been proven. */
export function allowStaticReads(allowed: boolean): void {
  isAllowed = allowed
}

const READER = Symbol('reader')

/** A socket that reads statically. The names that Node has for the rest are found while the process runs. */
interface StaticSocket extends Socket {
  [READER]?: ReadBuffer
  [name: symbol]: unknown
}

function arm(socket: Socket, buffer: ReadBuffer): boolean {
  const handle = handleOf(socket)
  if (handle === undefined || names === undefined || !(names.buffer in socket)) return false
  const first = buffer.next()
  // The types do not know the fields that `findNames` has found.
  const fields = socket as StaticSocket
  fields[READER] = buffer
  fields[names.callback] = onFilled
  fields[names.generator] = nextMemory
  fields[names.buffer] = first
  handle.useUserBuffer(first)
  return true
}

/** Of the read that was just reported: Node asks for its next memory without saying whose. */
let lastFilled: ReadBuffer | undefined
let lastMemory: Uint8Array | undefined

/** One function for all sockets, which Node calls on the socket. */
function onFilled(this: StaticSocket, bytes: number, into: Uint8Array): boolean {
  const buffer = this[READER]
  const wantsMore = buffer?.filled(bytes, into) ?? false
  lastFilled = buffer
  lastMemory = into
  return wantsMore
}

/** `undefined`: what the handle has already, which costs it nothing. */
function nextMemory(): Uint8Array | undefined {
  const next = lastFilled?.next()
  return next === lastMemory ? undefined : next
}

interface ReadableHandle {
  useUserBuffer(buffer: Uint8Array): unknown
}

function handleOf(socket: Socket): ReadableHandle | undefined {
  const handle = (socket as { _handle?: unknown })._handle
  const known =
    typeof handle === 'object' &&
    handle !== null &&
    'useUserBuffer' in handle &&
    typeof handle.useUserBuffer === 'function'
  return known ? (handle as ReadableHandle) : undefined
}

/**
 * Sockets that are idle or say little read into one buffer that all of them share, and what arrived is copied out before anyone
 * sees it; a socket that fills it gets one of its own, for as long as much arrives.
 */
const shared = Buffer.allocUnsafeSlow(READ_BYTES)
const spare: Buffer[] = []
let ownBuffers = 0

class SocketBuffer implements ReadBuffer {
  readonly #user: StaticUser
  #own: Buffer | undefined

  constructor(user: StaticUser) {
    this.#user = user
  }

  next(): Uint8Array {
    return this.#own ?? shared
  }

  filled(bytes: number): boolean {
    const user = this.#user
    const own = this.#own
    if (own === undefined || bytes < SMALL_READ_BYTES) {
      if (bytes === READ_BYTES) this.#own = takeOwn()
      const into = own ?? shared
      const copy = Buffer.allocUnsafe(bytes)
      into.copy(copy, 0, 0, bytes)
      if (own !== undefined) this.release()
      user.take(copy)
    } else if (!user.take(own.subarray(0, bytes))) {
      ownBuffers--
      this.#own = takeOwn()
    }
    return user.wantsMore
  }

  /** What is left behind is not counted, and what is as long as a buffer of our own is one, or as good. */
  free({ buffer }: Uint8Array): void {
    const isOurs =
      buffer.byteLength === READ_BYTES && buffer !== shared.buffer && buffer !== this.#own?.buffer
    if (isOurs && spare.length < MAX_SPARE_BUFFERS) spare.push(Buffer.from(buffer))
  }

  release(): void {
    if (this.#own !== undefined) giveOwn(this.#own)
    this.#own = undefined
  }
}

function takeOwn(): Buffer | undefined {
  if (ownBuffers >= MAX_OWN_BUFFERS) return undefined
  ownBuffers++
  return spare.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES)
}

function giveOwn(buffer: Buffer): void {
  ownBuffers--
  if (spare.length < MAX_SPARE_BUFFERS) spare.push(buffer)
}

// The proof.

/** A loop-back connection, read statically at both ends, that stops in between: what went in must come out. */
async function prove(): Promise<boolean> {
  names = findNames()
  if (names === undefined) return false
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  const sockets: Socket[] = []
  const late = new AbortController()
  const { signal } = late
  const timer = systemClock.after(PROOF_MS, () => late.abort())
  try {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening', { signal })
    const address = server.address()
    if (address === null || typeof address === 'string') return false
    const dialled = connect({ host: '127.0.0.1', port: address.port, allowHalfOpen: true })
    sockets.push(dialled)
    const [[accepted]] = await Promise.all([
      once(server, 'connection', { signal }),
      once(dialled, 'connect', { signal }),
    ])
    if (!(accepted instanceof Socket)) return false
    sockets.push(accepted)
    const said = Buffer.alloc(3 * READ_BYTES, 'seven bytes are no power of two')
    const reading = Promise.all([readAll(accepted, signal, accepted), readAll(dialled, signal)])
    dialled.end(said)
    const [there, back] = await reading
    return there.equals(said) && back.equals(said)
  } catch {
    return false
  } finally {
    timer.cancel()
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

/** Every byte until the end, in two goes; sent on to `echo`. */
async function readAll(socket: Socket, signal: AbortSignal, echo?: Socket): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  let wantsMore = false
  const user: StaticUser = {
    take(bytes) {
      pieces.push(bytes)
      if (!wantsMore)
        setImmediate(() => {
          wantsMore = true
          socket.read(0)
        })
      return false
    },
    get wantsMore() {
      return wantsMore
    },
  }
  const buffer = new SocketBuffer(user)
  if (!arm(socket, buffer)) throw new Error('Node has changed')
  socket.on('data', () => socket.destroy(new Error('Node has changed')))
  socket.resume()
  await once(socket, 'end', { signal })
  buffer.release()
  echo?.end(Buffer.concat(pieces))
  return Buffer.concat(pieces)
}

function findNames(): Names | undefined {
  // A read that is under way while nothing is read owns its buffer: no two sockets can share one there.
  if (process.platform === 'win32') return undefined
  const found = new Map(Object.getOwnPropertySymbols(new Socket()).map(name => [name.description, name]))
  const buffer = found.get('kBuffer')
  const callback = found.get('kBufferCb')
  const generator = found.get('kBufferGen')
  if (buffer === undefined || callback === undefined || generator === undefined) return undefined
  return { buffer, callback, generator }
}
