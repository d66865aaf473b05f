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

export function createProxyLife(options: {
  /** What callers of `start` and `ready` are told. */
  readonly refusal: (when: 'started or closed before' | 'closed') => Error
  /** Said before anything is waited for. */
  readonly onClosing: (graceMs: number) => void
  /** Closes everything; called when no start is under way any more. */
  readonly close: (graceMs: number) => Promise<void>
}): ProxyLife {
  let state: 'new' | 'started' | 'closing' = 'new'
  let starting: Promise<void> | undefined
  let closing: Promise<void> | undefined
  const [ready, becameReady, failed] = settleable()
  const [closed, becameClosed] = settleable()
  // Who does not ask is not told.
  ready.catch(() => {})

  const closeAll = async (graceMs: number): Promise<void> => {
    state = 'closing'
    options.onClosing(graceMs)
    failed(options.refusal('closed'))
    // What is being bound has to be there before it can be closed; why a start failed is for its caller.
    await starting?.catch(() => {})
    await options.close(graceMs)
    becameClosed()
  }
  const close = (graceMs: number): Promise<void> => {
    closing ??= closeAll(graceMs)
    return closing
  }
  return {
    ready,
    closed,
    get isRunning() {
      return state === 'started'
    },
    async start(run) {
      if (state !== 'new') throw options.refusal('started or closed before')
      state = 'started'
      starting = run()
      try {
        await starting
      } catch (error) {
        await close(0)
        throw error
      }
    },
    becameReady,
    failed,
    close,
  }
}

function settleable(): [Promise<void>, () => void, (error: unknown) => void] {
  let settle: { resolve: () => void; reject: (error: unknown) => void } = { resolve() {}, reject() {} }
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return [promise, settle.resolve, settle.reject]
}
