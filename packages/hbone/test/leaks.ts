/**
 * A test file ends at zero: every socket, server, process and timer that it opened is closed. Runs as a setup file, so that
 * no file of this package can forget it; whatever is left fails the file and is listed.
 */
import { Server, Socket } from 'node:net'
import { afterAll, expect } from 'vitest'

/** What closes by itself once its other end is told to: a few turns of the event loop, not a leak. */
const SETTLE_MS = 3_000
/** Vitest's own channel to its workers, standard streams, name lookups that nothing waits for. */
const FOREIGN = new Set([
  'Pipe',
  'TTY',
  'TTYWrap',
  'PipeWrap',
  'MessagePort',
  'FSReqCallback',
  'FSReqPromise',
])

interface ActiveTimer {
  readonly handle: NodeJS.Timeout
  readonly since: string
}

const timers = new Set<ActiveTimer>()

/** Timers that do not hold the process alive are in no list of Node's: those of the file and of what it tests are noted here. */
function noteTimers(): void {
  const original = globalThis.setTimeout
  const noted = (...args: Parameters<typeof setTimeout>): NodeJS.Timeout => {
    const handle = original(...args)
    if (timers.size > 2_000) for (const timer of timers) if (isOver(timer)) timers.delete(timer)
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 6
    timers.add({ handle, since: new Error('set').stack ?? '' })
    Error.stackTraceLimit = limit
    return handle
  }
  globalThis.setTimeout = Object.assign(noted, original)
}

function isOver({ handle }: ActiveTimer): boolean {
  return '_destroyed' in handle && handle._destroyed === true
}

function handles(): readonly object[] {
  const list: unknown = '_getActiveHandles' in process && (process._getActiveHandles as () => unknown)()
  return Array.isArray(list) ? list.filter(handle => !FOREIGN.has(handle?.constructor?.name)) : []
}

/** What it is, and between whom. */
function describeHandle(handle: object): string {
  const name = handle.constructor.name
  if (handle instanceof Server) return `${name} on ${JSON.stringify(handle.address())}`
  if (handle instanceof Socket)
    return `${name} ${handle.localAddress}:${handle.localPort} -> ${handle.remoteAddress}:${handle.remotePort}`
  return 'pid' in handle ? `${name} ${String(handle.pid)}` : name
}

function leftover(before: ReadonlySet<object>): readonly string[] {
  const open = handles().filter(handle => !before.has(handle))
  const late = [...timers].filter(timer => !isOver(timer))
  return [...open.map(describeHandle), ...late.map(timer => `timer ${timer.since}`)]
}

/** Standard streams and the worker's channel are there before any test. */
const before = new Set(handles())
if (expect.getState().testPath?.includes('/packages/hbone/test/') === true) {
  noteTimers()
  afterAll(async () => {
    const until = performance.now() + SETTLE_MS
    while (leftover(before).length > 0 && performance.now() < until)
      await new Promise(resolve => setImmediate(resolve))
    expect(leftover(before), 'left open by this file').toEqual([])
  })
}
