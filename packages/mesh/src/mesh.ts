/** A whole ambient mesh on this machine, as one object: control plane, a ztunnel per node, the workloads' programs. */
import { messageOf, parseSpiffeId, workloadSpiffeId } from '@ambient/core'
import { readManifestFolder, watchManifestFolder } from '@ambient/discovery'
import { createCertificateRequest } from '@ambient/identity'
import { createExpiryTimer, type ExpiryTimer, formatProblem, type Problem } from '@ambient/policy'
import type { IssuedIdentity, Mesh } from './contract.ts'
import { type Configuration, createConfiguration, type ManifestText } from './configuration.ts'
import { meshDefaults } from './defaults.ts'
import { MeshError } from './errors.ts'
import type { MeshEvent, MeshListener } from './events.ts'
import { type MeshOptions, type ResolvedMeshOptions, resolveOptions } from './options.ts'
import { type ControlServer, startControlServer } from './control/server.ts'
import type { JoinRequest, MeshStatus } from './control/types.ts'
import { joinMesh } from './join/join-mesh.ts'
import type { JoinedWorkload } from './join/joined-workload.ts'
import { podFacts, proxyStatuses, waypointStatuses } from './plane/status.ts'
import { ztunnelFiles } from './plane/node-proxy.ts'
import { gatewayKey } from './plane/waypoint-process.ts'
import { awaitReady } from './pods/await-ready.ts'
import { endParts, type Parts, startParts } from './parts.ts'
import { programOf } from './pods/environment.ts'
import type { Pod } from './pods/pod.ts'
import { findPod, fullName } from './pods/pod-set.ts'
import { type ExecOptions, execute, type Execution } from './process/exec.ts'
import type { Relay } from './relay.ts'
import {
  describeNode,
  describePod,
  describeWaypoint,
  findWaypoint,
  type MeshNode,
  type MeshPod,
  type MeshWaypoint,
} from './views.ts'

/**
 * Makes a mesh; nothing happens before `start`.
 * @throws MeshError `AMBIENT_E_MESH_OPTIONS`
 */
export function createMesh(options: MeshOptions): Mesh {
  return new LocalMesh(resolveOptions(options))
}

class LocalMesh implements Mesh {
  readonly #options: ResolvedMeshOptions
  readonly #listeners = new Set<MeshListener>()
  readonly #executions = new Set<Execution>()
  readonly #closing = new AbortController()
  readonly #configuration: Configuration
  #parts: { -readonly [Name in keyof Parts]?: Parts[Name] } = {}
  #control: ControlServer | undefined
  #watch: { close(): Promise<void> } | undefined
  /** Settles when nothing more is being made. */
  #starting: Promise<void> = Promise.resolve()
  #started: Promise<void> | undefined
  #closed: Promise<void> | undefined
  /** Configurations are applied one after the other. */
  #applying: Promise<void> = Promise.resolve()
  #publishing = false
  readonly #expiry: ExpiryTimer

  constructor(options: ResolvedMeshOptions) {
    this.#options = options
    this.#expiry = createExpiryTimer(options.clock, () => this.#publishSoon())
    this.#listeners.add(options.onEvent)
    this.#configuration = createConfiguration(options)
  }

  get folder(): string {
    return this.#options.manifests
  }

  get cidr(): string {
    return this.#parts.block?.cidr ?? ''
  }

