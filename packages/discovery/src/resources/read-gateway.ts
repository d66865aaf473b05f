/** Gateways: the waypoints of a mesh, in today's form and in those that it had before. */
import type { ObjectMeta, YamlObject, YamlReader } from '@ambient/policy'
import { serviceAccountAnnotation, waypointForLabel, waypointOfAccount } from './account-waypoint.ts'
import { annotationReader, labelReader, type ReadContext } from './context.ts'
import {
  type AllowedNamespaces,
  type GatewayListener,
  type GatewayResource,
  type LabelSelector,
  WAYPOINT_CLASS,
  type WaypointFor,
} from './gateway-types.ts'
import { labelSelectorFields } from './fields.ts'
import { PORT_RANGE, shown } from './read-values.ts'
import { openConfiguration } from './read-traffic.ts'

/** What `gateway.networking.k8s.io/gateway-name` was called before. */
export const oldGatewayNameLabel = 'istio.io/gateway-name'

const HBONE_PORT = 15_008
const TRAFFIC: readonly WaypointFor[] = ['service', 'workload', 'all', 'none']
const SPEC_FIELDS = [
  'gatewayClassName',
  'listeners',
  'addresses',
  'infrastructure',
  'backendTLS',
  'tls',
  'allowedListeners',
  'defaultScope',
] as const
/** Taken as the Gateway API has them, and not acted upon for a waypoint. */
const WITHOUT_EFFECT = ['infrastructure', 'backendTLS', 'tls', 'allowedListeners', 'defaultScope'] as const
const LISTENER_FIELDS = ['name', 'hostname', 'port', 'protocol', 'tls', 'allowedRoutes'] as const
const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const
const SECTION_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/

export function readGateway(root: YamlReader, context: ReadContext): GatewayResource | undefined {
  const opened = openConfiguration(root, SPEC_FIELDS)
  if (opened === undefined) return undefined
  const { spec, metadata, source, written } = opened
  const className = spec.required('gatewayClassName')?.text()
  const listeners = spec.required('listeners')?.list(readListener) ?? []
  const waypointFor = readWaypointFor(root)
  if (className === undefined) return undefined
  if (className === WAYPOINT_CLASS) {
    checkWaypoint(root, spec, listeners)
    warnOfUnused(spec)
    checkAccount(annotationReader(root, serviceAccountAnnotation), metadata, context)
  } else
    spec
      .get('gatewayClassName')
      ?.problem(`no gateway of this class is run here: expected ${WAYPOINT_CLASS}`, 'warning')
  const account = metadata.annotations[serviceAccountAnnotation]
  return {
    kind: 'Gateway',
    metadata,
    source,
    written,
    spec: { className, listeners, waypointFor, serviceAccount: account ?? metadata.name },
  }
}

function warnOfUnused(spec: YamlObject): void {
  for (const field of WITHOUT_EFFECT) spec.get(field)?.problem(NOT_ACTED_UPON, 'warning')
  spec.get('listeners')?.list(item => {
    const listener = item.kind === 'object' ? item.object() : undefined
    const routes = listener?.get('allowedRoutes')
    if (routes?.kind === 'object') routes.object()?.get('kinds')?.problem(NOT_ACTED_UPON, 'warning')
    return undefined
  })
}

const NOT_ACTED_UPON = 'is not acted upon'

function readListener(reader: YamlReader): GatewayListener | undefined {
  const object = reader.object(LISTENER_FIELDS)
  const nameReader = object?.required('name')
  const name = nameReader?.text()
  const port = object?.required('port')?.integer(PORT_RANGE)
  const protocol = object?.required('protocol')?.text()
  const hostname = object?.get('hostname')?.text()
  const allowedNamespaces = readAllowed(object?.get('allowedRoutes'))
  if (name !== undefined && !SECTION_NAME.test(name))
    nameReader?.problem(`expected lower case letters, digits, dashes and dots, found ${shown(name)}`)
  if (name === undefined || port === undefined || protocol === undefined) return undefined
  return { name, port, protocol, allowedNamespaces, ...(hostname !== undefined && { hostname }) }
}

function readAllowed(reader: YamlReader | undefined): AllowedNamespaces {
  const namespaces = reader?.object(['namespaces', 'kinds'])?.get('namespaces')?.object(['from', 'selector'])
  const from = namespaces?.get('from')?.oneOf(['Same', 'All', 'Selector', 'None']) ?? 'Same'
  if (from === 'None') return { from: 'Selector', selector: nobody }
  if (from !== 'Selector') return { from }
  const selector = namespaces?.required('selector')
  return { from, selector: selector === undefined ? nobody : readLabelSelector(selector) }
}

