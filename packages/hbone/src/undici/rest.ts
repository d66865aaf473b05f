/**
 * Ends undici's connections whose tunnel's session takes no new tunnels, when no request is on them. undici keeps that to
 * itself; its diagnostics tell which request was sent on which socket, and when it was answered.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Duplex } from 'node:stream'

export interface Rest {
  /** `stream` is what undici has as its socket. */
  watch(stream: Duplex, draining: AbortSignal): void
  /** Watches no more. */
  close(): void
}

interface Connection {
  readonly stream: Duplex
  readonly requests: Set<object>
  isDraining: boolean
}

export function createRest(): Rest {
  const connections = new Map<unknown, Connection>()
  const carriers = new WeakMap<object, Connection>()
  const onSent = (message: unknown): void => {
    const request = fieldOf(message, 'request')
    const connection = connections.get(fieldOf(message, 'socket'))
    if (connection === undefined || typeof request !== 'object' || request === null) return
    connection.requests.add(request)
    carriers.set(request, connection)
  }
  const onDone = (message: unknown): void => {
    const request = fieldOf(message, 'request')
    const connection = typeof request === 'object' && request !== null ? carriers.get(request) : undefined
    if (connection?.requests.delete(Object(request)) !== true || !connection.isDraining) return
    // After undici has finished with the answer.
    setImmediate(() => endWhenIdle(connection))
  }
  const channels = [
    ['undici:client:sendHeaders', onSent],
    ['undici:request:trailers', onDone],
    ['undici:request:error', onDone],
  ] as const
  for (const [name, listener] of channels) subscribe(name, listener)
  return {
    watch(stream, draining) {
      const connection: Connection = { stream, requests: new Set(), isDraining: draining.aborted }
      connections.set(stream, connection)
      const onDraining = (): void => {
        connection.isDraining = true
        endWhenIdle(connection)
      }
      draining.addEventListener('abort', onDraining, { once: true })
      stream.once('close', () => {
        draining.removeEventListener('abort', onDraining)
        connections.delete(stream)
      })
    },
    close() {
      for (const [name, listener] of channels) unsubscribe(name, listener)
    },
  }
}

function endWhenIdle(connection: Connection): void {
  if (connection.requests.size === 0) connection.stream.destroy()
}

function fieldOf(message: unknown, name: string): unknown {
  return typeof message === 'object' && message !== null ? Reflect.get(message, name) : undefined
}
