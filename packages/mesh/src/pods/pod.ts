/** One running pod: its programs on its address, and whether they are ready. */
import type { Clock } from '@ambient/core'
import type { EventSource, MeshListener } from '../events.ts'
import type { Reaper } from '../process/reaper.ts'
import { type Program, superviseProgram } from '../process/supervise.ts'
import { podEnvironment, programOf } from './environment.ts'
import { resolveVariables } from './variables.ts'
import { type ContainerPlan, expandVariables, type WorkloadPlan } from './plan.ts'
import { type ReadinessProbe, startReadinessProbe } from './readiness.ts'

/** What a pod is given by the machine it runs on. */
export interface PodHost {
  /** The manifests' folder: programs start there. */
  readonly folder: string
  readonly capture: string
  readonly execPath: string
  readonly environment: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly reaper: Reaper
  readonly emit: MeshListener
  /** Resolves when the node's proxy listens for the pod: no program runs without its capture. */
  readonly awaitProxy: (pod: Pod, signal: AbortSignal) => Promise<void>
  /** Rejects when somebody else listens on the port. */
  readonly assertPortFree: (address: string, port: number, what: string) => Promise<void>
}

export interface PodPlacement {
  readonly name: string
  readonly node: string
  readonly address: string
  readonly secret: string
  readonly uid: string
  /** Of its node. */
  readonly hostAddress: string
}

export interface Pod extends PodPlacement {
  readonly plan: WorkloadPlan
  readonly ready: boolean
  /** Set while it ends; it takes no more traffic. */
  readonly ending: boolean
  /** Milliseconds since 1970. */
  readonly createdAt: number
  /** As the CNI would annotate it. Kept here by whoever enrols. */
  enrolled: boolean
  readonly programs: readonly Program[]
  /** Of a container's programs, by container; the first one's when none is named. */
  environment(container?: string): Record<string, string>
  start(): void
  stop(graceMs: number): Promise<void>
}

/** @param onReadiness called after `ready` changed. */
export function createPod(
  plan: WorkloadPlan,
  placement: PodPlacement,
  host: PodHost,
  onReadiness: (pod: Pod) => void,
): Pod {
  return new RunningPod(plan, placement, host, onReadiness)
}

class RunningPod implements Pod {
  readonly plan: WorkloadPlan
  readonly name: string
  readonly node: string
  readonly address: string
  readonly secret: string
  readonly uid: string
  readonly hostAddress: string
  readonly createdAt: number
  readonly #host: PodHost
  readonly #onReadiness: (pod: Pod) => void
  readonly #containers: readonly Container[]
  ending = false
  enrolled = false

  constructor(plan: WorkloadPlan, placement: PodPlacement, host: PodHost, onReadiness: (pod: Pod) => void) {
    this.plan = plan
    this.name = placement.name
    this.node = placement.node
    this.address = placement.address
    this.secret = placement.secret
    this.uid = placement.uid
    this.hostAddress = placement.hostAddress
    this.createdAt = host.clock.now()
    this.#host = host
    this.#onReadiness = onReadiness
    this.#containers = plan.template.containers
      .filter(container => container.argv.length > 0)
      .map(container => new Container(container, this, host, () => this.#onReadiness(this)))
  }

  get ready(): boolean {
    return !this.ending && this.#containers.every(container => container.ready)
  }

  get programs(): readonly Program[] {
    return this.#containers.map(container => container.program)
  }

  environment(container?: string): Record<string, string> {
    const plans = this.plan.template.containers
    const plan = container === undefined ? plans[0] : plans.find(({ name }) => name === container)
    return podEnvironment({
      ...this.#host,
      base: this.#host.environment,
      name: this.name,
      namespace: this.plan.namespace,
      address: this.address,
      secret: this.secret,
      container: resolveVariables(plan?.env ?? [], this),
    })
  }

  start(): void {
    for (const { program } of this.#containers) program.start()
  }

  async stop(graceMs: number): Promise<void> {
    if (!this.ending) {
      this.ending = true
      this.#onReadiness(this)
    }
    await Promise.all(this.#containers.map(container => container.stop(graceMs)))
  }
}

/** One container: a program and the probe that follows it. */
class Container {
  readonly program: Program
  readonly #plan: ContainerPlan
  readonly #pod: Pod
  readonly #host: PodHost
  readonly #changed: () => void
  #probe: ReadinessProbe | undefined
  ready = false

  constructor(plan: ContainerPlan, pod: Pod, host: PodHost, changed: () => void) {
    this.#plan = plan
    this.#pod = pod
    this.#host = host
    this.#changed = changed
    const source: EventSource = {
      kind: 'pod',
      name: `${pod.plan.namespace}/${pod.name}`,
      ...(pod.plan.template.containers.length > 1 ? { container: plan.name } : {}),
    }
    const env = pod.environment(plan.name)
    this.program = superviseProgram({
      argv: programOf(plan.argv, host.execPath).map(word => expandVariables(word, env)),
      cwd: plan.workingDir ?? host.folder,
      env,
      restart: pod.plan.template.restart,
      clock: host.clock,
      reaper: host.reaper,
      before: signal => this.#before(signal),
      events: {
        started: pid => {
          host.emit({ kind: 'started', source, pid })
          this.#started()
        },
        line: (stream, line) => host.emit({ kind: 'output', source, stream, line }),
        exited: exit => {
          this.#ended()
          host.emit({ kind: 'exited', source, ...exit })
        },
      },
    })
  }

  async stop(graceMs: number): Promise<void> {
    this.#probe?.stop()
    await this.program.stop(graceMs)
  }

  async #before(signal: AbortSignal): Promise<void> {
    await this.#host.awaitProxy(this.#pod, signal)
    for (const { port } of this.#plan.ports)
      await this.#host.assertPortFree(this.#pod.address, port, `${this.#pod.name}`)
  }

  #started(): void {
    const { readiness } = this.#plan
    if (readiness === undefined) return this.#setReady(true)
    this.#probe = startReadinessProbe({
      plan: readiness,
      address: this.#pod.address,
      clock: this.#host.clock,
      onChange: ready => this.#setReady(ready),
    })
  }

  #ended(): void {
    this.#probe?.stop()
    this.#probe = undefined
    this.#setReady(false)
  }

  #setReady(ready: boolean): void {
    if (this.ready === ready) return
    this.ready = ready
    this.#changed()
  }
}
