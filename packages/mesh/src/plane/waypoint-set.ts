/** The waypoints of a mesh: one process for each Gateway of the waypoint class, made and ended with it. */
import { createHash } from 'node:crypto'
import { type GatewayResource, isWaypoint } from '@ambient/discovery'
import { meshDefaults } from '../defaults.ts'
import { podSuffix, stableText } from '../pods/plan.ts'
import { chooseNode } from '../pods/schedule.ts'
import type { ControlPlane, TokenOwner } from './control-plane.ts'
import type { SecretFiles } from './secret-files.ts'
import {
  createWaypointProcess,
  gatewayKey,
  type WaypointHost,
  type WaypointProcess,
} from './waypoint-process.ts'

/** What the set needs from the mesh around it. */
export interface WaypointSetHost extends WaypointHost {
  readonly nodes: readonly string[]
  readonly random: () => number
  readonly rootPem: string
  readonly controlPlane: Pick<ControlPlane, 'issueToken' | 'revokeToken'>
  readonly secrets: Pick<SecretFiles, 'writeProxy' | 'removeProxy'>
  takeAddress(node: string): string
  releaseAddress(address: string): void
  /** Resolves when the proxies know of the last change, or after a while. */
  settled(): Promise<void>
  /** A waypoint came, went or changed its readiness: the control plane has something to say. */
  changed(): void
}

export interface WaypointSet {
  /** Without those that are ending. */
  list(): readonly WaypointProcess[]
  /** Every process that there is. */
  all(): readonly WaypointProcess[]
  /** Resolves when the new ones have their place; the ones that they replace end when they are ready. */
  reconcile(gateways: readonly GatewayResource[]): Promise<void>
  stop(graceMs: number): Promise<void>
}

export function createWaypointSet(host: WaypointSetHost): WaypointSet {
  return new Waypoints(host)
}

class Waypoints implements WaypointSet {
  readonly #host: WaypointSetHost
  readonly #waypoints = new Set<WaypointProcess>()
  readonly #endings = new Set<Promise<void>>()

  constructor(host: WaypointSetHost) {
    this.#host = host
  }

  list(): readonly WaypointProcess[] {
    return [...this.#waypoints].filter(({ ending }) => !ending)
  }

  all(): readonly WaypointProcess[] {
    return [...this.#waypoints]
  }

  async reconcile(gateways: readonly GatewayResource[]): Promise<void> {
    const wanted = new Map(gateways.filter(isWaypoint).map(gateway => [gatewayKey(gateway), gateway]))
    for (const waypoint of this.list()) {
      const gateway = wanted.get(gatewayKey(waypoint.gateway))
      // Under another account it is another waypoint; everything else comes over the wire.
      if (gateway?.spec.serviceAccount === waypoint.gateway.spec.serviceAccount)
        wanted.delete(gatewayKey(waypoint.gateway))
      else this.#end(waypoint)
    }
    for (const gateway of wanted.values()) await this.#add(gateway)
  }

  async stop(graceMs: number): Promise<void> {
    await Promise.all(this.all().map(waypoint => waypoint.stop(graceMs)))
    await Promise.all(this.#endings)
    this.#waypoints.clear()
  }

  async #add(gateway: GatewayResource): Promise<void> {
    const { nodes, random, emit } = this.#host
    const { namespace, name } = gateway.metadata
    const placed = this.list().map(({ node }) => ({ node, set: 'waypoints' }))
    const node = chooseNode(nodes, placed, { set: 'waypoints' }) ?? ''
    const hash = createHash('sha256').update(stableText(gateway.spec)).digest()
    const pod = `${name}-${podSuffix(hash, 9)}-${podSuffix(randomBytes(random), 5)}`
    const owner = ownerOf(gateway, pod)
    const token = this.#host.controlPlane.issueToken(owner)
    const { rootPem } = this.#host
    const files = await this.#host.secrets.writeProxy(`${namespace}.${pod}`, { token, rootPem })
    const address = this.#host.takeAddress(node)
    const waypoint = createWaypointProcess(gateway, { pod, node, address, files }, this.#host, ready => {
      emit({ kind: 'waypoint-ready', waypoint: gatewayKey(gateway), ready })
      this.#host.changed()
    })
    this.#waypoints.add(waypoint)
    waypoint.program.start()
    this.#host.changed()
  }

  #end(waypoint: WaypointProcess): void {
    waypoint.retire()
    const ending = this.#finish(waypoint).finally(() => this.#endings.delete(ending))
    this.#endings.add(ending)
    this.#host.changed()
  }

  /** Nobody may still choose it when it stops listening. */
  async #finish(waypoint: WaypointProcess): Promise<void> {
    const { gateway, pod, address } = waypoint
    await this.#host.settled()
    await waypoint.stop(meshDefaults.restartDrainMs)
    this.#waypoints.delete(waypoint)
    this.#host.controlPlane.revokeToken(ownerOf(gateway, pod))
    await this.#host.secrets.removeProxy(`${gateway.metadata.namespace}.${pod}`)
    this.#host.releaseAddress(address)
    this.#host.emit({ kind: 'waypoint-removed', waypoint: gatewayKey(gateway) })
  }
}

function ownerOf({ metadata, spec }: GatewayResource, pod: string): TokenOwner {
  return {
    kind: 'workload',
    namespace: metadata.namespace,
    serviceAccount: spec.serviceAccount,
    pod,
  }
}

function randomBytes(random: () => number): Uint8Array {
  return Uint8Array.from({ length: 5 }, () => Math.floor(random() * 256))
}
