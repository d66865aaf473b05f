/** The life of a proxy: started once, ready or failed, closed once, by whoever asks first. */
export interface ProxyLife {
  /** Everything works. Rejects when that failed, or when the proxy was closed before. */
  readonly ready: Promise<void>
  readonly closed: Promise<void>
  /** Started, and not closing. */
  readonly isRunning: boolean
  /** Runs once; what could not be started is closed, and the error passed on. @throws the error of `refusal` */
  start(run: () => Promise<void>): Promise<void>
  becameReady(): void
  failed(error: unknown): void
  /** Of many calls the first one counts; all resolve when everything is closed. */
  close(graceMs: number): Promise<void>
}

export interface ProxyLifeOptions {
  /** What callers of `start` and `ready` are told. */
  readonly refusal: (when: 'started or closed before' | 'closed') => Error
  /** Said before anything is waited for. */
  readonly onClosing: (graceMs: number) => void
  /** Closes everything; called when no start is under way any more. */
  readonly close: (graceMs: number) => Promise<void>
}

export function createProxyLife(options: ProxyLifeOptions): ProxyLife {
  return new Life(options)
}

class Life implements ProxyLife {
  readonly ready: Promise<void>
  readonly closed: Promise<void>
  readonly #options: ProxyLifeOptions
  #state: 'new' | 'started' | 'closing' = 'new'
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #settleReady: { resolve: () => void; reject: (error: unknown) => void } = { resolve() {}, reject() {} }
  #becameClosed: () => void = () => {}

  constructor(options: ProxyLifeOptions) {
    this.#options = options
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject }
    })
    // Who does not ask is not told.
    this.ready.catch(() => {})
    this.closed = new Promise(resolve => {
      this.#becameClosed = resolve
    })
  }

  get isRunning(): boolean {
    return this.#state === 'started'
  }

  async start(run: () => Promise<void>): Promise<void> {
    if (this.#state !== 'new') throw this.#options.refusal('started or closed before')
    this.#state = 'started'
    this.#starting = run()
    try {
      await this.#starting
    } catch (error) {
      await this.close(0)
      throw error
    }
  }

  becameReady(): void {
    this.#settleReady.resolve()
  }

  failed(error: unknown): void {
    this.#settleReady.reject(error)
  }

  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    const { refusal, onClosing, close } = this.#options
    this.#state = 'closing'
    onClosing(graceMs)
    this.failed(refusal('closed'))
    // What is being bound has to be there before it can be closed; why a start failed is for its caller.
    await this.#starting?.catch(() => {})
    await close(graceMs)
    this.#becameClosed()
  }
}
