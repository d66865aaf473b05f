/**
 * One program kept running: started, its output read by lines, restarted with back-off when it dies, replaced without a
 * gap, ended.
 */
import type { ChildProcess } from 'node:child_process'
import { type Clock, messageOf, type Timer } from '@ambient/core'
import type { RestartPolicy } from '@ambient/discovery'
import { meshDefaults } from '../defaults.ts'
import { MeshError } from '../errors.ts'
import { eachLine } from './lines.ts'
import type { Reaper } from './reaper.ts'
import { askToDrain, type HeldSockets } from './held-sockets.ts'
import { type GroupOptions, signalGroup, spawnGroup } from './spawn-group.ts'

export interface ProgramExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Set instead of both when the program could not be started. */
  readonly failure?: string
  /** Absent when it stays down. */
  readonly restartInMs?: number
  /** We ended it ourselves. */
  readonly asked: boolean
}

export interface ProgramEvents {
  started(pid: number): void
  line(stream: 'stdout' | 'stderr', line: string): void
  exited(exit: ProgramExit): void
  /** The program said that it is ready, or ended; only with lent sockets. */
  readiness?(ready: boolean): void
}

export interface ProgramOptions extends Omit<GroupOptions, 'stdin' | 'ipc'> {
  readonly restart: RestartPolicy
  readonly events: ProgramEvents
  readonly clock: Clock
  readonly reaper: Reaper
  /** Awaited before each start. */
  readonly before?: (signal: AbortSignal) => Promise<void>
  /** Lends the program its listening sockets, so that it can be replaced. It has to ask for them. */
  readonly sockets?: HeldSockets
}

export interface Program {
  readonly pid: number | undefined
  readonly restarts: number
  /** The present process said that it is ready; only with lent sockets. */
  readonly ready: boolean
  /** Of the present process: milliseconds since 1970. */
  readonly startedAt: number | undefined
  /** Ended and not to be started again. */
  readonly completed: boolean
  start(): void
  /** Signals the whole process group; the program is restarted as its policy says. */
  kill(signal?: NodeJS.Signals): void
  /**
   * Starts the program anew beside the present process; when the new one is ready, the old one drains and ends, at the
   * latest after `graceMs`. Resolves when the new one has taken over. Where sockets cannot be lent there is a gap.
   * @throws MeshError `AMBIENT_E_MESH_NOT_READY`; the present process goes on then.
   */
  replace(options: { readonly graceMs: number }): Promise<void>
  /** Ends it for good: SIGTERM, after the grace SIGKILL. Resolves when it is gone. */
  stop(graceMs: number): Promise<void>
}

export function superviseProgram(options: ProgramOptions): Program {
  return new SupervisedProgram(options)
}

/** One process of the program. */
interface Run {
  readonly child: ChildProcess
  /** Resolves when it says so; only with lent sockets. */
  readonly ready: Promise<void>
  readonly exited: Promise<Pick<ProgramExit, 'code' | 'signal'>>
  /** A newer process has its place, or it has none yet: its end concerns nobody. */
  retired: boolean
  isReady: boolean
  readonly startedAt: number
}

class SupervisedProgram implements Program {
  readonly #options: ProgramOptions
  readonly #stopping = new AbortController()
  /** Every process that has not ended. */
  readonly #runs = new Map<Run, Promise<void>>()
  #current: Run | undefined
  #starting: Promise<void> | undefined
  #replacing: Promise<void> = Promise.resolve()
  #restartTimer: Timer | undefined
  #backoffMs: number = meshDefaults.restartFirstMs
  restarts = 0
  completed = false

  constructor(options: ProgramOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#current?.child.pid
  }

  get ready(): boolean {
    return this.#current?.isReady ?? false
  }

  get startedAt(): number | undefined {
    return this.#current?.startedAt
  }

