/** `ambient waypoint generate`: the YAML that apply would write. */
import { type CliHost, EXIT_OK } from '../host.ts'
import { gatewayYaml, type TrafficType, type WaypointSpec } from './gateway.ts'

export interface ShapeOptions {
  readonly for?: TrafficType
  readonly name?: string
  readonly revision?: string
  readonly serviceAccount?: string
}

export interface GenerateOptions extends ShapeOptions {
  readonly namespace?: string
}

const DEPRECATED =
  'note: --service-account is of an older Istio: the waypoint serves the workloads of that account; today a label ' +
  'names the waypoint: ambient waypoint apply --enroll-namespace\n'

export function generate(options: GenerateOptions, host: CliHost): number {
  noteDeprecation(options, host)
  host.stdout(gatewayYaml(specOf(options, options.namespace ?? '')))
  return EXIT_OK
}

/** The older form names the Gateway after its account and takes whatever reaches that account. */
export function specOf(options: ShapeOptions, namespace: string): WaypointSpec {
  const { serviceAccount, revision } = options
  const trafficType = options.for ?? (serviceAccount === undefined ? 'service' : undefined)
  return {
    namespace,
    name: options.name ?? serviceAccount ?? 'waypoint',
    ...(trafficType === undefined ? {} : { trafficType }),
    ...(revision === undefined ? {} : { revision }),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
  }
}

export function noteDeprecation({ serviceAccount }: ShapeOptions, host: CliHost): void {
  if (serviceAccount !== undefined) host.stderr(DEPRECATED)
}
