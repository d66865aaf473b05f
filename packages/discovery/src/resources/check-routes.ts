/** What routes refer to: services, ports, subsets. Said where the reference was written, when all documents are read. */
import type { ObjectMeta, YamlObject, YamlReader } from '@ambient/policy'
import { accountOfService, waypointOfAccount } from './account-waypoint.ts'
import { type Known, matchesLabels, type ReadContext, type ReadScope } from './context.ts'
import type { Subset } from './destination-rule-types.ts'
import { fullHostname, hostMatches } from './hostnames.ts'
import type { BackendRef, ParentRef } from './http-route-types.ts'
import { attach, effectiveReference, namesNoWaypoint } from './use-waypoint.ts'
import type { ServiceResource } from './types.ts'
import type { VirtualServiceDestination } from './virtual-service-types.ts'

/** Manifests do not say the cluster's domain; every cluster of note has this one. */
const CLUSTER_DOMAIN = 'cluster.local'
const SERVICE_HOST = /^([^.]+)\.([^.]+)\.svc\.cluster\.local$/

export function checkParent(reader: YamlReader, parent: ParentRef, scope: ReadScope): void {
  const { kind, namespace, name, port } = parent
  const object = reader.object()
  scope.context.check(known => {
    if (kind === 'ServiceEntry') {
      object
        ?.get('kind')
        ?.problem('a ServiceEntry is not acted upon here: nothing takes this route', 'warning')
      return
    }
    if (kind === 'Gateway') {
      if (known.gateways.size + known.services.size > 0 && !known.gateways.has(`${namespace}/${name}`))
        object?.get('name')?.problem(`refers to the Gateway ${namespace}/${name}, which is not defined`)
      return
    }
    const service = findService(object?.get('name'), namespace, name, known)
    if (service === undefined) return
    if (port !== undefined) checkPort(object?.get('port'), service, port)
    if (namespace !== scope.namespace)
      object
        ?.get('namespace')
        ?.problem('a waypoint takes only routes of the namespace of its service, or of its own', 'warning')
    if (!hasWaypoint(service, known))
      reader.problem(`the Service ${namespace}/${name} has no waypoint: nobody takes this route`, 'warning')
  })
}

export function checkBackend(object: YamlObject, backend: BackendRef, context: ReadContext): void {
  const { kind, namespace, name, port } = backend
  context.check(known => {
    const found =
      kind === 'Service'
        ? findService(object.get('name'), namespace, name, known)
        : findHost(object.get('name'), name, namespace, known, 500)
    if (found !== undefined) checkPort(object.get('port'), found, port)
  })
}

export function checkDestination(
  object: YamlObject,
  destination: VirtualServiceDestination,
  { namespace, context }: ReadScope,
): void {
  const { host, subset, port } = destination
  context.check(known => {
    const service = findHost(object.get('host'), host, namespace, known, 503)
    if (service !== undefined && port !== undefined)
      checkPort(object.get('port')?.object()?.get('number'), service, port)
    const { destinationRules } = known
    if (subset === undefined || destinationRules === undefined) return
    const hostname = fullHostname(host, namespace, CLUSTER_DOMAIN)
    const defined = destinationRules
      .filter(rule =>
        hostMatches(fullHostname(rule.spec.host, rule.metadata.namespace, CLUSTER_DOMAIN), hostname),
      )
      .flatMap(rule => rule.spec.subsets.map(({ name }) => name))
    if (defined.includes(subset)) return
    const there = defined.length === 0 ? 'none is defined' : `there are ${[...new Set(defined)].join(', ')}`
    object
      .get('subset')
      ?.problem(
        `no DestinationRule of ${hostname} has the subset ${JSON.stringify(subset)} (${there}): requests for it are answered 503 NC`,
        'warning',
      )
  })
}

/** Hosts of a VirtualService: each names a service, and nobody else's routes are tried before. */
export function checkHosts(
  readers: readonly YamlReader[],
  hosts: readonly string[],
  { namespace, name }: ObjectMeta,
  context: ReadContext,
): void {
  for (const [index, host] of hosts.entries()) {
    const reader = readers[index]
    const hostname = fullHostname(host, namespace, CLUSTER_DOMAIN)
    if (hosts.slice(0, index).some(other => fullHostname(other, namespace, CLUSTER_DOMAIN) === hostname))
      reader?.problem(`the host ${hostname} is there twice`)
    context.check(known => {
      warnUnknownHost(reader, hostname, known)
      const service = serviceOf(hostname, known)
      if (service !== undefined && !hasWaypoint(service, known))
        reader?.problem(`${hostname} has no waypoint: nobody takes these routes`, 'warning')
      const others = known.virtualServices.filter(
        ({ metadata, spec }) =>
          (metadata.namespace !== namespace || metadata.name !== name) &&
          spec.gateways.includes('mesh') &&
          spec.hosts.some(other => fullHostname(other, metadata.namespace, CLUSTER_DOMAIN) === hostname),
      )
      const [first] = others
      if (first === undefined) return
      const { file, line, column } = first.source
      reader?.problem(
        `the VirtualService ${first.metadata.namespace}/${first.metadata.name} (${file}:${line}:${column}) has this host too: a waypoint tries the routes of both, the older first`,
        'warning',
      )
    })
  }
}

