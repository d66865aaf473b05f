/** One program kept running: started, its output read by lines, restarted with back-off when it dies, ended. */
import type { ChildProcess } from 'node:child_process'
import { type Clock, messageOf, type Timer } from '@ambient/core'
import type { RestartPolicy } from '@ambient/discovery'
import { meshDefaults } from '../defaults.ts'
import { eachLine } from './lines.ts'
import type { Reaper } from './reaper.ts'
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
}

export interface ProgramOptions extends Omit<GroupOptions, 'stdin'> {
  readonly restart: RestartPolicy
  readonly events: ProgramEvents
  readonly clock: Clock
  readonly reaper: Reaper
  /** Awaited before each start. */
  readonly before?: (signal: AbortSignal) => Promise<void>
}

export interface Program {
  readonly pid: number | undefined
  readonly restarts: number
  /** Ended and not to be started again. */
  readonly completed: boolean
  start(): void
  /** Signals the whole process group; the program is restarted as its policy says. */
  kill(signal?: NodeJS.Signals): void
  /** Ends it for good: SIGTERM, after the grace SIGKILL. Resolves when it is gone. */
  stop(graceMs: number): Promise<void>
}

export function superviseProgram(options: ProgramOptions): Program {
  return new SupervisedProgram(options)
}

class SupervisedProgram implements Program {
  readonly #options: ProgramOptions
  readonly #stopping = new AbortController()
  #child: ChildProcess | undefined
  #run: Promise<void> | undefined
  #restartTimer: Timer | undefined
  #backoffMs: number = meshDefaults.restartFirstMs
  restarts = 0
  completed = false

  constructor(options: ProgramOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  start(): void {
    if (this.#run === undefined && !this.#stopping.signal.aborted) this.#run = this.#runOnce()
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    const pid = this.pid
    if (pid !== undefined) signalGroup(pid, signal)
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort(new Error('the program is stopped'))
    this.#restartTimer?.cancel()
    const timer = this.#options.clock.after(graceMs, () => this.kill('SIGKILL'), { keepAlive: true })
    this.kill('SIGTERM')
    await this.#run
    timer.cancel()
  }

  /** From one start to the exit that belongs to it. Never rejects. */
  async #runOnce(): Promise<void> {
    const { clock, events, reaper } = this.#options
    const startedAt = clock.monotonic()
    let exit: Pick<ProgramExit, 'code' | 'signal' | 'failure'>
    try {
      await this.#options.before?.(this.#stopping.signal)
      if (this.#stopping.signal.aborted) return
      const child = await spawnGroup({ ...this.#options, stdin: 'ignore' })
      exit = await this.#follow(child)
      if (child.pid !== undefined) {
        // As in a container: what the program left behind in its group ends with it.
        signalGroup(child.pid, 'SIGKILL')
        reaper.remove(child.pid)
      }
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      exit = { code: null, signal: null, failure: messageOf(error) }
    }
    this.#child = undefined
    const restartInMs = this.#nextStart(exit, clock.monotonic() - startedAt)
    const asked = this.#stopping.signal.aborted
    events.exited({ ...exit, asked, ...(restartInMs === undefined ? {} : { restartInMs }) })
  }

  #follow(child: ChildProcess): Promise<Pick<ProgramExit, 'code' | 'signal'>> {
    const { events, reaper } = this.#options
    this.#child = child
    if (child.pid !== undefined) reaper.add(child.pid)
    if (child.stdout !== null) eachLine(child.stdout, line => events.line('stdout', line))
    if (child.stderr !== null) eachLine(child.stderr, line => events.line('stderr', line))
    const exited = new Promise<Pick<ProgramExit, 'code' | 'signal'>>(resolve =>
      child.once('exit', (code, signal) => resolve({ code, signal })),
    )
    if (child.pid !== undefined) events.started(child.pid)
    // It may have been asked to stop while it was being started.
    if (this.#stopping.signal.aborted) this.kill('SIGTERM')
    return exited
  }

  /** Plans the next start, `undefined` when there is none. */
  #nextStart(exit: Pick<ProgramExit, 'code'>, livedMs: number): number | undefined {
    const { restart, clock } = this.#options
    const succeeded = exit.code === 0
    if (this.#stopping.signal.aborted) return undefined
    if (restart === 'Never' || (restart === 'OnFailure' && succeeded)) {
      this.completed = true
      return undefined
    }
    if (livedMs >= meshDefaults.restartResetMs) this.#backoffMs = meshDefaults.restartFirstMs
    const delayMs = this.#backoffMs
    this.#backoffMs = Math.min(this.#backoffMs * 2, meshDefaults.restartMaxMs)
    this.#restartTimer = clock.after(
      delayMs,
      () => {
        this.restarts++
        this.#run = this.#runOnce()
      },
      { keepAlive: true },
    )
    return delayMs
  }
}
