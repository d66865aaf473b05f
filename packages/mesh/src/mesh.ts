/** A whole ambient mesh on this machine, as one object: control plane, a ztunnel per node, the workloads' programs. */
import { messageOf, parseSpiffeId, workloadSpiffeId } from '@ambient/core'
import { type ClientStatus, readManifestFolder, watchManifestFolder } from '@ambient/discovery'
import { createCertificateRequest } from '@ambient/identity'
import { formatProblem, type Problem } from '@ambient/policy'
import { type Configuration, createConfiguration, type ManifestText } from './configuration.ts'
import { meshDefaults } from './defaults.ts'
import { MeshError } from './errors.ts'
import type { MeshEvent, MeshListener } from './events.ts'
import { type MeshOptions, type ResolvedMeshOptions, resolveOptions } from './options.ts'
import { endParts, type Parts, startParts } from './parts.ts'
import { programOf } from './pods/environment.ts'
import type { Pod } from './pods/pod.ts'
import { findPod, fullName } from './pods/pod-set.ts'
import { type ExecOptions, execute, type Execution } from './process/exec.ts'
import type { Relay } from './relay.ts'
import { describeNode, describePod, type MeshNode, type MeshPod } from './views.ts'

/** A certificate of the mesh's CA, for a peer that is not one of its workloads. */
export interface IssuedIdentity {
  /** PEM, leaf first. */
  readonly certificateChain: string
  /** PKCS#8 PEM. */
  readonly privateKey: string
  readonly rootPem: string
}

export interface Mesh {
  /**
   * Resolves when the ztunnels are ready and the pods had their time to become so.
   * @throws MeshError `AMBIENT_E_MESH_MANIFESTS`, `_PORT_IN_USE`, `_LOOPBACK`, `_NOT_READY`; everything is closed then.
   */
  start(): Promise<void>
  /** Ends every process that it started, removes every file that it wrote. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
  /** The manifests' folder. */
  readonly folder: string
  /** `127.R.0.0/16`, empty before `start`. */
  readonly cidr: string
  readonly nodes: readonly MeshNode[]
  /** @throws MeshError `AMBIENT_E_MESH_NOT_FOUND` */
  ztunnel(node: string): MeshNode
  readonly pods: readonly MeshPod[]
  /**
   * By pod or Deployment, with or without `namespace/`; of several the first.
   * @throws MeshError `AMBIENT_E_MESH_NOT_FOUND`
   */
  pod(name: string): MeshPod
  /** The network between nodes; `undefined` without one or before `start`. */
  readonly relay: Relay | undefined
  readonly controlPlane: {
    readonly url: string
    readonly rootPem: string
    clients(): readonly ClientStatus[]
  }
  /** Problems of the manifests as they are now; with an error among them the last good configuration is served. */
  readonly problems: readonly Problem[]
  /** Counts the configurations that were taken. */
  readonly generation: number
  /** Resolves when every ztunnel has acknowledged what was last published. */
  synced(signal?: AbortSignal): Promise<void>
  /** Runs a command as a pod: its environment, its address, its identity. */
  exec(pod: string, argv: readonly string[], options?: ExecOptions): Promise<Execution>
  /** Signs for any identity of the mesh: for tests and for tools that speak HBONE themselves. */
  issueIdentity(id: string | { namespace: string; serviceAccount: string }): Promise<IssuedIdentity>
  /** Returns the function that unsubscribes. */
  subscribe(listener: MeshListener): () => void
}

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
  #watch: { close(): Promise<void> } | undefined
  /** Settles when nothing more is being made. */
  #starting: Promise<void> = Promise.resolve()
  #started: Promise<void> | undefined
  #closed: Promise<void> | undefined
  /** Configurations are applied one after the other. */
  #applying: Promise<void> = Promise.resolve()
  #publishing = false

  constructor(options: ResolvedMeshOptions) {
    this.#options = options
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
    await this.#mustRun('controlPlane').synced(this.#options.nodes.length, signal)
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
    await this.#podsReady()
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
    const { started, ended } = await pods.reconcile(this.#configuration.plans)
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
    const { controlPlane, pods, block } = this.#parts
    if (controlPlane === undefined || pods === undefined || block === undefined) return
    try {
      controlPlane.publish(this.#configuration.derive(pods.list(), key => block.serviceAddress(key)))
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

  /** Waits for pods, but not for ever: one that never gets ready must not hide the others. */
  async #podsReady(): Promise<void> {
    const { clock } = this.#options
    const pods = this.#mustRun('pods')
    const waiting = (): readonly Pod[] =>
      pods
        .list()
        .filter(pod => !pod.ready && !pod.ending && !pod.programs.every(({ completed }) => completed))
    let unsubscribe = (): void => {}
    await new Promise<void>(resolve => {
      const timer = clock.after(meshDefaults.podReadyTimeoutMs, resolve, { keepAlive: true })
      const look = (): void => {
        if (waiting().length > 0 && !this.#closing.signal.aborted) return
        timer.cancel()
        resolve()
      }
      unsubscribe = this.subscribe(event => {
        if (event.kind === 'pod-ready' || event.kind === 'exited' || event.kind === 'pod-removed') look()
      })
      this.#closing.signal.addEventListener('abort', look, { once: true })
      look()
    })
    unsubscribe()
    this.#assertOpen()
    for (const pod of waiting())
      this.#emit({ kind: 'warning', message: `${fullName(pod)} is not ready; the mesh goes on without it` })
  }

  async #close(graceMs: number): Promise<void> {
    this.#closing.abort(new MeshError('AMBIENT_E_MESH_CLOSED', 'the mesh is closed'))
    await this.#starting.catch(() => {})
    await this.#watch?.close()
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
