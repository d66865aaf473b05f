/** Exchanges under way, counted for all, for each service and for each caller: one that hangs must not take every place. */
import type { DispatchOrder } from './order.ts'

export interface AdmissionLimits {
  readonly maxRequests: number
  readonly maxRequestsPerService: number
  readonly maxRequestsPerCaller: number
}

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #byService = new Map<string, number>()
  readonly #byCaller = new Map<string, number>()
  #all = 0

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  /** To be called once when the exchange is over; `undefined`: there is no place for it. */
  enter({ cluster, caller }: DispatchOrder): (() => void) | undefined {
    const { maxRequests, maxRequestsPerService, maxRequestsPerCaller } = this.#limits
    const service = `${cluster.namespace}/${cluster.hostname}`
    const identity = caller.identity.uri
    const isFull =
      this.#all >= maxRequests ||
      (this.#byService.get(service) ?? 0) >= maxRequestsPerService ||
      (this.#byCaller.get(identity) ?? 0) >= maxRequestsPerCaller
    if (isFull) return undefined
    this.#count(service, identity, 1)
    return () => this.#count(service, identity, -1)
  }

  #count(service: string, identity: string, by: 1 | -1): void {
    this.#all += by
    add(this.#byService, service, by)
    add(this.#byCaller, identity, by)
  }
}

/** What counts nothing is forgotten. */
function add(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}
