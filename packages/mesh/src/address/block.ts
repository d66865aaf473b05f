/**
 * The addresses of one mesh: a random block 127.R.0.0/16 that nobody else on this machine uses.
 *
 * | addresses | for |
 * |---|---|
 * | 127.R.0.1 … | nodes: their proxies' admin, stats and readiness |
 * | 127.R.0.253, .254 | the relay between nodes, the control plane |
 * | 127.R.(10+node).1 … | pods |
 * | 127.R.200.1 … | Services |
 */
import { MeshError } from '../errors.ts'

const FIRST_BLOCK = 16
const LAST_BLOCK = 250
const FIRST_POD_OCTET = 10
const SERVICE_OCTET = 200
const LAST_HOST = 252

export interface AddressBlock {
  /** R in 127.R.0.0/16. */
  readonly block: number
  readonly cidr: string
  readonly controlPlane: string
  readonly relay: string
  /** By index, from 0. */
  node(index: number): string
  /** The next free pod address of a node; addresses are used again only after the others. */
  takePod(nodeIndex: number): string
  releasePod(address: string): void
  /** The same address for the same key, for the life of the mesh. */
  serviceAddress(key: string): string
}

export function createAddressBlock(block: number): AddressBlock {
  const pods = new Map<number, HostCursor>()
  const services = new Map<string, string>()
  const serviceHosts = new HostCursor()
  const prefix = `127.${block}`
  return {
    block,
    cidr: `${prefix}.0.0/16`,
    controlPlane: `${prefix}.0.254`,
    relay: `${prefix}.0.253`,
    node: index => `${prefix}.0.${index + 1}`,
    takePod(nodeIndex) {
      const cursor = pods.get(nodeIndex) ?? new HostCursor()
      pods.set(nodeIndex, cursor)
      return `${prefix}.${FIRST_POD_OCTET + nodeIndex}.${cursor.take(`pods of node ${nodeIndex + 1}`)}`
    },
    releasePod(address) {
      const [, , octet, host] = address.split('.').map(Number)
      pods.get((octet ?? 0) - FIRST_POD_OCTET)?.release(host ?? 0)
    },
    serviceAddress(key) {
      const known = services.get(key)
      if (known !== undefined) return known
      const address = `${prefix}.${SERVICE_OCTET}.${serviceHosts.take('Services')}`
      services.set(key, address)
      return address
    },
  }
}

/** Every block once, in random order: two meshes that start together rarely meet. */
export function blockCandidates(random: () => number): number[] {
  const blocks = Array.from({ length: LAST_BLOCK - FIRST_BLOCK + 1 }, (_, index) => FIRST_BLOCK + index)
  return blocks
    .map(block => ({ block, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ block }) => block)
}

class HostCursor {
  readonly #used = new Set<number>()
  #last = 0

  take(what: string): number {
    for (let step = 1; step <= LAST_HOST; step++) {
      const host = ((this.#last + step - 1) % LAST_HOST) + 1
      if (this.#used.has(host)) continue
      this.#used.add(host)
      this.#last = host
      return host
    }
    throw new MeshError('AMBIENT_E_MESH_ADDRESSES', `all ${LAST_HOST} addresses for the ${what} are in use`)
  }

  release(host: number): void {
    this.#used.delete(host)
  }
}
