/** Which service owns a virtual IP, as seen from a namespace: exact addresses first, then blocks. */
import { type Cidr, cidrContains, ipToBytes, parseCidr, type Service, serviceKey } from '@ambient/core'

interface Block {
  readonly service: Service
  readonly cidr: Cidr
}

export interface VipIndex {
  add(service: Service): void
  remove(service: Service): void
  find(network: string, ip: string, fromNamespace: string): Service | undefined
}

export function createVipIndex(): VipIndex {
  const exact = new Map<string, Service[]>()
  const blocks = new Map<string, Block[]>()

  return {
    add(service) {
      for (const { network, ip } of service.vips) push(exact, `${network}/${ip}`, service)
      for (const { network, cidr } of service.cidrVips)
        push(blocks, network, { service, cidr: parseCidr(cidr) })
    },
    remove(service) {
      const key = serviceKey(service)
      for (const { network, ip } of service.vips)
        drop(exact, `${network}/${ip}`, other => serviceKey(other) === key)
      for (const { network } of service.cidrVips)
        drop(blocks, network, other => serviceKey(other.service) === key)
    },
    find(network, ip, from) {
      return (
        pickService(exact.get(`${network}/${ip}`) ?? [], from) ??
        pickBlock(blocks.get(network) ?? [], ip, from)
      )
    },
  }
}

/** A NAMESPACE-visible service exists for its own namespace only. */
export function isVisible(service: Service, fromNamespace: string): boolean {
  return service.visibility === 'Public' || service.namespace === fromNamespace
}

/** Of services that share a VIP or a name: the asker's own, else the last canonical one, else the first. */
export function pickService(candidates: readonly Service[], fromNamespace: string): Service | undefined {
  let first: Service | undefined
  let canonical: Service | undefined
  for (const service of candidates) {
    if (!isVisible(service, fromNamespace)) continue
    if (service.namespace === fromNamespace) return service
    if (service.canonical) canonical = service
    first ??= service
  }
  return canonical ?? first
}

/** Of blocks: the asker's own namespace, then the longest prefix, then a canonical service. */
function pickBlock(candidates: readonly Block[], ip: string, fromNamespace: string): Service | undefined {
  const bytes = candidates.length === 0 ? undefined : ipToBytes(ip)
  if (bytes === undefined) return undefined
  let best: Block | undefined
  for (const block of candidates) {
    if (!isVisible(block.service, fromNamespace) || !cidrContains(block.cidr, bytes)) continue
    if (best === undefined || blockRank(block, fromNamespace) > blockRank(best, fromNamespace)) best = block
  }
  return best?.service
}

/** Prefixes have at most 128 bits, so the three criteria fit one number. */
function blockRank({ service, cidr }: Block, fromNamespace: string): number {
  const own = service.namespace === fromNamespace ? 1 : 0
  return own * 1024 + cidr.prefixLength * 2 + (service.canonical ? 1 : 0)
}

function push<T>(into: Map<string, T[]>, key: string, value: T): void {
  const list = into.get(key)
  if (list === undefined) into.set(key, [value])
  else list.push(value)
}

function drop<T>(from: Map<string, T[]>, key: string, isGone: (value: T) => boolean): void {
  const rest = from.get(key)?.filter(value => !isGone(value)) ?? []
  if (rest.length === 0) from.delete(key)
  else from.set(key, rest)
}
