/**
 * grpc-js connects over TCP before it asks credentials for the connection to use. It finds an open door on loopback, which
 * says nothing and closes at once; the connection that is used is the tunnel. One door for all channels of the process.
 */
import { createServer, type Server } from 'node:net'
import { messageOf } from '@ambient/core'
import { HboneError } from '../errors.ts'

export interface Door {
  readonly host: string
  readonly port: number
  /** Closed when nobody holds it. Idempotent. */
  release(): void
}

let server: Server | undefined
let opening: Promise<number> | undefined
let holders = 0

/** @throws HboneError `AMBIENT_E_HBONE_OPTION` when loopback cannot be listened on. */
export async function holdDoor(): Promise<Door> {
  holders++
  let isHeld = true
  const release = (): void => {
    if (!isHeld) return
    isHeld = false
    if (--holders > 0) return
    server?.close()
    server = undefined
    opening = undefined
  }
  try {
    opening ??= open()
    return { host: '127.0.0.1', port: await opening, release }
  } catch (cause) {
    release()
    throw new HboneError(
      'AMBIENT_E_HBONE_OPTION',
      `grpc-js needs a listener on loopback, which failed: ${messageOf(cause)}`,
      { cause, layer: 'tcp' },
    )
  }
}

function open(): Promise<number> {
  const made = createServer(socket => socket.on('error', () => {}).destroy())
  server = made
  return new Promise((resolve, reject) => {
    made.once('error', reject)
    made.listen({ host: '127.0.0.1', port: 0 }, () => {
      const bound = made.address()
      resolve(typeof bound === 'object' && bound !== null ? bound.port : 0)
    })
    // It waits for channels of this process only; they keep the process alive, if anything does.
    made.unref()
  })
}