export function checkRuleHost(reader: YamlReader, host: string, { namespace, context }: ReadScope): void {
  context.check(known => warnUnknownHost(reader, fullHostname(host, namespace, CLUSTER_DOMAIN), known))
}

/** A subset without endpoints is answered 503 UH. */
export function checkSubsetLabels(
  reader: YamlReader,
  { name, labels }: Subset,
  host: string,
  { namespace, context }: ReadScope,
): void {
  context.check(known => {
    const service = serviceOf(fullHostname(host, namespace, CLUSTER_DOMAIN), known)
    const { selector } = service?.spec ?? {}
    if (service === undefined || selector === undefined || known.pods === undefined) return
    const selected = known.pods.filter(
      pod => pod.namespace === service.metadata.namespace && matchesLabels(selector, pod.labels),
    )
    if (selected.length === 0 || selected.some(pod => matchesLabels(labels, pod.labels))) return
    const at = reader.object()?.get('labels') ?? reader
    at.problem(
      `no pod or deployment of ${host} has these labels: requests for the subset ${name} are answered 503 UH`,
      'warning',
    )
  })
}

/** @returns the service, when it is known well enough to look into it. */
function findService(
  reader: YamlReader | undefined,
  namespace: string,
  name: string,
  { services }: Known,
): ServiceResource | undefined {
  const key = `${namespace}/${name}`
  if (services.size > 0 && !services.has(key))
    reader?.problem(`refers to the Service ${key}, which is not defined`)
  return services.get(key)
}

function findHost(
  reader: YamlReader | undefined,
  host: string,
  namespace: string,
  known: Known,
  status: 500 | 503,
): ServiceResource | undefined {
  const hostname = fullHostname(host, namespace, CLUSTER_DOMAIN)
  const found = serviceOf(hostname, known)
  if (found !== undefined || known.services.size === 0) return found
  if (known.otherHosts.has(hostname)) return undefined
  const parts = SERVICE_HOST.exec(hostname)
  if (parts !== null) {
    const key = `${parts[2]}/${parts[1]}`
    if (!known.services.has(key)) reader?.problem(`refers to the Service ${key}, which is not defined`)
    return undefined
  }
  const [name, inNamespace] = hostname.split('.')
  if (known.services.has(`${inNamespace}/${name}`))
    reader?.problem(
      `a name with a dot is taken as it is, and no service is called ${hostname}: did you mean ${name}.${inNamespace}.svc.${CLUSTER_DOMAIN}?`,
    )
  else
    reader?.problem(
      `no service here is called ${hostname}: requests for it are answered ${status}`,
      'warning',
    )
  return undefined
}

function serviceOf(hostname: string, { services }: Known): ServiceResource | undefined {
  const parts = SERVICE_HOST.exec(hostname)
  return parts === null ? undefined : services.get(`${parts[2]}/${parts[1]}`)
}

function warnUnknownHost(reader: YamlReader | undefined, hostname: string, known: Known): void {
  if (known.services.size === 0 || hostname.includes('*') || known.otherHosts.has(hostname)) return
  const parts = SERVICE_HOST.exec(hostname)
  if (parts !== null && known.services.has(`${parts[2]}/${parts[1]}`)) return
  const [name, namespace] = hostname.split('.')
  const hint =
    parts === null && known.services.has(`${namespace}/${name}`)
      ? `; did you mean ${name}.${namespace}.svc.${CLUSTER_DOMAIN}?`
      : ''
  reader?.problem(`no service here is called ${hostname}: it has no effect${hint}`, 'warning')
}

function checkPort(reader: YamlReader | undefined, { metadata, spec }: ServiceResource, port: number): void {
  if (spec.ports.some(known => known.port === port)) return
  const there = spec.ports.map(known => known.port).join(', ')
  reader?.problem(
    `the Service ${metadata.namespace}/${metadata.name} has no port ${port} (it has ${there || 'none'})`,
  )
}

/** A service that a waypoint serves, as far as anybody can know. */
export function hasWaypoint(service: ServiceResource, known: Known): boolean {
  const { namespace, labels } = service.metadata
  const namespaceLabels = known.namespaceObjects.get(namespace)?.metadata.labels ?? {}
  const consumer = { namespace, namespaceLabels }
  if (namesNoWaypoint(labels, namespaceLabels, namespace)) {
    // A document with errors is one that somebody is about to mend.
    if (known.pods === undefined) return true
    const account = accountOfService(service, known.pods)
    const gateway =
      account === undefined ? undefined : waypointOfAccount(known.gateways.values(), namespace, account)
    return attach(gateway, consumer, 'service').kind === 'attached'
  }
  const reference = effectiveReference(labels, namespaceLabels, namespace)
  if (reference === undefined) return false
  const key = `${reference.namespace}/${reference.name}`
  const gateway = known.gateways.get(key)
  if (gateway === undefined) return known.gateways.has(key)
  return attach(gateway, consumer, 'service').kind === 'attached'
}
