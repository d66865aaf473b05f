/**
 * A line through two proxies, one of them not ours: application ⇄ TCP ⇄ proxy ⇄ tunnel ⇄ proxy ⇄ TCP ⇄ application. The
 * applications are processes (`fixtures/ends.mjs`), so that they can be on hosts of their own.
 */
import type { ChildProcessByStdio } from 'node:child_process'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

/** To be started with a pipe for its stdin. */
export const endsCommand: readonly string[] = [
  process.execPath,
  join(dirname(fileURLToPath(import.meta.url)), 'fixtures', 'ends.mjs'),
]

/** A process of applications. */
export class Ends {
  readonly #stdin: Writable
  readonly #apps = new Map<string, EndApp>()
  readonly #listening: Promise<number>

  constructor({ stdin, stdout }: ChildProcessByStdio<Writable, Readable, Readable | null>) {
    this.#stdin = stdin
    this.#listening = new Promise(resolve => {
      createInterface({ input: stdout }).on('line', line => {
        const [id = '', what = '', ...args] = line.split(' ')
        if (id === 'listening') resolve(Number(what))
        else this.#apps.get(id)?.note(what, args)
      })
    })
  }

  /** Resolves to the port. Once. */
  listen(host: string): Promise<number> {
    this.#tell(`listen ${host}`)
    return this.#listening
  }

  /** Whom the next connection is for. */
  accept(): EndApp {
    const app = this.#make()
    this.#tell(`accept ${app.id}`)
    return app
  }

  dial(host: string, port: number, socksPort?: number): EndApp {
    const app = this.#make()
    this.#tell(`dial ${app.id} ${host} ${port} ${socksPort ?? ''}`.trimEnd())
    return app
  }

  #tell(line: string): void {
    this.#stdin.write(`${line}\n`)
  }

  #make(): EndApp {
    const app = new EndApp(`app${this.#apps.size}`, line => this.#tell(line))
    this.#apps.set(app.id, app)
    return app
  }
}

/** One application: what it sent, what it saw. It reads nothing before it is told to. */
export class EndApp {
  readonly id: string
  sent = 0
  received = 0
  /** What it has received is what was sent, as far as it goes. Known when it has heard of an end. */
  hasTrueBytes = true
  /** How it heard of the end: not yet, a clean end, or a reset. */
  ending: 'end' | 'reset' | undefined
  #isReading = false
  readonly #log: string[] = []
  readonly #tell: (line: string) => void
  readonly #waiting = new Set<() => void>()

  constructor(id: string, tell: (line: string) => void) {
    this.id = id
    this.#tell = tell
  }

  note(what: string, [count, isTrue]: readonly string[]): void {
    this.#log.push(what)
    if (count !== undefined) this.received = Number(count)
    if (isTrue !== undefined) this.hasTrueBytes = isTrue === 'true'
    if (what === 'end' || what === 'reset') this.ending ??= what
    for (const check of this.#waiting) check()
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise(resolve => {
      const check = (): void => {
        if (!condition()) return
        this.#waiting.delete(check)
        resolve()
      }
      this.#waiting.add(check)
      check()
    })
  }

  async opened(): Promise<void> {
    await this.until(() => this.#log.includes('open'))
  }

  /** Resolves with how it heard of the end. */
  async ended(): Promise<'end' | 'reset' | undefined> {
    await this.until(() => this.ending !== undefined)
    return this.ending
  }

  /** `count` bytes wait in the kernel of an application that does not read. */
  async unread(count: number): Promise<void> {
    this.#tell(`unread ${this.id} ${count}`)
    await this.until(() => this.#log.includes('unread'))
  }

  read(): void {
    if (this.#isReading) return
    this.#isReading = true
    this.#tell(`read ${this.id}`)
  }

  send(count: number): void {
    this.sent += count
    this.#tell(`send ${this.id} ${count}`)
  }

  end(): void {
    this.#tell(`end ${this.id}`)
  }

  /** `close(2)`. */
  close(): void {
    this.#tell(`close ${this.id}`)
  }

  /** TCP RST. */
  reset(): void {
    this.#tell(`reset ${this.id}`)
  }

  /** Goes on until it hears that nobody listens. */
  async speakUntilReset(): Promise<void> {
    for (let turns = 1; !this.#log.includes('reset'); turns++) {
      this.send(5)
      this.#tell(`turn ${this.id}`)
      await this.until(() => this.#log.filter(what => what === 'turn').length === turns)
    }
  }
}