  get nodes(): readonly MeshNode[] {
    return (this.#parts.proxies ?? []).map(describeNode)
  }

  ztunnel(node: string): MeshNode {
    const found = this.nodes.find(({ name }) => name === node)
    if (found !== undefined) return found
    const known = this.#options.nodes.join(', ')
    throw new MeshError('AMBIENT_E_MESH_NOT_FOUND', `there is no node ${node}; there are: ${known}`)
  }

  get waypoints(): readonly MeshWaypoint[] {
    return (this.#parts.waypoints?.list() ?? []).map(describeWaypoint)
  }

  waypoint(name: string): MeshWaypoint {
    return describeWaypoint(findWaypoint(this.#parts.waypoints?.list() ?? [], name))
  }

  get pods(): readonly MeshPod[] {
    return (this.#parts.pods?.list() ?? []).filter(pod => !pod.ending).map(describePod)
  }

  pod(name: string): MeshPod {
    return describePod(findPod(this.#parts.pods?.list() ?? [], name))
  }

  get relay(): Relay | undefined {
    return this.#parts.relay
  }

  get controlPlane(): Mesh['controlPlane'] {
    const { controlPlane, ca } = this.#parts
    return {
      url: controlPlane?.url ?? '',
      rootPem: ca?.rootPem ?? '',
      clients: () => controlPlane?.clients() ?? [],
    }
  }

  get problems(): readonly Problem[] {
    return this.#configuration.problems
  }

  get generation(): number {
    return this.#configuration.generation
  }

  start(): Promise<void> {
    if (this.#started === undefined) {
      this.#starting = this.#start()
      this.#started = this.#starting.catch(async error => {
        await this.close()
        throw error
      })
    }
    return this.#started
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.graceMs ?? meshDefaults.closeGraceMs)
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async synced(signal?: AbortSignal): Promise<void> {
    await this.#applying
    if (this.#publishing) this.#publish()
    const proxies = this.#options.nodes.length + this.#mustRun('waypoints').list().length
    await this.#mustRun('controlPlane').synced(proxies, signal)
  }

  async status(): Promise<MeshStatus> {
    const { folder, cidr, generation, problems } = this
    const [plane, block] = [this.#mustRun('controlPlane'), this.#mustRun('block')]
    const waypoints = this.#mustRun('waypoints').list()
    const gateways = this.#configuration.waypoints
    return {
      folder,
      cidr,
      generation,
      problems,
      proxies: await proxyStatuses(plane, this.#mustRun('proxies'), waypoints),
      waypoints: waypointStatuses(gateways, waypoints, key => block.serviceAddress(key)),
      pods: podFacts(this.#mustRun('pods').list()),
    }
  }

  join(request: JoinRequest, signal: AbortSignal = this.#closing.signal): Promise<JoinedWorkload> {
    const { trustDomain, random } = this.#options
    const { namespaces } = this.#configuration
    const synced = (until: AbortSignal): Promise<void> => this.#settled(until)
    const pods = this.#mustRun('pods')
    const { capture } = ztunnelFiles()
    return joinMesh(request, { pods, trustDomain, random, capture, namespaces, synced }, signal)
  }

  async exec(name: string, argv: readonly string[], options: ExecOptions = {}): Promise<Execution> {
    const pod = findPod(this.#parts.pods?.list() ?? [], name)
    return this.#exec(pod, argv, options)
  }

  async issueIdentity(id: string | { namespace: string; serviceAccount: string }): Promise<IssuedIdentity> {
    const ca = this.#mustRun('ca')
    const identity =
      typeof id === 'string' ? parseSpiffeId(id) : workloadSpiffeId({ trustDomain: ca.trustDomain, ...id })
    const { csrPem, privateKey } = await createCertificateRequest(identity)
    const { chain } = await ca.sign({ csrPem, id: identity })
    return { certificateChain: chain.slice(0, -1).join('\n'), privateKey, rootPem: ca.rootPem }
  }

  subscribe(listener: MeshListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async #start(): Promise<void> {
    this.#assertOpen()
    this.#configuration.read(await readManifestFolder(this.#options.manifests))
    this.#reportProblems()
    if (!this.#configuration.good) throw this.#manifestError()
    const hooks = { emit: (event: MeshEvent) => this.#emit(event), changed: () => this.#publishSoon() }
    const { proxies } = await startParts(this.#options, hooks, this.#parts)
    this.#assertOpen()
    await this.#apply()
    if (this.#options.watch) await this.#startWatch()
    await Promise.all(proxies.map(proxy => proxy.ready(this.#closing.signal)))
    // Before pods are ready: whoever wonders why one is not, asks.
    if (this.#options.control) await this.#startControl()
    await this.#becomeReady()
    await this.#settled(this.#closing.signal)
  }

  /** As `synced`, for a while: a proxy that is stuck is told of elsewhere, and must not keep others out. */
  async #settled(signal: AbortSignal): Promise<void> {
    const enough = AbortSignal.timeout(meshDefaults.settleTimeoutMs)
    await this.synced(AbortSignal.any([signal, enough])).catch(() => signal.throwIfAborted())
  }

  async #startWatch(): Promise<void> {
    this.#watch = watchManifestFolder({
      folder: this.#options.manifests,
      onChange: files => this.#reconfigure(files),
      onError: error =>
        this.#emit({ kind: 'warning', message: `watching the manifests failed: ${messageOf(error)}` }),
    })
    // What changed between the first reading and the watch.
    this.#reconfigure(await readManifestFolder(this.#options.manifests))
  }

  /** The folder changed: take it when it is good, else say what is wrong and go on as before. */
  #reconfigure(files: readonly ManifestText[]): void {
    if (this.#closing.signal.aborted) return
    const outcome = this.#configuration.read(files)
    if (outcome === 'unchanged') return
    this.#reportProblems()
    if (outcome !== 'good') return
    // Policies and labels count at once, however long the pods of an earlier change take to come and go.
    const before = this.#enrolment()
    this.#publish()
    this.#applying = this.#applying.then(async () => {
      if (!this.#closing.signal.aborted) await this.#apply(before)
    })
    this.#applying = this.#applying.catch(error =>
      this.#emit({ kind: 'warning', message: `the manifests could not be applied: ${messageOf(error)}` }),
    )
  }

  #enrolment(): ReadonlyMap<Pod, boolean> {
    return new Map((this.#parts.pods?.list() ?? []).map(pod => [pod, pod.enrolled]))
  }

  /** Makes the pods what the configuration says, and tells the proxies. `before`: who was enrolled until now. */
  async #apply(before: ReadonlyMap<Pod, boolean> = this.#enrolment()): Promise<void> {
    const pods = this.#mustRun('pods')
    this.#publish()
    const waypoints = this.#mustRun('waypoints').reconcile(this.#configuration.waypoints)
    const { started, ended } = await pods.reconcile(this.#configuration.plans)
    await waypoints
    this.#publish()
    const changed = (to: boolean): string[] =>
      [...before]
        .filter(([pod, was]) => was !== to && pod.enrolled === to && !pod.ending)
        .map(([pod]) => fullName(pod))
    this.#emit({
      kind: 'applied',
      generation: this.#configuration.generation,
      started,
      ended,
      enrolled: changed(true),
      left: changed(false),
    })
  }

  /** Several changes in one turn of the loop are one publication. */
  #publishSoon(): void {
    if (this.#publishing) return
    this.#publishing = true
    setImmediate(() => {
      this.#publishing = false
      if (!this.#closing.signal.aborted) this.#publish()
    })
  }

  #publish(): void {
    const { controlPlane, pods, block, waypoints } = this.#parts
    if (controlPlane === undefined || pods === undefined || block === undefined) return
    try {
      const state = this.#configuration.derive({
        pods: pods.list(),
        waypoints: (waypoints?.list() ?? []).map(waypoint => waypoint.status()),
        serviceAddress: key => block.serviceAddress(key),
      })
      controlPlane.publish(state)
      this.#expiry.watch(this.#configuration.policies)
    } catch (error) {
      this.#emit({ kind: 'warning', message: `the configuration could not be derived: ${messageOf(error)}` })
    }
  }

  async #exec(pod: Pod, argv: readonly string[], options: ExecOptions): Promise<Execution> {
    const execution = await execute(
      {
        argv: programOf(argv, process.execPath),
        cwd: this.#options.manifests,
        env: pod.environment(options.container),
        reaper: this.#mustRun('reaper'),
      },
      options,
    )
    this.#executions.add(execution)
    void execution.exited.then(() => this.#executions.delete(execution))
    return execution
  }

  async #becomeReady(): Promise<void> {
    const pods = this.#mustRun('pods')
    const waypoints = this.#mustRun('waypoints')
    const waiting = (): readonly string[] => [
      ...pods
        .list()
        .filter(pod => !pod.ready && !pod.ending && !pod.programs.every(({ completed }) => completed))
        .map(fullName),
      ...waypoints
        .list()
        .filter(({ program }) => !program.ready)
        .map(({ gateway }) => `waypoint ${gatewayKey(gateway)}`),
    ]
    const { clock } = this.#options
    const subscribe = (listener: MeshListener): (() => void) => this.subscribe(listener)
    const { podReadyTimeoutMs: timeoutMs } = meshDefaults
    const onLong = (names: readonly string[]): void => this.#emit({ kind: 'waiting', names, timeoutMs })
    const late = await awaitReady({ waiting, subscribe, onLong, clock, signal: this.#closing.signal })
    this.#assertOpen()
    for (const name of late)
      this.#emit({ kind: 'warning', message: `${name} is not ready; the mesh goes on without it` })
  }

  async #startControl(): Promise<void> {
    const { folder, cidr } = this
    const block = this.#mustRun('block')
    const controlled = {
      greeting: () => ({ folder, cidr, pid: process.pid }),
      status: () => this.status(),
      synced: (signal: AbortSignal) => this.synced(signal),
      join: (request: JoinRequest, signal: AbortSignal) => this.join(request, signal),
    }
    try {
      this.#control = await startControlServer(controlled, block.block)
      this.#parts.reaper?.addFile(this.#control.socketPath)
    } catch (error) {
      this.#emit({ kind: 'warning', message: `other processes cannot join: ${messageOf(error)}` })
    }
  }

  async #close(graceMs: number): Promise<void> {
    this.#closing.abort(new MeshError('AMBIENT_E_MESH_CLOSED', 'the mesh is closed'))
    await this.#starting.catch(() => {})
    this.#expiry.close()
    await this.#watch?.close()
    await this.#control?.close()
    await this.#applying
    for (const execution of this.#executions) execution.kill('SIGKILL')
    await Promise.all([...this.#executions].map(({ exited }) => exited))
    await endParts(this.#parts, graceMs)
  }

  #reportProblems(): void {
    const { problems, serving } = this.#configuration
    if (problems.length > 0) this.#emit({ kind: 'problems', problems, serving })
  }

  #manifestError(): MeshError {
    const errors = this.problems.filter(({ severity }) => severity === 'error').map(formatProblem)
    return new MeshError('AMBIENT_E_MESH_MANIFESTS', errors.join('\n'), { layer: 'config' })
  }

  /** Listeners are strangers: one that throws must not stop the mesh. */
  #emit(event: MeshEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event)
      } catch (error) {
        this.#options.logger.error({ error: messageOf(error) }, 'a mesh listener threw')
      }
    }
  }

  #assertOpen(): void {
    this.#closing.signal.throwIfAborted()
  }

  #mustRun<Name extends keyof Parts>(name: Name): NonNullable<Parts[Name]> {
    const part = this.#parts[name]
    if (part !== undefined) return part
    throw new MeshError('AMBIENT_E_MESH_CLOSED', 'the mesh is not started')
  }
}
