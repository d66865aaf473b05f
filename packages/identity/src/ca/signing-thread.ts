/**
 * Where leaves are signed: in this thread while few are asked for, in a worker once several wait. Building a certificate is
 * 2 ms of JavaScript, so a thousand workloads that start at once would hold this thread for seconds (docs/decisions/0014).
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { type Logger, messageOf, silentLogger, systemClock, type Timer } from '@ambient/core'
import { caDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { createLeafSigner, type IssuerMaterial, type LeafRequest, type SignedLeaf } from './leaf.ts'
import type { WorkerAnswer } from './signing-worker.ts'

export interface SigningThread {
  readonly sign: (request: LeafRequest) => Promise<SignedLeaf>
  /** The worker ends with its last certificate; after it this thread signs. Idempotent. */
  close(): void
}

interface Job {
  readonly request: LeafRequest
  resolve(leaf: SignedLeaf): void
  reject(error: unknown): void
}

/** Beside the built package. TypeScript sources have no such file, and Node 20 could not run one: this thread signs there. */
const WORKER = new URL('./ca/signing-worker.js', import.meta.url)

export function createSigningThread(issuer: IssuerMaterial, logger: Logger = silentLogger): SigningThread {
  const here = createLeafSigner(issuer)
  const pool = new WorkerThread(issuer, here, logger)
  let waiting = 0
  return {
    async sign(request) {
      waiting += 1
      try {
        return await (pool.takes(waiting) ? pool.sign(request) : here(request))
      } finally {
        waiting -= 1
      }
    },
    close: () => pool.close(),
  }
}

class WorkerThread {
  readonly #issuer: IssuerMaterial
  readonly #here: (request: LeafRequest) => Promise<SignedLeaf>
  readonly #logger: Logger
  readonly #jobs = new Map<number, Job>()
  #worker: Worker | undefined
  #idle: Timer | undefined
  #next = 0
  #closed = false
  #usable = existsSync(fileURLToPath(WORKER))

  constructor(issuer: IssuerMaterial, here: (request: LeafRequest) => Promise<SignedLeaf>, logger: Logger) {
    this.#issuer = issuer
    this.#here = here
    this.#logger = logger
  }

  /** Whether it is worth a thread, with so many certificates asked for. */
  takes(waiting: number): boolean {
    if (this.#closed || !this.#usable) return false
    return this.#worker !== undefined || waiting >= caDefaults.threadFrom
  }

  sign(request: LeafRequest): Promise<SignedLeaf> {
    this.#idle?.cancel()
    const worker = this.#worker ?? this.#start()
    if (worker === undefined) return this.#here(request)
    const id = this.#next++
    return new Promise((resolve, reject) => {
      this.#jobs.set(id, { request, resolve, reject })
      // The process waits for certificates that are being signed, not for a thread.
      worker.ref()
      worker.postMessage({ id, request })
    })
  }

  close(): void {
    this.#closed = true
    if (this.#jobs.size === 0) this.#end()
  }

  #start(): Worker | undefined {
    let worker: Worker
    try {
      worker = new Worker(WORKER, { workerData: this.#issuer, env: {}, execArgv: [] })
    } catch (error) {
      // Node's permission model allows no threads unless told to.
      this.#giveUp(error)
      return undefined
    }
    worker.on('message', (answer: WorkerAnswer) => this.#settle(answer))
    worker.on('error', error => this.#lose(worker, error))
    worker.on('exit', code => this.#lose(worker, new Error(`exit code ${code}`)))
    this.#worker = worker
    return worker
  }

  #settle(answer: WorkerAnswer): void {
    const job = this.#jobs.get(answer.id)
    this.#jobs.delete(answer.id)
    if (answer.ok) job?.resolve(answer.leaf)
    else job?.reject(new IdentityError(answer.code, answer.message, { layer: 'identity' }))
    if (this.#jobs.size > 0) return
    this.#worker?.unref()
    if (this.#closed) this.#end()
    else this.#idle = systemClock.after(caDefaults.threadIdleMs, () => this.#end())
  }

  #end(): void {
    this.#idle?.cancel()
    const worker = this.#worker
    this.#worker = undefined
    void worker?.terminate()
  }

  /** Nobody's certificate is lost with a thread: what it left undone is done here, as is all that comes after. */
  #lose(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#giveUp(error)
    for (const { request, resolve, reject } of this.#jobs.values()) this.#here(request).then(resolve, reject)
    this.#jobs.clear()
  }

  #giveUp(error: unknown): void {
    this.#usable = false
    this.#logger.warn(
      { error: messageOf(error) },
      'no thread for signing; certificates are signed in this one',
    )
  }
}
