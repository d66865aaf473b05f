/** The map room in memory: what a discovery source delivered, indexed for the data path. */
import {
  canonicalIp,
  type Directory,
  type DirectoryChange,
  messageOf,
  parseCidr,
  type Service,
  serviceKey,
  type Workload,
} from '@ambient/core'
import { createAddressIndex } from './address-index.ts'
import { createMembership } from './membership.ts'
import { createVipIndex, pickService } from './vip-index.ts'

/** One batch: upserts first, in order, then removals. */
export interface DirectoryUpdate {
  readonly workloads?: readonly Workload[]
  readonly services?: readonly Service[]
  /** A workload's uid or a service's `namespace/hostname`; unknown names are ignored. */
  readonly remove?: readonly string[]
}

/** A resource of a batch that was left out, the rest being applied. */
export interface ResourceProblem {
  readonly name: string
  readonly reason: string
}

/** Everything that a directory holds, sorted by key. */
export interface DirectorySnapshot {
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
}

export interface WritableDirectory extends Directory {
  /** Applies a batch and tells the watchers once. Resources with an address that is no IP are left out. */
  apply(update: DirectoryUpdate): readonly ResourceProblem[]
  /** The same, with everything removed that is not in the batch. */
  replace(all: Omit<DirectoryUpdate, 'remove'>): readonly ResourceProblem[]
  /** The workloads of `localNode`, all when it was not given. */
  localWorkloads(): readonly Workload[]
  snapshot(): DirectorySnapshot
}

export interface DirectoryOptions {
  /** The node whose workloads are local. */
  readonly localNode?: string
}

export function createDirectory(options: DirectoryOptions = {}): WritableDirectory {
  return new MemoryDirectory(options.localNode ?? '')
}

class MemoryDirectory implements WritableDirectory {
  readonly #localNode: string
  readonly #workloads = new Map<string, Workload>()
  readonly #services = new Map<string, Service>()
  readonly #byNode = new Map<string, Map<string, Workload>>()
  readonly #byHostname = new Map<string, Map<string, Service>>()
  readonly #addresses = createAddressIndex()
  readonly #vips = createVipIndex()
  readonly #membership = createMembership()
  readonly #listeners = new Set<(change: DirectoryChange) => void>()

  constructor(localNode: string) {
    this.#localNode = localNode
  }

  workload(uid: string): Workload | undefined {
    return this.#workloads.get(uid)
  }

  workloadByAddress(network: string, ip: string): Workload | undefined {
    return this.#addresses.find(network, ip)
  }

  workloadsOnNode(node: string): readonly Workload[] {
    if (node === '') return [...this.#workloads.values()]
    return [...(this.#byNode.get(node)?.values() ?? [])]
  }

  localWorkloads(): readonly Workload[] {
    return this.workloadsOnNode(this.#localNode)
  }

  serviceByVip(network: string, ip: string, fromNamespace: string): Service | undefined {
    return this.#vips.find(network, ip, fromNamespace)
  }

  serviceByHostname(hostname: string, fromNamespace: string): Service | undefined {
    return pickService([...(this.#byHostname.get(hostname)?.values() ?? [])], fromNamespace)
  }

  service(namespace: string, hostname: string): Service | undefined {
    return this.#services.get(serviceKey({ namespace, hostname }))
  }

  endpoints(service: Service) {
    const current = this.#services.get(serviceKey(service))
    return current === undefined ? [] : this.#membership.endpoints(current)
  }

  watch(listener: (change: DirectoryChange) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  apply(update: DirectoryUpdate): readonly ResourceProblem[] {
    const problems: ResourceProblem[] = []
    const workloads = new Set<string>()
    const services = new Set<string>()
    for (const workload of update.workloads ?? [])
      if (accept(problems, workload.uid, () => checkWorkload(workload))) {
        this.#putWorkload(workload)
        workloads.add(workload.uid)
      }
    for (const service of update.services ?? [])
      if (accept(problems, serviceKey(service), () => checkService(service))) {
        this.#putService(service)
        services.add(serviceKey(service))
      }
    for (const name of update.remove ?? []) {
      if (this.#dropWorkload(name)) workloads.add(name)
      else if (this.#dropService(name)) services.add(name)
    }
    this.#notify({ workloads: [...workloads], services: [...services] })
    return problems
  }

  replace(all: Omit<DirectoryUpdate, 'remove'>): readonly ResourceProblem[] {
    const kept = new Set([
      ...(all.workloads ?? []).map(workload => workload.uid),
      ...(all.services ?? []).map(serviceKey),
    ])
    const remove = [...this.#workloads.keys(), ...this.#services.keys()].filter(name => !kept.has(name))
    return this.apply({ ...all, remove })
  }

  snapshot(): DirectorySnapshot {
    return { workloads: sorted(this.#workloads), services: sorted(this.#services) }
  }

  #putWorkload(workload: Workload): void {
    this.#dropWorkload(workload.uid)
    this.#workloads.set(workload.uid, workload)
    this.#addresses.add(workload)
    this.#membership.add(workload)
    put(this.#byNode, workload.node, workload.uid, workload)
  }

  #dropWorkload(uid: string): boolean {
    const old = this.#workloads.get(uid)
    if (old === undefined) return false
    this.#workloads.delete(uid)
    this.#addresses.remove(old)
    this.#membership.remove(old)
    drop(this.#byNode, old.node, uid)
    return true
  }

  #putService(service: Service): void {
    const key = serviceKey(service)
    this.#dropService(key)
    this.#services.set(key, service)
    this.#vips.add(service)
    put(this.#byHostname, service.hostname, key, service)
  }

  #dropService(key: string): boolean {
    const old = this.#services.get(key)
    if (old === undefined) return false
    this.#services.delete(key)
    this.#vips.remove(old)
    this.#membership.invalidate(key)
    drop(this.#byHostname, old.hostname, key)
    return true
  }

  #notify(change: DirectoryChange): void {
    if (change.workloads.length === 0 && change.services.length === 0) return
    for (const listener of [...this.#listeners]) listener(change)
  }
}

function accept(problems: ResourceProblem[], name: string, check: () => string | undefined): boolean {
  const reason = name === '' ? 'the resource has no name' : check()
  if (reason !== undefined) problems.push({ name, reason })
  return reason === undefined
}

/** Look-ups compare text, so only canonical text may be stored. */
function checkWorkload(workload: Workload): string | undefined {
  const bad = workload.addresses.find(ip => canonicalIp(ip) !== ip)
  return bad === undefined ? undefined : `${JSON.stringify(bad)} is not a canonical IP address`
}

function checkService(service: Service): string | undefined {
  const bad = service.vips.find(({ ip }) => canonicalIp(ip) !== ip)
  if (bad !== undefined) return `${JSON.stringify(bad.ip)} is not a canonical IP address`
  try {
    for (const { cidr } of service.cidrVips) parseCidr(cidr)
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function put<T>(into: Map<string, Map<string, T>>, outer: string, inner: string, value: T): void {
  const list = into.get(outer)
  if (list === undefined) into.set(outer, new Map([[inner, value]]))
  else list.set(inner, value)
}

function drop<T>(from: Map<string, Map<string, T>>, outer: string, inner: string): void {
  const list = from.get(outer)
  list?.delete(inner)
  if (list?.size === 0) from.delete(outer)
}

function sorted<T>(from: ReadonlyMap<string, T>): readonly T[] {
  return [...from].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)
}
