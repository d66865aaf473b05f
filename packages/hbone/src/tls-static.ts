/**
 * Reads a TLS socket into memory that is used again, several records at a time. The names that this leans on are core's
 * (`readInto`); that they also work for TLS is shown once per process, by a loop-back connection under the first
 * credentials. Elsewhere `readTransport` says `false`, and the caller listens to `'data'`.
 */
import { EventEmitter, once } from 'node:events'
import { connect as connectTcp, createServer, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect, type SecureContext, TLSSocket } from 'node:tls'
import { systemClock } from '@ambient/core'
import { proveStaticReads, type ReadBuffer, readInto } from '@ambient/core/node'

/** The most that a TLS record carries; what it carries when much is under way. */
const RECORD_BYTES = 16_384
/** Handed on at once: four records. */
const BLOCK_BYTES = 65_536
/** Blocks kept for the next session. */
const MAX_SPARE_BLOCKS = 64
/** A loop-back that says nothing for this long has failed. */
const PROOF_MS = 1_000

/** Consumes bytes; `false` keeps their memory for ever. */
export type TakeBytes = (bytes: Uint8Array) => boolean

let proof: Promise<boolean> | undefined
let isProven = false
let isAllowed = true

/** Finds out, once, whether TLS sockets can be read statically in this process. Never rejects. */
export function proveTlsReads(context: SecureContext): Promise<boolean> {
  proof ??= prove(context).then(works => {
    isProven = works
    return works
  })
  return proof
}

/** For tests: `false` makes every session read as if nothing had been proven. */
export function allowTlsReads(allowed: boolean): void {
  isAllowed = allowed
}

/** Reads `transport` for `take`, until it closes. What had been read before comes as `'data'`, and first; an end comes after all bytes. */
export function readTransport(transport: Duplex, take: TakeBytes): boolean {
  if (!isProven || !isAllowed || !(transport instanceof TLSSocket)) return false
  return readRecords(transport, take)
}

function readRecords(socket: TLSSocket, take: TakeBytes): boolean {
  const block = new RecordBlock(take)
  if (!readInto(socket, block)) return false
  if (socket.readableLength > 0) block.queued = socket
  // Bytes that wait for more come before the end or the reset that they were followed by.
  for (const event of ['end', 'error']) socket.prependListener(event, () => block.flush())
  socket.prependListener('close', () => block.release())
  return true
}

const spare: Buffer[] = []

/** Full records are gathered while more may follow in this turn of the event loop. */
class RecordBlock implements ReadBuffer {
  /** Its queue holds what had been read before; the tick that tells that may be late for a read of an inner session. */
  queued: TLSSocket | undefined
  readonly #take: TakeBytes
  #block = takeBlock()
  /** What lies before is kept by somebody. */
  #free = 0
  /** What was read and not handed on. */
  #from = 0
  #to = 0
  #isScheduled = false

  constructor(take: TakeBytes) {
    this.#take = take
  }

  next(): Uint8Array {
    return this.#to === 0 ? this.#block : this.#block.subarray(this.#to)
  }

  filled(bytes: number, into: Uint8Array): boolean {
    if (this.queued !== undefined) this.#tellQueued()
    const start = into.byteOffset
    if (into.buffer !== this.#block.buffer) {
      // A flush between two reads changed the block; this read still went where it was expected before.
      this.#take(into.subarray(0, bytes))
      return true
    }
    if (this.#from === this.#to) this.#from = start
    this.#to = start + bytes
    if (bytes < RECORD_BYTES || BLOCK_BYTES - this.#to < RECORD_BYTES) this.flush()
    else if (!this.#isScheduled) {
      this.#isScheduled = true
      setImmediate(this.#onImmediate)
    }
    return true
  }

  release(): void {
    this.flush()
    if (this.#free === 0) giveBlock(this.#block)
  }

  flush(): void {
    if (this.#from === this.#to) return
    const bytes = this.#block.subarray(this.#from, this.#to)
    if (!this.#take(bytes)) {
      this.#free = this.#to
      if (BLOCK_BYTES - this.#free < RECORD_BYTES) {
        this.#block = takeBlock()
        this.#free = 0
      }
    }
    this.#from = this.#free
    this.#to = this.#free
  }

  #tellQueued(): void {
    const socket = this.queued
    this.queued = undefined
    // Each piece that is read goes to the listeners of 'data'.
    while (socket !== undefined && socket.readableLength > 0 && socket.read() !== null);
  }

  readonly #onImmediate = (): void => {
    this.#isScheduled = false
    this.flush()
  }
}

/** A block is an ArrayBuffer of its own, so that offsets in the one are offsets in the other. */
function takeBlock(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
}

function giveBlock(block: Buffer): void {
  if (spare.length < MAX_SPARE_BLOCKS) spare.push(block)
}

// The proof.

/** A loop-back session, read statically at both ends: what went in must come out. */
async function prove(secureContext: SecureContext): Promise<boolean> {
  if (!(await proveStaticReads())) return false
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
    const dialled = connectTcp({ host: '127.0.0.1', port: address.port, allowHalfOpen: true })
    sockets.push(dialled)
    const [[accepted]] = await Promise.all([
      once(server, 'connection', { signal }),
      once(dialled, 'connect', { signal }),
    ])
    if (!(accepted instanceof Socket)) return false
    sockets.push(accepted)
    const far = new TLSSocket(accepted, { isServer: true, secureContext })
    const near = connect({ socket: dialled, secureContext, rejectUnauthorized: false })
    sockets.push(far, near)
    await Promise.all([once(far, 'secure', { signal }), once(near, 'secureConnect', { signal })])
    return (await carries(near, far, signal)) && (await carries(far, near, signal))
  } catch {
    return false
  } finally {
    timer.cancel()
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

/** Small records, and many that fill their buffers. */
async function carries(from: TLSSocket, to: TLSSocket, signal: AbortSignal): Promise<boolean> {
  const said = Buffer.alloc(3 * BLOCK_BYTES, 'seven bytes are no power of two')
  const heard: Buffer[] = []
  const arrived = new EventEmitter()
  let count = 0
  // Kept and consumed pieces by turns.
  const take = (bytes: Uint8Array): boolean => {
    count += bytes.length
    const isKept = heard.length % 2 === 0
    heard.push(isKept ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) : Buffer.from(bytes))
    if (count >= said.length) arrived.emit('all')
    return !isKept
  }
  to.on('data', () => to.destroy(new Error('Node has changed')))
  if (!readRecords(to, take)) return false
  to.resume()
  const all = once(arrived, 'all', { signal })
  from.write(said.subarray(0, 5))
  from.write(said.subarray(5))
  await all
  return said.equals(Buffer.concat(heard))
}
