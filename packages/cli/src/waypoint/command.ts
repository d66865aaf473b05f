/** `ambient waypoint`: the waypoints of the mesh's folder, with istioctl's words, columns and flags. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  addCommand,
  type CommandContext,
  dnsLabel,
  duration,
  meshOption,
  outputOption,
} from '../command-line.ts'
import { apply, type ApplyOptions } from './apply.ts'
import { deleteWaypoints, type DeleteOptions } from './delete.ts'
import { TRAFFIC_TYPES } from './gateway.ts'
import { generate, type GenerateOptions } from './generate.ts'
import { list, type ListOptions } from './list.ts'
import { status, type StatusOptions } from './status.ts'

const EXAMPLES = `
Examples:
  $ ambient waypoint apply -n bookinfo --enroll-namespace --wait
  $ ambient waypoint list -A
  $ ambient waypoint status -n bookinfo
  $ ambient waypoint generate --for all --name gate > gate.yaml
  $ ambient waypoint delete waypoint -n bookinfo
`
const GENERATE_EXAMPLES = `
Examples:
  $ ambient waypoint generate -n bookinfo
  $ ambient waypoint generate --for workload --name gate -n bookinfo
`
const APPLY_EXAMPLES = `
Examples:
  $ ambient waypoint apply -n bookinfo                             a waypoint for services
  $ ambient waypoint apply -n bookinfo --enroll-namespace --wait   and every Service uses it
  $ ambient waypoint apply --service-account bookinfo-productpage  the older form
`
const LIST_EXAMPLES = `
Examples:
  $ ambient waypoint list -n bookinfo
  $ ambient waypoint list -A -o json
`
const STATUS_EXAMPLES = `
Examples:
  $ ambient waypoint status -n bookinfo
  $ ambient waypoint status -A --no-wait
`
const DELETE_EXAMPLES = `
Examples:
  $ ambient waypoint delete waypoint -n bookinfo
  $ ambient waypoint delete --all -n bookinfo
`
const WAYPOINT_TIMEOUT = '90s'

export function registerWaypoint(program: Command, context: CommandContext): void {
  const waypoint = addCommand(program, 'waypoint', 'waypoints: the L7 proxies of the mesh', context)
  waypoint.addHelpText('after', EXAMPLES)
  registerGenerate(waypoint, context)
  registerApply(waypoint, context)
  registerList(waypoint, context)
  registerStatus(waypoint, context)
  registerDelete(waypoint, context)
}

function registerGenerate(waypoint: Command, context: CommandContext): void {
  shape(addCommand(waypoint, 'generate', 'print a waypoint as YAML', context))
    .option('-n, --namespace <name>', 'of the waypoint', dnsLabel)
    .addHelpText('after', GENERATE_EXAMPLES)
    .action((options: GenerateOptions) => context.finish(generate(options, context.host)))
}

function registerApply(waypoint: Command, context: CommandContext): void {
  shape(addCommand(waypoint, 'apply', "write a waypoint into the mesh's folder", context))
    .addOption(namespaceOption())
    .option('--enroll-namespace', 'label the namespace to use it', false)
    .option('--overwrite', 'with --enroll-namespace, replace the waypoint that the namespace uses', false)
    .option('-w, --wait', 'wait until it is ready', false)
    .addOption(timeoutOption())
    .addOption(meshOption())
    .addOption(outputOption())
    .addHelpText('after', APPLY_EXAMPLES)
    .action(async (options: ApplyOptions) => context.finish(await apply(options, context.host)))
}

function registerList(waypoint: Command, context: CommandContext): void {
  addCommand(waypoint, 'list', 'list waypoints', context)
    .addOption(namespaceOption())
    .option('-A, --all-namespaces', 'of every namespace', false)
    .addOption(meshOption())
    .addOption(outputOption())
    .addHelpText('after', LIST_EXAMPLES)
    .action(async (options: ListOptions) => context.finish(await list(options, context.host)))
}

function registerStatus(waypoint: Command, context: CommandContext): void {
  addCommand(waypoint, 'status', 'say which waypoints are ready, and why not', context)
    .addOption(namespaceOption())
    .option('-A, --all-namespaces', 'of every namespace', false)
    .option('--no-wait', 'do not wait until they are ready')
    .addOption(timeoutOption())
    .addOption(meshOption())
    .addOption(outputOption())
    .addHelpText('after', STATUS_EXAMPLES)
    .action(async (options: StatusOptions) => context.finish(await status(options, context.host)))
}

function registerDelete(waypoint: Command, context: CommandContext): void {
  addCommand(waypoint, 'delete', "remove waypoints from the mesh's folder", context)
    .argument('[names...]', 'of the waypoints')
    .addOption(namespaceOption())
    .option('--all', 'every waypoint of the namespace', false)
    .option('-r, --revision <name>', 'every waypoint of the namespace with this revision')
    .addOption(meshOption())
    .addOption(outputOption())
    .addHelpText('after', DELETE_EXAMPLES)
    .action(async (names: readonly string[], options: DeleteOptions) =>
      context.finish(await deleteWaypoints(names, options, context.host)),
    )
}

/** Flags that say what a waypoint is to be. */
function shape(command: Command): Command {
  return command
    .addOption(new Option('--for <type>', 'traffic that it takes (default: service)').choices(TRAFFIC_TYPES))
    .option('--name <name>', 'of the waypoint (default: waypoint)', waypointName)
    .option('-r, --revision <name>', 'of the control plane')
    .option('--service-account <name>', 'the account that it serves (deprecated)', dnsLabel)
}

function namespaceOption(): Option {
  return new Option('-n, --namespace <name>', 'of the waypoint').argParser(dnsLabel).default('default')
}

function timeoutOption(): Option {
  return new Option('--waypoint-timeout <duration>', 'how long to wait')
    .argParser(duration)
    .default(duration(WAYPOINT_TIMEOUT), WAYPOINT_TIMEOUT)
}

function waypointName(value: string): string {
  if (value === 'none')
    throw new InvalidArgumentError('"none" is what opts out of waypoints, so no waypoint can have it.')
  return dnsLabel(value)
}
