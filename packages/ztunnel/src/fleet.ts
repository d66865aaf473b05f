/**
 * Rootless shared mode: one proxy per workload that discovery places on our node, each on the workload's own address.
 * Proxies come and go with discovery; one that cannot listen is tried again and disturbs no other.
 */
import {
  type Clock,
  type Counter,
  type Directory,
  type Gauge,
  type Logger,
  type Meter,
  messageOf,
  type Timer,
  type Workload,
} from '@ambient/core'
import type { Rejudge } from '@ambient/hbone'
import type { DumpedProxy } from './admin/config-dump.ts'
import { defaults } from './defaults.ts'
import type { WorkloadProxy } from './workload-proxy.ts'

export interface FleetOptions {
  readonly directory: Directory
  readonly nodeName: string
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
  /** A proxy for this workload, which keeps its uid and addresses for as long as the proxy lives. */
  readonly createProxy: (workload: Workload) => WorkloadProxy
  /** How long connections of a workload that was removed may finish. */
  readonly graceMs: number
}

export interface Fleet {
  /** Follows discovery from now on; resolves when each proxy of the present state listens or has failed once. */
  start(): Promise<void>
  proxies(): readonly DumpedProxy[]
  /** As each proxy's. */
  recheckPeers(rejudge?: Rejudge): number
  close(options: { readonly graceMs: number }): Promise<void>
}

interface Member {
  workload: Workload
  proxy: WorkloadProxy | undefined
  isUp: boolean
  retry: Timer | undefined
}

export function createFleet(options: FleetOptions): Fleet {
  return new LiveFleet(options)
}

class LiveFleet implements Fleet {
  readonly #options: FleetOptions
  readonly #members = new Map<string, Member>()
  /** Proxies that finish their last connections. */
  readonly #leaving = new Set<Promise<void>>()
  /** Listeners that are about to be gone: a pod that takes over an address waits for them. */
  readonly #stopping = new Set<Promise<void>>()
  readonly #metrics: FleetMetrics
  #unwatch: (() => void) | undefined
  #closed = false

  constructor(options: FleetOptions) {
    this.#options = options
    this.#metrics = fleetMetrics(options.meter)
  }

  async start(): Promise<void> {
    this.#unwatch = this.#options.directory.watch(() => void this.#reconcile())
    await this.#reconcile()
  }

  proxies(): readonly DumpedProxy[] {
    return [...this.#members.values()].map(({ workload, proxy, isUp }) => ({
      uid: workload.uid,
      state: isUp ? 'Up' : 'Pending',
      name: workload.name,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      connections: proxy?.connections() ?? [],
    }))
  }

  recheckPeers(rejudge?: Rejudge): number {
    let ended = 0
    for (const { proxy } of this.#members.values()) ended += proxy?.recheckPeers(rejudge) ?? 0
    return ended
  }

  async close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#closed = true
    this.#unwatch?.()
    for (const member of [...this.#members.values()]) this.#remove(member, graceMs)
    await Promise.all(this.#leaving)
  }

  async #reconcile(): Promise<void> {
    if (this.#closed) return
    const { directory, nodeName } = this.#options
    const wanted = new Map(
      directory
        .workloadsOnNode(nodeName)
        .filter(isServed)
        .map(workload => [workload.uid, workload]),
    )
    for (const [uid, member] of [...this.#members]) {
      const workload = wanted.get(uid)
      if (workload === undefined || !sameAddresses(workload, member.workload))
        this.#remove(member, this.#options.graceMs)
    }
    const starting: Promise<void>[] = []
    for (const workload of wanted.values()) {
      const member = this.#members.get(workload.uid)
      if (member === undefined) starting.push(this.#add(workload))
      else if (member.workload !== workload) this.#update(member, workload)
    }
    await Promise.all(starting)
  }

  #add(workload: Workload): Promise<void> {
    const member: Member = { workload, proxy: undefined, isUp: false, retry: undefined }
    this.#members.set(workload.uid, member)
    return this.#bring(member)
  }

  async #bring(member: Member): Promise<void> {
    const { logger, clock, createProxy } = this.#options
    const proxy = createProxy(member.workload)
    member.proxy = proxy
    this.#count()
    try {
      await Promise.all(this.#stopping)
      await proxy.start()
      member.isUp = true
      this.#metrics.started.add(1, [])
      this.#count()
      logger.info(
        { workload: describe(member.workload), address: member.workload.addresses[0] },
        'proxy started',
      )
    } catch (error) {
      void proxy.close({ graceMs: 0 })
      if (this.#members.get(member.workload.uid) !== member) return
      logger.warn(
        { workload: describe(member.workload), error: messageOf(error), retryMs: defaults.listenRetryMs },
        'proxy could not start',
      )
      member.retry = clock.after(defaults.listenRetryMs, () => void this.#bring(member))
    }
  }

  #count(): void {
    const members = [...this.#members.values()]
    this.#metrics.active.set(members.filter(({ isUp }) => isUp).length, [])
    this.#metrics.pending.set(members.filter(({ isUp }) => !isUp).length, [])
  }

  #update(member: Member, workload: Workload): void {
    const before = member.workload
    member.workload = workload
    // Sessions of the other mode must not live on: what follows has to be decided anew.
    if (before.protocol !== workload.protocol) member.proxy?.retire()
    member.proxy?.recheck(workload)
  }

  #remove(member: Member, graceMs: number): void {
    this.#members.delete(member.workload.uid)
    member.retry?.cancel()
    if (member.isUp) this.#metrics.stopped.add(1, [])
    this.#count()
    const stopping = (member.proxy?.stopListening() ?? Promise.resolve()).finally(() => {
      this.#stopping.delete(stopping)
    })
    this.#stopping.add(stopping)
    const leaving = (member.proxy?.close({ graceMs }) ?? Promise.resolve()).finally(() => {
      this.#leaving.delete(leaving)
    })
    this.#leaving.add(leaving)
  }
}

interface FleetMetrics {
  readonly active: Gauge
  readonly pending: Gauge
  readonly started: Counter
  readonly stopped: Counter
}

function fleetMetrics(meter: Meter): FleetMetrics {
  const of = (name: string, what: string) => ({
    name: `workload_manager_${name}`,
    help: `Proxies of workloads that ${what} (unstable)`,
    labels: [],
  })
  return {
    active: meter.gauge(of('active_proxy_count', 'listen')),
    pending: meter.gauge(of('pending_proxy_count', 'do not listen yet')),
    started: meter.counter(of('proxies_started', 'have begun to listen')),
    stopped: meter.counter(of('proxies_stopped', 'have ended')),
  }
}

/** Not one that speaks HBONE itself, on its own address: a waypoint, or a client with a library of ours. */
function isServed({ networkMode, addresses, nativeTunnel }: Workload): boolean {
  return networkMode === 'Standard' && addresses.length > 0 && !nativeTunnel
}

function sameAddresses(a: Workload, b: Workload): boolean {
  return a.addresses.length === b.addresses.length && a.addresses.every(ip => b.addresses.includes(ip))
}

function describe(workload: Workload): string {
  return `${workload.namespace}/${workload.name}`
}
