/** `ambient get pods`: what runs in the mesh, with kubectl's columns and selectors. */
import { systemClock } from '@ambient/core'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { addCommand, type CommandContext, dnsLabel, meshOption } from './command-line.ts'
import { type CliHost, EXIT_OK } from './host.ts'
import { type OutputFormat, render } from './output.ts'
import type { MeshPodFacts, MeshStatus, ProxyStatus } from '@ambient/mesh'
import { withMesh } from './session/target.ts'
import { formatAge, formatTable } from './table.ts'

const EXAMPLES = `
Examples:
  $ ambient get pods -n bookinfo
  $ ambient get pods -n istio-system -l app=ztunnel
  $ ambient get pods -A -o wide
`

interface GetOptions {
  readonly namespace: string
  readonly allNamespaces: boolean
  readonly selector: LabelSelector
  readonly mesh?: string
  readonly output: OutputFormat | 'wide'
}

/** What kubectl would show. */
type ListedPod = Pick<MeshPodFacts, 'namespace' | 'name' | 'labels' | 'node' | 'ready' | 'restarts'> &
  Partial<Pick<MeshPodFacts, 'address' | 'enrolled' | 'startedAt'>> & { readonly status: string }

const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'

type LabelSelector = (labels: Readonly<Record<string, string>>) => boolean

export function registerGet(program: Command, context: CommandContext): void {
  const get = addCommand(program, 'get', 'list what runs in the mesh', context).addHelpText('after', EXAMPLES)
  addCommand(get, 'pods', "programs and proxies, with kubectl's columns", context)
    .alias('pod')
    .alias('po')
    .option('-n, --namespace <name>', 'of the pods', dnsLabel, 'default')
    .option('-A, --all-namespaces', 'of every namespace', false)
    .addOption(
      new Option('-l, --selector <labels>', 'KEY=VALUE, KEY!=VALUE, KEY or !KEY, separated by commas')
        .argParser(labelSelector)
        .default(() => true, 'all'),
    )
    .addOption(meshOption())
    .addOption(
      new Option('-o, --output <format>', 'how to print')
        .choices(['table', 'wide', 'json', 'yaml'])
        .default('table'),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (options: GetOptions) => context.finish(await getPods(options, context.host)))
}

async function getPods(options: GetOptions, host: CliHost): Promise<number> {
  const { allNamespaces, namespace, selector, output } = options
  const chosen = podsOf(await withMesh(options.mesh, mesh => mesh.status()))
    .filter(pod => (allNamespaces || pod.namespace === namespace) && selector(pod.labels))
    .sort((a, b) => `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`))
  const isWide = output === 'wide'
  if (chosen.length === 0 && (isWide || output === 'table')) {
    host.stderr(allNamespaces ? 'No resources found.\n' : `No resources found in ${namespace} namespace.\n`)
    return EXIT_OK
  }
  const table = (): string => podTable(chosen, allNamespaces, isWide)
  host.stdout(isWide ? table() : render(output, chosen, table))
  return EXIT_OK
}

/** In a cluster, proxies are pods as well. */
function podsOf({ pods, proxies }: MeshStatus): readonly ListedPod[] {
  const listed = pods.map(pod => ({ ...pod, status: 'Running' }))
  const names = new Set(pods.map(({ namespace, name }) => `${name}.${namespace}`))
  return [...listed, ...proxies.filter(({ name }) => !names.has(name)).map(proxyAsPod)]
}

function proxyAsPod(proxy: ProxyStatus): ListedPod {
  const dot = proxy.name.lastIndexOf('.')
  const name = proxy.name.slice(0, dot)
  const isZtunnel = proxy.kind === 'ztunnel'
  return {
    namespace: proxy.name.slice(dot + 1),
    name,
    labels: isZtunnel ? { app: 'ztunnel' } : { [GATEWAY_NAME]: name.replace(/(-[a-z0-9]+){2}$/, '') },
    node: proxy.node,
    ready: proxy.ready,
    restarts: proxy.restarts,
    // Between its end and its next start.
    status: proxy.pid === undefined ? 'CrashLoopBackOff' : 'Running',
    ...(proxy.startedAt === undefined ? {} : { startedAt: proxy.startedAt }),
  }
}

function podTable(pods: readonly ListedPod[], withNamespace: boolean, isWide: boolean): string {
  const wide = isWide ? ['IP', 'NODE'] : []
  const head = [
    ...(withNamespace ? ['NAMESPACE'] : []),
    'NAME',
    'READY',
    'STATUS',
    'RESTARTS',
    'AGE',
    ...wide,
  ]
  const rows = pods.map(pod => [
    ...(withNamespace ? [pod.namespace] : []),
    pod.name,
    pod.ready ? '1/1' : '0/1',
    pod.status,
    String(pod.restarts),
    pod.startedAt === undefined ? '-' : formatAge(systemClock.now() - pod.startedAt),
    ...(isWide ? [pod.address ?? '-', pod.node] : []),
  ])
  return formatTable([head, ...rows])
}

function labelSelector(text: string): LabelSelector {
  const terms = text.split(',').map(termOf)
  return labels => terms.every(term => term(labels))
}

function termOf(text: string): LabelSelector {
  const [, not, key = '', operator, value] =
    /^\s*(!?)\s*([\w./-]+)\s*(?:(==?|!=)\s*([\w.-]*))?\s*$/.exec(text) ?? []
  if (key === '' || (not === '!' && operator !== undefined))
    throw new InvalidArgumentError('expected KEY=VALUE, KEY!=VALUE, KEY or !KEY, separated by commas.')
  if (operator === undefined) return labels => (labels[key] !== undefined) !== (not === '!')
  return labels => (labels[key] === value) !== (operator === '!=')
}
