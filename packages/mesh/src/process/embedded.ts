/** A proxy that runs in this process instead of in its own, behind the same face: for meshes inside of a test. */
import { type Clock, messageOf, type Timer } from '@ambient/core'
import { meshDefaults } from '../defaults.ts'
import { MeshError } from '../errors.ts'
import type { Program, ProgramEvents } from './supervise.ts'

/** What `createZtunnel` and `createWaypoint` give. */
export interface EmbeddedProxy {
  start(): Promise<void>
  readonly ready: Promise<void>
  readonly closed: Promise<void>
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export interface EmbeddedOptions {
  /** A new one for each start; `write` takes its log lines. */
  readonly create: (write: (text: string) => void) => EmbeddedProxy
  readonly events: ProgramEvents
  readonly clock: Clock
}

/** Connections of one that is killed are reset; one that ends is started again. A replacement has a gap. */
export function embedProgram(options: EmbeddedOptions): Program {
  return new EmbeddedProgram(options)
}

class EmbeddedProgram implements Program {
  readonly #options: EmbeddedOptions
  #proxy: EmbeddedProxy | undefined
  #starting: Promise<void> | undefined
  #timer: Timer | undefined
  #stopped = false
  restarts = 0
  ready = false
  startedAt: number | undefined
  readonly completed = false

  constructor(options: EmbeddedOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#proxy === undefined ? undefined : process.pid
  }

  start(): void {
    if (this.#starting === undefined && !this.#stopped) this.#starting = this.#start()
  }

  kill(): void {
    void this.#proxy?.close({ graceMs: 0 })
  }

  async replace(options: { readonly graceMs: number }): Promise<void> {
    if (this.#stopped) throw new MeshError('AMBIENT_E_MESH_CLOSED', 'the proxy is stopped')
    await this.#starting
    this.#timer?.cancel()
    const old = this.#proxy
    this.#proxy = undefined
    await old?.close(options)
    this.#starting = this.#start()
    await this.#starting
    await this.#current?.ready
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#current?.close({ graceMs: 0 })
    await this.#starting
    await this.#current?.closed
  }

  /** Read anew after each wait. */
  get #current(): EmbeddedProxy | undefined {
    return this.#proxy
  }

  /** Never rejects. */
  async #start(): Promise<void> {
    const { create, events, clock } = this.#options
    const proxy = create(text => {
      for (const line of text.split('\n')) if (line !== '') events.line('stdout', line)
    })
    this.#proxy = proxy
    this.startedAt = clock.now()
    events.started(process.pid)
    void proxy.ready.then(
      () => this.#setReady(proxy, true),
      () => {},
    )
    try {
      await proxy.start()
      void proxy.closed.then(() => this.#ended(proxy, {}))
    } catch (error) {
      this.#ended(proxy, { failure: messageOf(error) })
    }
  }

  #setReady(proxy: EmbeddedProxy, ready: boolean): void {
    if (this.#proxy !== proxy || this.ready === ready) return
    this.ready = ready
    this.#options.events.readiness?.(ready)
  }

  #ended(proxy: EmbeddedProxy, { failure }: { readonly failure?: string }): void {
    const { clock, events } = this.#options
    this.#setReady(proxy, false)
    const isWanted = this.#proxy === proxy && !this.#stopped
    if (this.#proxy === proxy) {
      this.#proxy = undefined
      this.startedAt = undefined
    } else this.ready = false
    const exit = { code: 0, signal: null, ...(failure === undefined ? {} : { failure }) }
    if (!isWanted) return events.exited({ ...exit, asked: true })
    this.#timer = clock.after(meshDefaults.restartFirstMs, () => {
      this.restarts++
      this.#starting = this.#start()
    })
    events.exited({ ...exit, asked: false, restartInMs: meshDefaults.restartFirstMs })
  }
}
