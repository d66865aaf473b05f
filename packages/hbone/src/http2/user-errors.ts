/** Exceptions of those who use a stream: theirs, and not the session's. */

/** Tells a user something; what it throws does not come back to the session. */
export function guarded(tell: () => void): void {
  try {
    tell()
  } catch (error) {
    throwLater(error)
  }
}

/** Where an exception in a socket's listener ends up as well. */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
