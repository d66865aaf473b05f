/** A mesh's events as lines for people, or as JSON. */
import { join } from 'node:path'
import { createColors } from 'picocolors'
import type { EventSource, Mesh, MeshEvent, MeshListener } from '@ambient/mesh'
import { formatProblem, type Problem } from '@ambient/mesh'
import { denialOf } from './denials.ts'
import type { CliHost } from './host.ts'
import { type OutputFormat, renderEvent } from './output.ts'
import { formatTable } from './table.ts'

export interface PrintOptions {
  readonly format: OutputFormat
  /** Whose output to print: of programs, also of the proxies, or of nobody. */
  readonly logs: 'programs' | 'all' | false
  /** Of the manifests, as the user wrote it: problems are shown with it, so that editors find them. */
  readonly folder: string
}

type Output = Extract<MeshEvent, { kind: 'output' }>

/** Of a proxy's log: `TIME<tab>LEVEL<tab>SCOPE<tab>…`. */
const PROXY_TROUBLE = /^[^\t]*\t(warn|error)\t/i
const ACCESS_LINE = /^[^\t]*\t[^\t]*\taccess\b/

/** Prints each event as it comes. With `json` and `yaml` everything goes to standard output, an event at a time. */
export function eventPrinter(
  options: PrintOptions,
  host: Pick<CliHost, 'colors' | 'stdout' | 'stderr'>,
): MeshListener {
  const { format } = options
  if (format !== 'table')
    return event => {
      if (event.kind !== 'output' || isWanted(event, options.logs)) host.stdout(renderEvent(format, event))
    }
  const colors = createColors(host.colors)
  return event => {
    if (event.kind === 'output') {
      const denial = options.logs === 'programs' && isProxy(event) ? denialOf(event.line) : undefined
      if (denial !== undefined) host.stderr(`${colors.yellow(denial)}\n`)
      else if (isWanted(event, options.logs))
        host.stdout(`${colors.dim(`${label(event.source)} |`)} ${event.line}\n`)
      return
    }
    const text = sentence(event, options.folder)
    if (text !== undefined) host.stderr(`${isTrouble(event) ? colors.yellow(text) : text}\n`)
  }
}

/** Every connection is a line in its proxy's log: asked for, or else only denials and the proxies' own trouble are shown. */
function isWanted(event: Output, logs: PrintOptions['logs']): boolean {
  if (logs === false) return false
  if (logs === 'all' || !isProxy(event)) return true
  if (ACCESS_LINE.test(event.line)) return denialOf(event.line) !== undefined
  return PROXY_TROUBLE.test(event.line)
}

function isProxy({ source }: Output): boolean {
  return source.kind !== 'pod' && source.kind !== 'exec'
}

/** Workloads, nodes and waypoints as they are now. */
export function meshTable(mesh: Mesh): string {
  const workloads = mesh.pods.map(pod => [
    `${pod.namespace}/${pod.name}`,
    pod.node,
    pod.ports.length === 0 ? pod.address : `${pod.address}:${pod.ports.join(',')}`,
    pod.enrolled ? 'yes' : 'no',
    pod.ready ? 'yes' : 'no',
    String(pod.pid ?? '-'),
  ])
  const nodes = mesh.nodes.map(node => [node.name, node.address, String(node.pid ?? '-'), node.adminUrl])
  const waypoints = mesh.waypoints.map(waypoint => [
    `${waypoint.namespace}/${waypoint.name}`,
    waypoint.node,
    waypoint.address,
    waypoint.ready ? 'yes' : 'no',
    String(waypoint.pid ?? '-'),
    waypoint.adminUrl,
  ])
  const tables = [
    [['WORKLOAD', 'NODE', 'ADDRESS', 'ENROLLED', 'READY', 'PID'], ...workloads],
    [['NODE', 'ADDRESS', 'ZTUNNEL', 'ADMIN'], ...nodes],
    ...(waypoints.length === 0
      ? []
      : [[['WAYPOINT', 'NODE', 'ADDRESS', 'READY', 'PID', 'ADMIN'], ...waypoints]]),
  ]
  return tables.map(formatTable).join('\n')
}

/** `undefined` for what is not worth a line. */
function sentence(event: MeshEvent, folder: string): string | undefined {
  switch (event.kind) {
    case 'exited':
      return event.asked ? undefined : exitSentence(event)
    case 'problems':
      return [...event.problems.map(problem => inFolder(problem, folder)), servingSentence(event)].join('\n')
    case 'applied':
      return appliedSentence(event)
    case 'waiting':
      return `waiting for ${event.names.join(', ')} (up to ${event.timeoutMs / 1_000} s)`
    case 'refused':
      return `refused ${event.node ?? 'a stranger'}: ${event.reason}`
    case 'warning':
      return `warning: ${event.message}`
    default:
      return undefined
  }
}

function inFolder(problem: Problem, folder: string): string {
  return formatProblem({ ...problem, file: join(folder, problem.file) })
}

function exitSentence(event: Extract<MeshEvent, { kind: 'exited' }>): string {
  const how =
    event.failure ?? (event.signal === null ? `ended with ${event.code}` : `was ended by ${event.signal}`)
  const next = event.restartInMs === undefined ? '' : `; it is started again in ${event.restartInMs} ms`
  return `${label(event.source)} ${how}${next}`
}

function servingSentence(event: Extract<MeshEvent, { kind: 'problems' }>): string {
  if (event.serving === 'nothing') return 'nothing is running: the manifests have errors'
  if (event.serving === 'this configuration') return 'these are warnings; the configuration is in place'
  return 'the mesh goes on with the last good configuration'
}

function appliedSentence(event: Extract<MeshEvent, { kind: 'applied' }>): string {
  const parts = [
    list('started', event.started),
    list('ending', event.ended),
    list('enrolled', event.enrolled),
    list('left the mesh', event.left),
  ].filter(part => part !== '')
  return `configuration ${event.generation} is in place${parts.length === 0 ? '' : `: ${parts.join('; ')}`}`
}

function list(verb: string, names: readonly string[]): string {
  return names.length === 0 ? '' : `${verb} ${names.join(', ')}`
}

function label(source: EventSource): string {
  const container = source.container === undefined ? '' : `[${source.container}]`
  return source.kind === 'ztunnel' || source.kind === 'waypoint'
    ? `${source.kind} ${source.name}`
    : `${source.name}${container}`
}

function isTrouble(event: MeshEvent): boolean {
  return ['exited', 'problems', 'refused', 'warning'].includes(event.kind)
}
