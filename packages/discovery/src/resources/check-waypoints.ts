/** What names a waypoint: labels of those who use one, and policies that one is to enforce. */
import type { AuthorizationPolicy, RequestAuthentication, YamlReader } from '@ambient/policy'
import { hasWaypoint } from './check-routes.ts'
import { type Known, labelReader, type ReadContext } from './context.ts'
import { isWaypoint, WAYPOINT_CLASS } from './gateway-types.ts'
import { attach, referenceOf, useWaypointLabel, useWaypointNamespaceLabel } from './use-waypoint.ts'

const CANARY_LABEL = 'istio.io/use-waypoint-canary'

interface Labelled {
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace: string
    readonly labels: Readonly<Record<string, string>>
  }
  readonly spec?: { readonly template?: { readonly labels: Readonly<Record<string, string>> } }
}

/** The label of a namespace, a service, a pod or the template of one. */
export function checkUseWaypoint(root: YamlReader, object: unknown, context: ReadContext): void {
  if (!isLabelled(object)) return
  const { kind, metadata } = object
  const template = object.spec?.template
  const labels = template?.labels ?? metadata.labels
  const namespace = kind === 'Namespace' ? metadata.name : metadata.namespace
  const reference = referenceOf(labels, namespace)
  const at = template === undefined ? root : root.object()?.get('spec')?.object()?.get('template')
  const canary = at && labelReader(at, CANARY_LABEL)
  canary?.problem('canary waypoints are not supported: everything goes to the other one', 'warning')
  if (at !== undefined && reference === undefined)
    labelReader(at, useWaypointNamespaceLabel)?.problem(
      `has no effect without ${useWaypointLabel}`,
      'warning',
    )
  if (reference?.kind !== 'named') return
  const reader = at && labelReader(at, useWaypointLabel)
  const namespaceReader = at && labelReader(at, useWaypointNamespaceLabel)
  context.check(known => {
    const key = `${reference.namespace}/${reference.name}`
    if (!known.gateways.has(key)) {
      const elsewhere = [...known.gateways.keys()].filter(name => name.endsWith(`/${reference.name}`))
      const hint = elsewhere.length === 0 ? '' : `; there is ${elsewhere.join(', ')}`
      const place = namespaceReader ?? reader
      place?.problem(`refers to the waypoint (Gateway) ${key}, which is not defined${hint}`)
      return
    }
    checkAttachment(reader, kind, namespace, key, known)
  })
}

function isLabelled(object: unknown): object is Labelled {
  return (
    typeof object === 'object' &&
    object !== null &&
    'kind' in object &&
    typeof object.kind === 'string' &&
    ['Namespace', 'Service', 'Pod', 'Deployment'].includes(object.kind)
  )
}

function checkAttachment(
  reader: YamlReader | undefined,
  kind: string,
  namespace: string,
  key: string,
  known: Known,
): void {
  const gateway = known.gateways.get(key)
  if (gateway === undefined) return
  if (!isWaypoint(gateway)) {
    reader?.problem(
      `refers to the Gateway ${key} of class ${gateway.spec.className}, which is no waypoint: expected ${WAYPOINT_CLASS}`,
    )
    return
  }
  const namespaceLabels = known.namespaceObjects.get(namespace)?.metadata.labels ?? {}
  const consumer = { namespace, namespaceLabels }
  const wanted =
    kind === 'Service' ? ['service'] : kind === 'Namespace' ? ['service', 'workload'] : ['workload']
  const results = wanted.map(traffic =>
    attach(gateway, consumer, traffic === 'service' ? 'service' : 'workload'),
  )
  if (results.some(result => result.kind === 'attached')) return
  const [first] = results
  if (first?.kind !== 'refused') return
  const why =
    first.reason === 'AttachmentDenied'
      ? `the waypoint ${key} does not admit the namespace ${namespace} (allowedRoutes)`
      : `the waypoint ${key} is for ${gateway.spec.waypointFor}, not for a ${kind}`
  reader?.problem(`${why}: it is not used (${first.reason})`, 'warning')
}

/** Each target of a policy: is it there, and is there somebody who enforces the policy for it? */
export function checkPolicyTargets(
  root: YamlReader,
  { metadata, spec }: AuthorizationPolicy | RequestAuthentication,
  context: ReadContext & { readonly rootNamespace: string },
): void {
  const specReader = root.object()?.get('spec')?.object()
  const readers: YamlReader[] = []
  const single = specReader?.get('targetRef')
  if (single !== undefined) readers.push(single)
  specReader?.get('targetRefs')?.list(item => void readers.push(item))
  for (const [index, target] of (spec.targetRefs ?? []).entries()) {
    const reader = readers[index]
    if (reader === undefined) continue
    if (target.namespace !== undefined && target.namespace !== metadata.namespace) {
      reader.problem(
        `a policy is for targets of its own namespace ${metadata.namespace}: this one never matches`,
        'warning',
      )
      continue
    }
    const key = `${metadata.namespace}/${target.name}`
    context.check(known => {
      if (target.kind === 'Service') checkService(reader, key, known)
      else if (target.kind === 'Gateway') checkGateway(reader, key, known)
      else if (target.kind === 'GatewayClass') checkClass(reader, target.name, metadata.namespace, context)
      else reader.problem('a ServiceEntry has no waypoint here: nobody enforces the policy for it', 'warning')
    })
  }
}

function checkService(reader: YamlReader, key: string, known: Known): void {
  if (known.services.size > 0 && !known.services.has(key))
    reader.object()?.get('name')?.problem(`refers to the Service ${key}, which is not defined`)
  const service = known.services.get(key)
  if (service !== undefined && !hasWaypoint(service, known))
    reader.problem(`the Service ${key} has no waypoint: nobody enforces the policy for it`, 'warning')
}

function checkGateway(reader: YamlReader, key: string, known: Known): void {
  if (!known.gateways.has(key))
    reader.object()?.get('name')?.problem(`refers to the Gateway ${key}, which is not defined`)
  const gateway = known.gateways.get(key)
  if (gateway !== undefined && !isWaypoint(gateway))
    reader.problem(`the Gateway ${key} is no waypoint: nobody enforces the policy for it`, 'warning')
}

function checkClass(
  reader: YamlReader,
  name: string,
  namespace: string,
  { rootNamespace }: { readonly rootNamespace: string },
): void {
  if (name !== WAYPOINT_CLASS)
    reader.problem(
      `expected ${WAYPOINT_CLASS}, the class of waypoints: nobody enforces the policy`,
      'warning',
    )
  else if (namespace !== rootNamespace)
    reader.problem(
      `a policy for a class counts in the namespace ${rootNamespace} only: nobody enforces it`,
      'warning',
    )
}
