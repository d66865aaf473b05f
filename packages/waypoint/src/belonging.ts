/**
 * Who is behind this waypoint, with allowance for news that travel: the ztunnel of a caller hears a little earlier or a
 * little later than we do that a service came to us or left.
 */
import type { Clock, Directory, DirectoryChange, Service, Workload } from '@ambient/core'
import { serviceKey } from '@ambient/core'
import { hallLimits } from './limits.ts'
import { type OwnGateway, servesService, servesWorkload } from './served.ts'

/** A directory that can say at the start what it knows already. */
export interface ListedDirectory extends Directory {
  snapshot(): { readonly services: readonly Service[]; readonly workloads: readonly Workload[] }
}

export interface Belonging {
  /** It is not behind this waypoint, but was a moment ago. `key`: of a service, or the uid of a workload. */
  leftJustNow(key: string): boolean
  /** Resolves at the directory's next change; `false` when there was none in time. */
  news(options: { readonly forMs: number; readonly signal: AbortSignal }): Promise<boolean>
  close(): void
}

export function createBelonging(options: {
  readonly directory: ListedDirectory
  readonly gateway: OwnGateway
  readonly clock: Clock
}): Belonging {
  const { directory, gateway, clock } = options
  const served = new Set<string>()
  const left = new Map<string, number>()
  const waiting = new Set<(isNews: boolean) => void>()
  const gatewayKey = serviceKey(gateway)

  const look = (key: string, known: boolean, isServed: boolean): void => {
    if (isServed) {
      served.add(key)
      left.delete(key)
    } else if (served.delete(key) && known) {
      left.set(key, clock.monotonic() + hallLimits.departureMs)
    }
    if (!known) left.delete(key)
  }
  const lookAtService = (service: Service | undefined, key: string): void =>
    look(key, service !== undefined, service !== undefined && servesService(service, gateway, directory))
  const lookAtWorkload = (workload: Workload | undefined, uid: string): void =>
    look(uid, workload !== undefined, workload !== undefined && servesWorkload(workload, gateway, directory))
  const lookAtAll = (): void => {
    const { services, workloads } = directory.snapshot()
    for (const service of services) lookAtService(service, serviceKey(service))
    for (const workload of workloads) lookAtWorkload(workload, workload.uid)
  }
  const onChange = (change: DirectoryChange): void => {
    const now = clock.monotonic()
    for (const [key, until] of left) if (until <= now) left.delete(key)
    for (const key of change.services) lookAtService(find(directory, key), key)
    for (const uid of change.workloads) lookAtWorkload(directory.workload(uid), uid)
    // Who refers to us by the address of our own service is ours, or is not, with that service.
    if (change.services.includes(gatewayKey)) lookAtAll()
    for (const settle of [...waiting]) settle(true)
  }
  lookAtAll()
  const unwatch = directory.watch(onChange)
  return {
    leftJustNow: key => (left.get(key) ?? 0) > clock.monotonic(),
    news: options => nextNews(waiting, clock, options),
    close() {
      unwatch()
      for (const settle of [...waiting]) settle(false)
    },
  }
}

function find(directory: Directory, key: string): Service | undefined {
  const slash = key.indexOf('/')
  return directory.service(key.slice(0, slash), key.slice(slash + 1))
}

function nextNews(
  waiting: Set<(isNews: boolean) => void>,
  clock: Clock,
  { forMs, signal }: { readonly forMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  if (signal.aborted || forMs <= 0) return Promise.resolve(false)
  return new Promise(resolve => {
    const settle = (isNews: boolean): void => {
      waiting.delete(settle)
      signal.removeEventListener('abort', onAbort)
      timer.cancel()
      resolve(isNews)
    }
    const onAbort = (): void => settle(false)
    const timer = clock.after(forMs, onAbort)
    signal.addEventListener('abort', onAbort)
    waiting.add(settle)
  })
}