const nobody: LabelSelector = {
  matchLabels: {},
  matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [] }],
}

function readLabelSelector(reader: YamlReader): LabelSelector {
  const object = reader.object(labelSelectorFields)
  const matchExpressions = object?.get('matchExpressions')?.list(item => {
    const expression = item.object(['key', 'operator', 'values'])
    const key = expression?.required('key')?.text()
    const operator = expression?.required('operator')?.oneOf(OPERATORS)
    const values = expression?.get('values')?.list(value => value.string()) ?? []
    return key === undefined || operator === undefined ? undefined : { key, operator, values }
  })
  return {
    matchLabels: object?.get('matchLabels')?.strings() ?? {},
    matchExpressions: matchExpressions ?? [],
  }
}

function readWaypointFor(root: YamlReader): WaypointFor {
  const reader = labelReader(root, waypointForLabel)
  return reader?.oneOf(TRAFFIC) ?? 'service'
}

function checkWaypoint(root: YamlReader, spec: YamlObject, listeners: readonly GatewayListener[]): void {
  warnOldForms(root, spec)
  const readers: YamlReader[] = []
  spec.get('listeners')?.list(item => void readers.push(item))
  // A listener that could not be read was reported already.
  if (readers.length !== listeners.length) return
  for (const [index, { name, port, protocol }] of listeners.entries()) {
    const reader = readers[index]
    const object = reader?.object()
    for (const field of ['tls', 'hostname'] as const)
      object?.get(field)?.problem('is not acted upon', 'warning')
    if (listeners.slice(0, index).some(earlier => earlier.name === name))
      object?.get('name')?.problem(`two listeners have the name ${shown(name)}`)
    if (protocol === 'ALL') object?.get('protocol')?.problem('ALL is an older form: write HBONE', 'warning')
    else if (protocol !== 'HBONE')
      object?.get('protocol')?.problem(`expected HBONE for a waypoint, found ${shown(protocol)}`)
    if (port !== HBONE_PORT)
      object?.get('port')?.problem(`expected ${HBONE_PORT}, at which a waypoint listens, found ${port}`)
  }
  if (listeners.length === 0)
    spec.get('listeners')?.problem(`expected a listener { port: ${HBONE_PORT}, protocol: HBONE }, found none`)
}

function warnOldForms(root: YamlReader, spec: YamlObject): void {
  const version = root.object()?.get('apiVersion')
  if (version?.string() === 'gateway.networking.k8s.io/v1beta1')
    version.problem('v1beta1 is an older form: write gateway.networking.k8s.io/v1', 'warning')
  labelReader(root, oldGatewayNameLabel)?.problem(
    'is an older form: a waypoint is known by the name of its Gateway, and its pods by gateway.networking.k8s.io/gateway-name',
    'warning',
  )
  annotationReader(root, serviceAccountAnnotation)?.problem(
    'is an older form: the waypoint runs under this account, and serves its workloads where no label istio.io/use-waypoint says otherwise',
    'warning',
  )
  spec.get('addresses')?.list(item => {
    const type = item.object(['type', 'value'])?.get('type')
    const text = type?.text()
    if (text === 'NamedAddress')
      item.problem('a named address is an older form and has no effect: leave it out', 'warning')
    else if (text !== undefined && text !== 'IPAddress' && text !== 'Hostname')
      type?.problem(`expected IPAddress or Hostname, found ${shown(text)}`)
    else item.problem('the address of a waypoint is chosen by the mesh: this one is not used', 'warning')
  })
}

/** The account of an older waypoint: is there anybody to serve, and is there another waypoint that does? */
function checkAccount(
  reader: YamlReader | undefined,
  { namespace, name }: ObjectMeta,
  context: ReadContext,
): void {
  const account = reader?.string()
  if (reader === undefined || account === undefined) return
  context.check(({ serviceAccounts, gateways }) => {
    const key = `${namespace}/${account}`
    if (account !== 'default' && !serviceAccounts.has(key))
      reader.problem(
        `refers to the ServiceAccount ${key}, which is not defined: nobody runs under it`,
        'warning',
      )
    const first = waypointOfAccount(gateways.values(), namespace, account)?.metadata.name
    if (first !== undefined && first !== name)
      reader.problem(
        `the waypoint ${namespace}/${first} is for this account too, and is the one that is used`,
        'warning',
      )
  })
}