  start(): void {
    if (this.#starting === undefined && !this.#stopping.signal.aborted) this.#starting = this.#start()
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    const pid = this.pid
    if (pid !== undefined) signalGroup(pid, signal)
  }

  replace(options: { readonly graceMs: number }): Promise<void> {
    const replaced = this.#replacing.then(() => this.#replace(options.graceMs))
    this.#replacing = replaced.catch(() => {})
    return replaced
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort(new MeshError('AMBIENT_E_MESH_CLOSED', 'the program is stopped'))
    this.#restartTimer?.cancel()
    const signalAll = (signal: NodeJS.Signals): void => {
      for (const { child } of this.#runs.keys()) if (child.pid !== undefined) signalGroup(child.pid, signal)
    }
    const timer = this.#options.clock.after(graceMs, () => signalAll('SIGKILL'), { keepAlive: true })
    signalAll('SIGTERM')
    await this.#starting
    await this.#replacing
    await Promise.all(this.#runs.values())
    timer.cancel()
  }

  /** Never rejects. */
  async #start(): Promise<void> {
    const { clock, events } = this.#options
    const startedAt = clock.monotonic()
    try {
      await this.#options.before?.(this.#stopping.signal)
      if (this.#stopping.signal.aborted) return
      this.#current = await this.#launch()
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const exit = { code: null, signal: null, failure: messageOf(error) }
      events.exited({ ...exit, asked: false, ...this.#nextStart(exit, clock.monotonic() - startedAt) })
    }
  }

  async #replace(graceMs: number): Promise<void> {
    const { sockets, events } = this.#options
    this.#stopping.signal.throwIfAborted()
    await this.#starting
    if (sockets?.canLend !== true) return this.#startAgain(graceMs)
    const next = await this.#launch({ retired: true })
    try {
      await this.#becomesReady(next)
    } catch (error) {
      next.child.kill('SIGKILL')
      throw error
    }
    const old = this.#current
    this.#restartTimer?.cancel()
    next.retired = false
    this.#current = next
    events.readiness?.(true)
    if (old !== undefined) this.#retire(old, graceMs)
  }

  /** With a gap: for systems where a socket cannot be in two processes. */
  async #startAgain(graceMs: number): Promise<void> {
    const old = this.#current
    this.#restartTimer?.cancel()
    this.#current = undefined
    if (old !== undefined) {
      old.retired = true
      const timer = this.#options.clock.after(graceMs, () => old.child.kill('SIGKILL'))
      old.child.kill('SIGTERM')
      await this.#runs.get(old)
      timer.cancel()
    }
    this.#starting = this.#start()
    await this.#starting
  }

  #becomesReady(run: Run): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#stopping
    return new Promise<void>((resolve, reject) => {
      const fail = (why: string): void =>
        reject(new MeshError('AMBIENT_E_MESH_NOT_READY', `the new process ${why}; the old one goes on`))
      const timer = clock.after(
        meshDefaults.proxyReadyTimeoutMs,
        () => fail(`is not ready after ${meshDefaults.proxyReadyTimeoutMs} ms`),
        { keepAlive: true },
      )
      const onAbort = (): void => reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      const settle = (then: () => void): void => {
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
        then()
      }
      void run.ready.then(() => settle(resolve))
      void run.exited.then(({ code, signal: by }) =>
        settle(() => fail(`ended (${by ?? `exit code ${code}`})`)),
      )
      if (signal.aborted) onAbort()
    })
  }

  #retire(run: Run, graceMs: number): void {
    run.retired = true
    askToDrain(run.child, graceMs)
    const timer = this.#options.clock.after(graceMs + meshDefaults.closeGraceMs, () =>
      run.child.kill('SIGKILL'),
    )
    void run.exited.then(() => timer.cancel())
  }

  /** Spawns a process and follows it to its end. @throws MeshError `AMBIENT_E_MESH_SPAWN` */
  async #launch({ retired = false } = {}): Promise<Run> {
    const { events, reaper, sockets, clock } = this.#options
    const startedAt = clock.monotonic()
    const child = await spawnGroup({ ...this.#options, stdin: 'ignore', ipc: sockets !== undefined })
    let onReady = (): void => {}
    const run: Run = {
      child,
      ready: new Promise(resolve => {
        onReady = resolve
      }),
      exited: new Promise(resolve => child.once('exit', (code, signal) => resolve({ code, signal }))),
      retired,
      isReady: false,
      startedAt: clock.now(),
    }
    sockets?.serve(child, {
      onReady: () => {
        run.isReady = true
        onReady()
        if (!run.retired) events.readiness?.(true)
      },
    })
    if (child.pid !== undefined) reaper.add(child.pid)
    if (child.stdout !== null) eachLine(child.stdout, line => events.line('stdout', line))
    if (child.stderr !== null) eachLine(child.stderr, line => events.line('stderr', line))
    this.#runs.set(run, this.#follow(run, startedAt))
    if (child.pid !== undefined) events.started(child.pid)
    // It may have been asked to stop while it was being started.
    if (this.#stopping.signal.aborted && child.pid !== undefined) signalGroup(child.pid, 'SIGTERM')
    return run
  }

  /** Never rejects. */
  async #follow(run: Run, startedAt: number): Promise<void> {
    const { clock, events, reaper } = this.#options
    const exit = await run.exited
    if (run.child.pid !== undefined) {
      // As in a container: what the program left behind in its group ends with it.
      signalGroup(run.child.pid, 'SIGKILL')
      reaper.remove(run.child.pid)
    }
    this.#runs.delete(run)
    if (this.#current === run) this.#current = undefined
    if (run.retired) return events.exited({ ...exit, asked: true })
    if (run.isReady) events.readiness?.(false)
    const next = this.#nextStart(exit, clock.monotonic() - startedAt)
    events.exited({ ...exit, asked: this.#stopping.signal.aborted, ...next })
  }

  /** Plans the next start; empty when there is none. */
  #nextStart(exit: Pick<ProgramExit, 'code'>, livedMs: number): { readonly restartInMs?: number } {
    const { restart, clock } = this.#options
    const succeeded = exit.code === 0
    if (this.#stopping.signal.aborted) return {}
    if (restart === 'Never' || (restart === 'OnFailure' && succeeded)) {
      this.completed = true
      return {}
    }
    if (livedMs >= meshDefaults.restartResetMs) this.#backoffMs = meshDefaults.restartFirstMs
    const delayMs = this.#backoffMs
    this.#backoffMs = Math.min(this.#backoffMs * 2, meshDefaults.restartMaxMs)
    this.#restartTimer = clock.after(
      delayMs,
      () => {
        this.restarts++
        this.#starting = this.#start()
      },
      { keepAlive: true },
    )
    return { restartInMs: delayMs }
  }
}
