/**
 * Reads a header from a socket that is then handed on: bytes past the header go back, the socket is paused again, so
 * that a channel can take it over as if nobody had read from it.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../clock.ts'
import { confirmEnd } from './confirmed-end.ts'

/** What a parser says about the bytes so far. */
export type Parsed<T> =
  | { readonly kind: 'more' }
  /** `length` bytes belong to the header. */
  | { readonly kind: 'done'; readonly value: T; readonly length: number }
  | { readonly kind: 'error'; readonly error: Error }

export interface FirstBytesOptions<T> {
  readonly parse: (bytes: Buffer) => Parsed<T>
  readonly timeoutMs: number
  readonly timeoutError: () => Error
  readonly endError: () => Error
  readonly clock?: Clock
}

/**
 * Feeds what arrives to `parse` until it is done. The caller keeps the socket, whatever happens, and must have an
 * `error` listener on it. Rejects with the parser's error, `timeoutError`, or `endError` when the peer ends or closes.
 */
export function readFirstBytes<T>(socket: Duplex, options: FirstBytesOptions<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0)
    const settle = (): void => {
      timer.cancel()
      socket.pause()
      socket.off('data', onData)
      socket.off('end', onEnd)
      socket.off('close', onEnd)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const onEnd = (): void => fail(options.endError())
    const onData = (chunk: Buffer): void => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
      const parsed = options.parse(held)
      if (parsed.kind === 'more') return
      if (parsed.kind === 'error') return fail(parsed.error)
      settle()
      if (held.length > parsed.length) socket.unshift(held.subarray(parsed.length))
      resolve(parsed.value)
    }
    const timer = (options.clock ?? systemClock).after(options.timeoutMs, () => fail(options.timeoutError()))
    // It may have ended after an earlier header, when nobody listened.
    if (socket.destroyed || socket.readableEnded) return onEnd()
    // Reading goes on while it is paused: a reset that comes before the channel must not pass for an end. TLS has ends of its own.
    if (socket instanceof Socket && !('encrypted' in socket)) confirmEnd(socket)
    socket.on('data', onData)
    socket.on('end', onEnd)
    socket.on('close', onEnd)
    socket.resume()
  })
}
