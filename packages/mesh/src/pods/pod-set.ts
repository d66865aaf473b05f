/** The pods of a mesh: makes them what the plans say, and touches none that is as wanted. */
import { randomUUID } from 'node:crypto'
import { MeshError } from '../errors.ts'
import { createPod, type Pod, type PodHost } from './pod.ts'
import { planKey, podName, type WorkloadPlan } from './plan.ts'
import { chooseNode } from './schedule.ts'

/** What the set needs from the mesh around it. */
export interface PodSetHost extends PodHost {
  readonly nodes: readonly string[]
  readonly random: () => number
  takeAddress(node: string): string
  releaseAddress(address: string): void
  nodeAddress(node: string): string
  /** Makes the secret that proves a pod to its node's proxy, where the proxy finds it. */
  grantSecret(pod: { namespace: string; name: string; node: string }): Promise<string>
  revokeSecret(pod: { namespace: string; name: string; node: string }): Promise<void>
  /** After pods came or went, or one's readiness changed: the control plane has something to say. */
  changed(): void
}

export interface Reconciled {
  readonly started: readonly string[]
  readonly ended: readonly string[]
}

export interface PodSet {
  list(): readonly Pod[]
  /** Resolves as soon as the new pods have their place; what they replace ends when they are ready. */
  reconcile(plans: readonly WorkloadPlan[]): Promise<Reconciled>
  /**
   * A pod whose program somebody else runs; resolves when its node's proxy listens for it. It stays until it is left.
   * @throws MeshError `AMBIENT_E_MESH_OPTIONS` when there is one of this name; the signal's reason
   */
  join(plan: WorkloadPlan, signal: AbortSignal): Promise<Pod>
  leave(pod: Pod): Promise<void>
  stop(graceMs: number): Promise<void>
}

export function createPodSet(host: PodSetHost): PodSet {
  return new Pods(host)
}

class Pods implements PodSet {
  readonly #host: PodSetHost
  readonly #pods = new Set<Pod>()
  /** Pods that end when the newer pods of their set are ready. */
  readonly #outdated = new Set<Pod>()
  /** Pods that no manifest asks for. */
  readonly #joined = new Set<Pod>()
  readonly #endings = new Set<Promise<void>>()
  #placing: Promise<unknown> = Promise.resolve()
  #stopped = false

  constructor(host: PodSetHost) {
    this.#host = host
  }

