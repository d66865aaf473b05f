/** The options of a mesh, checked and resolved once. */
import { resolve } from 'node:path'
import { type Clock, type Logger, silentLogger, systemClock, trustDomainProblem } from '@ambient/core'
import { meshDefaults } from './defaults.ts'
import { MeshError } from './errors.ts'
import type { MeshListener } from './events.ts'

export interface MeshOptions {
  /** The folder of YAML or JSON manifests. Programs start in it. */
  readonly manifests: string
  /** Names of nodes; each gets a ztunnel of its own. Default `node-a` and `node-b`. */
  readonly nodes?: readonly string[]
  /** Manifest files, relative to the folder, that are left out. */
  readonly exclude?: readonly string[]
  /** Take changes of the folder while the mesh runs. Default true. */
  readonly watch?: boolean
  /** Send what passes between nodes through a relay that can be watched. Default true. */
  readonly relay?: boolean
  /** Environment that programs and proxies get beside their own; PATH, for one. Nothing is inherited unasked. */
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** Default `cluster.local`. */
  readonly trustDomain?: string
  /** Default `Kubernetes`. */
  readonly clusterId?: string
  /** Lifetime that ztunnels ask for. The CA dates certificates back by 2 minutes; renewal is at half of the whole. */
  readonly certificateTtlMs?: number
  /** R of the block 127.R.0.0/16. Default: a random one that is free. */
  readonly block?: number
  /** Log filter of the ztunnels, as their RUST_LOG. Default `info`. */
  readonly logLevel?: string
  /** Nobody reaches a workload around its waypoint: the policies that refuse it are generated. Default false. */
  readonly requireWaypoint?: boolean
  /** Where waypoints send their spans (OTLP over HTTP), and which share of the traces. Default: none are made. */
  readonly telemetry?: { readonly otlpEndpoint?: string; readonly sampling?: number }
  /** Other processes of this user may find the mesh and join it, over a Unix socket. Default true. */
  readonly control?: boolean
  /**
   * Ztunnels and waypoints run in this process instead of in their own, for small tests; so a `restart()` of one has a
   * gap. Programs of pods are processes all the same. Default false.
   */
  readonly inProcess?: boolean
  readonly onEvent?: MeshListener
  readonly logger?: Logger
  readonly clock?: Clock
  /** In [0, 1). */
  readonly random?: () => number
}

export interface ResolvedMeshOptions {
  readonly manifests: string
  readonly nodes: readonly string[]
  readonly exclude: ReadonlySet<string>
  readonly watch: boolean
  readonly relay: boolean
  readonly environment: Readonly<Record<string, string>>
  readonly trustDomain: string
  readonly clusterId: string
  readonly certificateTtlMs: number
  readonly block: number | undefined
  readonly logLevel: string
  readonly requireWaypoint: boolean
  readonly telemetry: { readonly otlpEndpoint?: string; readonly sampling?: number }
  readonly control: boolean
  readonly inProcess: boolean
  readonly onEvent: MeshListener
  readonly logger: Logger
  readonly clock: Clock
  readonly random: () => number
}

/** A DNS label: nodes are also names of folders and of hosts. */
const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
/** Pods of node N live in 127.R.(10+N).0/24, below the Services. */
const MAX_NODES = 100

/** @throws MeshError `AMBIENT_E_MESH_OPTIONS` */
export function resolveOptions(options: MeshOptions): ResolvedMeshOptions {
  const nodes = options.nodes ?? meshDefaults.nodes
  const trustDomain = options.trustDomain ?? meshDefaults.trustDomain
  const certificateTtlMs = options.certificateTtlMs ?? meshDefaults.certificateTtlMs
  const problem =
    nodesProblem(nodes) ??
    trustDomainProblem(trustDomain) ??
    (certificateTtlMs >= 1_000 ? undefined : 'certificateTtlMs must be at least 1000') ??
    blockProblem(options.block) ??
    telemetryProblem(options.telemetry) ??
    (options.manifests === '' ? 'manifests must be a folder' : undefined)
  if (problem !== undefined) throw new MeshError('AMBIENT_E_MESH_OPTIONS', problem, { layer: 'config' })
  return Object.freeze({
    manifests: resolve(options.manifests),
    nodes: Object.freeze([...nodes]),
    exclude: new Set(options.exclude ?? []),
    watch: options.watch ?? true,
    relay: options.relay ?? true,
    environment: definedOnly(options.environment ?? {}),
    trustDomain,
    clusterId: options.clusterId ?? meshDefaults.clusterId,
    certificateTtlMs,
    block: options.block,
    logLevel: options.logLevel ?? 'info',
    requireWaypoint: options.requireWaypoint ?? false,
    telemetry: Object.freeze({ ...options.telemetry }),
    control: options.control ?? true,
    inProcess: options.inProcess ?? false,
    onEvent: options.onEvent ?? (() => {}),
    logger: options.logger ?? silentLogger,
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  })
}

function nodesProblem(nodes: readonly string[]): string | undefined {
  if (nodes.length === 0 || nodes.length > MAX_NODES) return `nodes must be 1 to ${MAX_NODES} names`
  const bad = nodes.find(node => !NODE_NAME.test(node))
  if (bad !== undefined) return `node name ${JSON.stringify(bad)} is not a DNS label`
  return new Set(nodes).size === nodes.length ? undefined : 'nodes must have different names'
}

function blockProblem(block: number | undefined): string | undefined {
  const good = block === undefined || (Number.isInteger(block) && block >= 1 && block <= 254)
  return good ? undefined : 'block must be an integer from 1 to 254'
}

function telemetryProblem({ otlpEndpoint, sampling }: MeshOptions['telemetry'] = {}): string | undefined {
  if (otlpEndpoint !== undefined && !/^https?:\/\/[^/]/.test(otlpEndpoint))
    return 'telemetry.otlpEndpoint must be an http URL'
  const good = sampling === undefined || (sampling >= 0 && sampling <= 1)
  return good ? undefined : 'telemetry.sampling must be from 0 to 1'
}

function definedOnly(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const defined: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) defined[name] = value
  return Object.freeze(defined)
}
