/**
 * Which workloads are endpoints of which service. Kept by service name whether or not the service is known, so
 * endpoints that arrive first wait for their service, and a service that comes back finds them again.
 */
import { type Endpoint, type PortMap, type Service, serviceKey, type Workload } from '@ambient/core'

export interface Membership {
  add(workload: Workload): void
  remove(workload: Workload): void
  /** Endpoints under the service's health policy; the same array until something changes. */
  endpoints(service: Service): readonly Endpoint[]
  /** Forgets what was computed for a service, because it changed. */
  invalidate(key: string): void
}

interface Member {
  readonly workload: Workload
  readonly ports: PortMap
}

export function createMembership(): Membership {
  const members = new Map<string, Map<string, Member>>()
  const computed = new Map<string, readonly Endpoint[]>()

  return {
    add(workload) {
      for (const [key, ports] of workload.services) {
        const list = members.get(key) ?? new Map<string, Member>()
        members.set(key, list.set(workload.uid, { workload, ports }))
        computed.delete(key)
      }
    },
    remove(workload) {
      for (const key of workload.services.keys()) {
        const list = members.get(key)
        list?.delete(workload.uid)
        if (list?.size === 0) members.delete(key)
        computed.delete(key)
      }
    },
    endpoints(service) {
      const key = serviceKey(service)
      const known = computed.get(key)
      if (known !== undefined) return known
      const list = healthy(members.get(key), service)
      computed.set(key, list)
      return list
    },
    invalidate: key => void computed.delete(key),
  }
}

function healthy(list: ReadonlyMap<string, Member> | undefined, service: Service): readonly Endpoint[] {
  const all = service.loadBalancer.healthPolicy === 'AllowAll'
  return [...(list?.values() ?? [])].filter(({ workload }) => all || workload.status === 'Healthy')
}
