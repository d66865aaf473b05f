/** A server stream of full snapshots: one at once, and another one whenever what it was made of has changed. */
import { type ServerWritableStream, status } from '@grpc/grpc-js'
import { messageOf } from '@ambient/core'

export interface CallStatus {
  readonly code: status
  readonly details: string
}

/** Ends a call with this status. */
export class CallRefused extends Error {
  readonly code: status
  constructor(code: status, details: string) {
    super(details)
    this.code = code
  }
}

export interface SnapshotSubject<Response> {
  /** The snapshot as it is now. */
  build(signal: AbortSignal): Promise<Response>
  /** To be compared with the last one that was sent. */
  serialize(response: Response): Uint8Array
  /** Tells of changes until the function that is returned is called. */
  watch(changed: () => void): () => void
}

/** Ends with the caller's call, or with the first snapshot that cannot be made. Never rejects. */
export async function sendSnapshots<Request, Response>(
  call: ServerWritableStream<Request, Response>,
  subject: SnapshotSubject<Response>,
  refuse: (error: unknown) => CallStatus = statusOf,
): Promise<void> {
  const abort = new AbortController()
  let isDue = true
  let wake: () => void = () => {}
  const changed = (): void => {
    isDue = true
    wake()
  }
  const stop = subject.watch(changed)
  const over = (): void => {
    abort.abort()
    wake()
  }
  call.once('cancelled', over)
  call.once('close', over)
  let last: Uint8Array | undefined
  try {
    while (!abort.signal.aborted) {
      if (!isDue) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
        continue
      }
      isDue = false
      const response = await subject.build(abort.signal)
      const bytes = subject.serialize(response)
      if (abort.signal.aborted || (last !== undefined && Buffer.compare(last, bytes) === 0)) continue
      last = bytes
      // A caller who does not read gets the newest one when it does, not each of them.
      if (!call.write(response)) await drained(call, abort.signal)
    }
  } catch (error) {
    if (!abort.signal.aborted) call.emit('error', refuse(error))
  } finally {
    stop()
  }
}

/** The status of a failure, as the caller may know it. */
export function statusOf(error: unknown): CallStatus {
  return error instanceof CallRefused
    ? { code: error.code, details: error.message }
    : { code: status.UNAVAILABLE, details: messageOf(error) }
}

function drained<Request, Response>(
  call: ServerWritableStream<Request, Response>,
  signal: AbortSignal,
): Promise<void> {
  return new Promise(resolve => {
    const end = (): void => {
      call.removeListener('drain', end)
      signal.removeEventListener('abort', end)
      resolve()
    }
    call.once('drain', end)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
  })
}
