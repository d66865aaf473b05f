/** Puts a server on an address: by binding it, or on a socket that a supervisor holds across restarts. */
import type { Server } from 'node:net'

export interface BindAddress {
  readonly host: string
  /** 0 for any free port. */
  readonly port: number
}

/** A server's hold on its address. */
export interface Binding {
  /** To be called when the server closes: the address is free for others. */
  release(): void
}

/** How a server comes to listen; replaceable, as `Dial` is. Rejects with Node's error. */
export type Bind = (server: Server, at: BindAddress) => Promise<Binding>

const PLAIN: Binding = Object.freeze({ release() {} })

/** Binds and listens. */
export const bindPlainly: Bind = (server, { host, port }) =>
  listenWith(server, () => server.listen({ host, port, exclusive: true })).then(() => PLAIN)

/** Resolves when the server listens; rejects with the error that it had instead. */
export function listenWith(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      server.off('listening', onListening)
      server.off('error', onError)
    }
    const onListening = (): void => {
      settle()
      resolve()
    }
    const onError = (error: Error): void => {
      settle()
      reject(error)
    }
    server.once('listening', onListening)
    server.once('error', onError)
    listen()
  })
}
