/** What a peer that is not ours reports of the frames of one tunnel, read out of its log. */

/** `END`, or the code of a RST_STREAM; a peer whose own ends are not in its log says only codes. */
export interface Frames {
  /** What it was told by ours. */
  readonly told: readonly string[]
  /** What it has said itself. */
  readonly said: readonly string[]
}

/** One line of a log, understood. */
export interface LoggedFrame {
  readonly stream: string
  readonly by: 'ours' | 'peer'
  /** `OPEN` is a HEADERS frame. */
  readonly what: string
}

/** The log of a peer that carries one new tunnel after the other. */
export class FrameLog {
  readonly #read: (line: string) => LoggedFrame | undefined
  #waiting: (() => void)[] = []
  #stream: string | undefined
  readonly #opened = new Set<LoggedFrame['by']>()
  #told: string[] = []
  #said: string[] = []

  constructor(read: (line: string) => LoggedFrame | undefined) {
    this.#read = read
  }

  /** From here on, what is said of the next tunnel that is opened. */
  begin(): void {
    this.#stream = undefined
    this.#opened.clear()
    this.#told = []
    this.#said = []
  }

  note(line: string): void {
    const frame = this.#read(line)
    if (frame === undefined) return
    if (frame.what === 'OPEN') this.#stream ??= frame.stream
    if (frame.stream !== this.#stream) return
    if (frame.what === 'OPEN') this.#opened.add(frame.by)
    else if (frame.by === 'ours') this.#told.push(frame.what)
    else this.#said.push(frame.what)
    for (const check of this.#waiting) check()
  }

  get frames(): Frames {
    return { told: [...this.#told], said: [...this.#said] }
  }

  /** Both sides have said HEADERS. */
  answered(): Promise<void> {
    return this.until(() => this.#opened.size === 2)
  }

  until(condition: (frames: Frames) => boolean): Promise<void> {
    return new Promise(resolve => {
      const check = (): void => {
        if (!condition(this.frames)) return
        this.#waiting = this.#waiting.filter(other => other !== check)
        resolve()
      }
      this.#waiting.push(check)
      check()
    })
  }
}