  list(): readonly Pod[] {
    return [...this.#pods]
  }

  async reconcile(plans: readonly WorkloadPlan[]): Promise<Reconciled> {
    const started: Pod[] = []
    const ended: Pod[] = []
    const wanted = new Map(plans.map(plan => [planKey(plan), plan]))
    for (const pod of this.#wanted()) {
      const plan = wanted.get(planKey(pod.plan))
      if (plan === undefined) ended.push(pod)
      else if (plan.hash !== pod.plan.hash) {
        this.#outdated.add(pod)
        ended.push(pod)
      }
    }
    for (const pod of ended) {
      // A bare pod keeps its name, so there cannot be two.
      if (pod.plan.kind === 'Pod' && this.#outdated.has(pod)) await this.#finish(pod)
      else if (!this.#outdated.has(pod)) void this.#finish(pod)
    }
    for (const plan of plans) await this.#scale(plan, started, ended)
    if (started.length > 0) this.#host.changed()
    for (const pod of started) pod.start()
    this.#retireOutdated()
    return { started: started.map(fullName), ended: ended.map(fullName) }
  }

  async join(plan: WorkloadPlan, signal: AbortSignal): Promise<Pod> {
    const pod = await this.#placeJoined(plan)
    this.#joined.add(pod)
    this.#host.changed()
    try {
      await this.#host.awaitProxy(pod, signal)
    } catch (error) {
      await this.leave(pod)
      throw error
    }
    return pod
  }

  /** One after the other: each looks at the places that are taken. */
  #placeJoined(plan: WorkloadPlan): Promise<Pod> {
    const placed = this.#placing.then(() => this.#placeNew(plan))
    this.#placing = placed.catch(() => {})
    return placed
  }

  async #placeNew(plan: WorkloadPlan): Promise<Pod> {
    const { namespace, name } = plan
    if ([...this.#pods].some(pod => fullName(pod) === `${namespace}/${name}`))
      throw new MeshError('AMBIENT_E_MESH_OPTIONS', `there is a pod ${namespace}/${name} already`)
    const pod = await this.#place(plan)
    if (pod === undefined) throw new MeshError('AMBIENT_E_MESH_NOT_FOUND', 'there is no node for it')
    return pod
  }

  async leave(pod: Pod): Promise<void> {
    if (this.#joined.delete(pod)) await this.#finish(pod)
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#pods].map(pod => pod.stop(graceMs)))
    await Promise.all(this.#endings)
    this.#pods.clear()
  }

  #live(): readonly Pod[] {
    return [...this.#pods].filter(pod => !pod.ending && !this.#outdated.has(pod))
  }

  /** Live pods that are there for a manifest. */
  #wanted(): readonly Pod[] {
    return this.#live().filter(pod => !this.#joined.has(pod))
  }

  async #scale(plan: WorkloadPlan, started: Pod[], ended: Pod[]): Promise<void> {
    const present = this.#wanted().filter(pod => planKey(pod.plan) === planKey(plan))
    for (const pod of present.slice(plan.replicas)) {
      ended.push(pod)
      void this.#finish(pod)
    }
    for (let missing = plan.replicas - present.length; missing > 0; missing--) {
      const pod = await this.#place(plan)
      if (pod !== undefined) started.push(pod)
    }
  }

  async #place(plan: WorkloadPlan): Promise<Pod | undefined> {
    const { nodes, emit, random } = this.#host
    const set = planKey(plan)
    const placed = this.#live().map(pod => ({ node: pod.node, set: planKey(pod.plan) }))
    const asked = plan.template.node
    const node = chooseNode(nodes, placed, { set, ...(asked === undefined ? {} : { node: asked }) })
    const name = podName(plan, random)
    if (node === undefined) {
      emit({
        kind: 'warning',
        message: `${plan.namespace}/${name} asks for node ${asked}, which is none of ${nodes.join(', ')}: it does not run`,
      })
      return undefined
    }
    const address = this.#host.takeAddress(node)
    const secret = await this.#host.grantSecret({ namespace: plan.namespace, name, node })
    const hostAddress = this.#host.nodeAddress(node)
    const placement = { name, node, address, secret, hostAddress, uid: randomUUID() }
    const pod = createPod(plan, placement, this.#host, changed => {
      emit({ kind: 'pod-ready', pod: fullName(changed), ready: changed.ready })
      this.#host.changed()
      this.#retireOutdated()
    })
    this.#pods.add(pod)
    return pod
  }

  /** Ends outdated pods whose set has all its newer pods ready. */
  #retireOutdated(): void {
    if (this.#stopped) return
    for (const pod of [...this.#outdated]) {
      const newer = this.#live().filter(other => planKey(other.plan) === planKey(pod.plan))
      if (newer.length > 0 && newer.every(other => other.ready)) void this.#finish(pod)
    }
  }

  #finish(pod: Pod): Promise<void> {
    this.#outdated.delete(pod)
    const ending = this.#end(pod).finally(() => this.#endings.delete(ending))
    this.#endings.add(ending)
    return ending
  }

  async #end(pod: Pod): Promise<void> {
    await pod.stop(pod.plan.template.graceMs)
    this.#pods.delete(pod)
    await this.#host.revokeSecret({ namespace: pod.plan.namespace, name: pod.name, node: pod.node })
    this.#host.releaseAddress(pod.address)
    this.#host.emit({ kind: 'pod-removed', pod: fullName(pod) })
    this.#host.changed()
  }
}

/** `namespace/pod`. */
export function fullName(pod: Pod): string {
  return `${pod.plan.namespace}/${pod.name}`
}

/**
 * By `namespace/pod`, pod, `namespace/deployment` or deployment; of several the first.
 * @throws MeshError `AMBIENT_E_MESH_NOT_FOUND`
 */
export function findPod(pods: readonly Pod[], wanted: string): Pod {
  const live = pods.filter(pod => !pod.ending)
  const names = (pod: Pod): readonly string[] => [
    fullName(pod),
    pod.name,
    `${pod.plan.namespace}/${pod.plan.name}`,
    pod.plan.name,
  ]
  const found = live.find(pod => names(pod).includes(wanted))
  if (found !== undefined) return found
  const known = live.map(fullName).join(', ')
  throw new MeshError('AMBIENT_E_MESH_NOT_FOUND', `there is no pod ${wanted}; there are: ${known || 'none'}`)
}
