/** Which workload owns an IP: several may share one, and pods win. */
import type { Workload } from '@ambient/core'

/** Only uids of this form count as pods when an address is shared. */
const POD_UID = '//Pod/'

export interface AddressIndex {
  add(workload: Workload): void
  remove(workload: Workload): void
  find(network: string, ip: string): Workload | undefined
}

export function createAddressIndex(): AddressIndex {
  const owners = new Map<string, Workload[]>()

  return {
    add(workload) {
      for (const key of keysOf(workload)) {
        const list = owners.get(key)
        if (list === undefined) owners.set(key, [workload])
        else list.push(workload)
      }
    },
    remove(workload) {
      for (const key of keysOf(workload)) {
        const rest = owners.get(key)?.filter(other => other.uid !== workload.uid) ?? []
        if (rest.length === 0) owners.delete(key)
        else owners.set(key, rest)
      }
    },
    find: (network, ip) => best(owners.get(`${network}/${ip}`)),
  }
}

/** Host-network workloads share the node's address with others and are found by uid only. */
function keysOf(workload: Workload): string[] {
  if (workload.networkMode === 'HostNetwork') return []
  return workload.addresses.map(ip => `${workload.network}/${ip}`)
}

/** The highest rank; among equals the last one added. */
function best(candidates: readonly Workload[] | undefined): Workload | undefined {
  let found: Workload | undefined
  for (const candidate of candidates ?? [])
    if (found === undefined || rank(candidate) >= rank(found)) found = candidate
  return found
}

function rank(workload: Workload): number {
  return (workload.uid.includes(POD_UID) ? 2 : 0) + (workload.protocol === 'HBONE' ? 1 : 0)
}
