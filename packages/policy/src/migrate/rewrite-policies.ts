/**
 * Policies of sidecars for a mesh of ztunnels and waypoints: a copy per service at its waypoint, which sees the caller,
 * and at the ztunnel what it can judge, with the waypoint let through.
 */
import type { AuthorizationPolicy, PolicyRuleSpec, PolicySource } from '../documents/authorization-policy.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import { onlyByWaypoint, refusesTokens, rewriteTokens } from './rewrite-tokens.ts'
import {
  keyOfNamed,
  type MeshFacts,
  type MeshService,
  type MeshWorkload,
  waypointsOf,
} from '../where/mesh-facts.ts'
import { hasHttpOperation, hasHttpSource, hasIgnoredSource, isL4Key } from '../ztunnel/http-fields.ts'
import { matchesSelector } from '../ztunnel/selector.ts'

export interface MigrateOptions {
  readonly rootNamespace: string
  readonly trustDomain: string
}

export interface RewriteOptions extends MigrateOptions {
  /** Of the sidecars, to be moved too. Default: none. */
  readonly requestAuthentications?: readonly RequestAuthentication[]
}

export interface Rewritten {
  readonly policies: readonly AuthorizationPolicy[]
  /** For waypoints: no ztunnel looks at tokens. */
  readonly requestAuthentications: readonly RequestAuthentication[]
  /** What the new policies cannot say, and what is missing in the mesh for them. */
  readonly problems: readonly string[]
}

export function rewritePolicies(
  policies: readonly AuthorizationPolicy[],
  mesh: MeshFacts,
  options: RewriteOptions,
): Rewritten {
  const { rootNamespace, requestAuthentications: documents = [] } = options
  const { requestAuthentications, problems: ofTokens } = rewriteTokens(documents, mesh, {
    rootNamespace,
    servicesOf: workloads => servicesOf(workloads, mesh),
  })
  const problems: string[] = [...ofTokens]
  // By tokens at their sidecars, and with a waypoint that can take that over.
  const guarded = new Set(
    mesh.workloads.filter(
      one => refusesTokens(documents, one, rootNamespace) && servicesOf([one], mesh).length > 0,
    ),
  )
  const rewritten = policies.flatMap(policy => {
    if ((policy.spec.targetRefs?.length ?? 0) > 0) return [policy]
    const workloads = mesh.workloads.filter(workload => selects(policy, workload, options))
    const services = servicesOf(workloads, mesh)
    if (services.length === 0) {
      if (needsWaypoint(policy))
        problems.push(
          `${keyOfNamed(policy.metadata)} has fields that no ztunnel can judge, and no service of its workloads has a waypoint`,
        )
      return [policy]
    }
    const bare = workloads.filter(workload => waypointsOf(workload, mesh).length === 0)
    if (bare.length > 0 && needsWaypoint(policy))
      problems.push(
        `${keyOfNamed(policy.metadata)} has fields that no ztunnel can judge, and is for ${bare.map(keyOfNamed).join(', ')} too, which no waypoint is before`,
      )
    const copies = services.map(service => atWaypoint(policy, service))
    const http = concernsHttp(workloads, policies, options) || workloads.every(one => guarded.has(one))
    const allow = (policy.spec.action ?? 'ALLOW') === 'ALLOW'
    // Only those behind a waypoint are to let it in.
    if (allow && !http && bare.length > 0)
      return [...copies, policy, ...workloads.flatMap(one => throughWaypoint(policy, one, mesh, options))]
    const l4 = atZtunnel(policy, principalsOf(services, mesh, options), http)
    return [...copies, ...(l4 === undefined ? [] : [l4])]
  })
  const open = [...guarded].filter(one => !policies.some(policy => closes(policy, one, options)))
  const closed = open.map(one => onlyByWaypoint(one, principalsOf(servicesOf([one], mesh), mesh, options)))
  return { policies: [...rewritten, ...closed], requestAuthentications, problems }
}

/** Whether what becomes of the policy at the ztunnel is an ALLOW, beside which nothing else comes in. */
function closes(policy: AuthorizationPolicy, workload: MeshWorkload, options: MigrateOptions): boolean {
  const { action = 'ALLOW', targetRefs = [] } = policy.spec
  const allows = action === 'ALLOW' || (action !== 'AUDIT' && needsWaypoint(policy))
  return targetRefs.length === 0 && allows && selects(policy, workload, options)
}

function selects(
  { metadata, spec }: AuthorizationPolicy,
  { namespace, labels }: MeshWorkload,
  { rootNamespace }: MigrateOptions,
): boolean {
  const near = metadata.namespace === namespace || metadata.namespace === rootNamespace
  return near && matchesSelector(spec.selector, labels)
}

/** With a waypoint before them. */
function servicesOf(workloads: readonly MeshWorkload[], mesh: MeshFacts): readonly MeshService[] {
  const keys = new Set(workloads.map(keyOfNamed))
  return mesh.services.filter(
    ({ workloads: own, waypoint }) => waypoint !== undefined && own.some(key => keys.has(key)),
  )
}

function principalsOf(
  services: readonly MeshService[],
  mesh: MeshFacts,
  options: MigrateOptions,
): readonly string[] {
  return [...new Set(services.flatMap(service => waypointPrincipal(service, mesh, options) ?? []))].sort()
}

/** `undefined` where the waypoint that a service names does not exist. */
export function waypointPrincipal(
  { waypoint }: MeshService,
  mesh: MeshFacts,
  { trustDomain }: MigrateOptions,
): string | undefined {
  const found = mesh.waypoints.find(one => keyOfNamed(one) === waypoint)
  return found && `${trustDomain}/ns/${found.namespace}/sa/${found.serviceAccount}`
}

/** Whether any policy of these workloads is one for a waypoint: then nobody may go around it. */
function concernsHttp(
  workloads: readonly MeshWorkload[],
  policies: readonly AuthorizationPolicy[],
  options: MigrateOptions,
): boolean {
  return policies.some(
    policy => needsWaypoint(policy) && workloads.some(workload => selects(policy, workload, options)),
  )
}

export function needsWaypoint({ spec }: AuthorizationPolicy): boolean {
  const { action = 'ALLOW', rules = [] } = spec
  if (action !== 'ALLOW' && action !== 'DENY') return true
  return rules.some(
    ({ from = [], to = [], when = [] }) =>
      from.some(({ source }) => hasHttpSource(source) || hasIgnoredSource(source)) ||
      to.some(({ operation }) => hasHttpOperation(operation)) ||
      when.some(({ key }) => !isL4Key(key)),
  )
}

/** In the namespace of the service, with the numbers of its ports. */
function atWaypoint(
  { kind, metadata, spec }: AuthorizationPolicy,
  service: MeshService,
): AuthorizationPolicy {
  const { selector: _, targetRefs: __, rules, ...rest } = spec
  const target =
    service.kind === 'ServiceEntry'
      ? { group: 'networking.istio.io', kind: 'ServiceEntry', name: service.name }
      : { group: '', kind: 'Service', name: service.name }
  const { namespace } = service
  return {
    kind,
    metadata: { ...metadata, namespace, name: `${metadata.name}-${service.name}` },
    spec: {
      ...rest,
      targetRefs: [target],
      ...(rules === undefined
        ? {}
        : { rules: rules.map(rule => withServicePorts(qualified(rule, metadata.namespace), service)) }),
    },
  }
}

/** Accounts without namespace are of the policy's own. */
function qualified(rule: PolicyRuleSpec, namespace: string): PolicyRuleSpec {
  const full = (values: readonly string[] | undefined): readonly string[] | undefined =>
    values?.map(value => (value.includes('/') ? value : `${namespace}/${value}`))
  if (rule.from === undefined) return rule
  const from = rule.from.map(({ source }) => {
    const serviceAccounts = full(source.serviceAccounts)
    const notServiceAccounts = full(source.notServiceAccounts)
    const changed: PolicySource = {
      ...source,
      ...(serviceAccounts === undefined ? {} : { serviceAccounts }),
      ...(notServiceAccounts === undefined ? {} : { notServiceAccounts }),
    }
    return { source: changed }
  })
  return { ...rule, from }
}

/** A sidecar sees the workload's port, a waypoint the service's. */
function withServicePorts(rule: PolicyRuleSpec, { ports }: MeshService): PolicyRuleSpec {
  const translate = (values: readonly string[] | undefined): readonly string[] | undefined =>
    values?.flatMap(value => {
      const mapped = ports.filter(({ targetPort }) => String(targetPort) === value)
      // A port that the service does not have stays: nothing comes in by it.
      return mapped.length === 0 ? [unusedPort(value, ports)] : mapped.map(({ port }) => String(port))
    })
  const to = rule.to?.map(({ operation }) => {
    const [some, none] = [translate(operation.ports), translate(operation.notPorts)]
    return {
      operation: {
        ...operation,
        ...(some === undefined ? {} : { ports: some }),
        ...(none === undefined ? {} : { notPorts: none }),
      },
    }
  })
  const when = rule.when?.map(condition => {
    if (condition.key !== 'destination.port') return condition
    const [some, none] = [translate(condition.values), translate(condition.notValues)]
    return {
      ...condition,
      ...(some === undefined ? {} : { values: some }),
      ...(none === undefined ? {} : { notValues: none }),
    }
  })
  return { ...rule, ...(to === undefined ? {} : { to }), ...(when === undefined ? {} : { when }) }
}

/** The number may be that of another port of the service, whose traffic it must not mean. */
function unusedPort(value: string, ports: MeshService['ports']): string {
  const taken = new Set(ports.map(({ port }) => String(port)))
  return taken.has(value) ? '0' : value
}

/** What stays: L4 policies with the waypoint let through; where HTTP is judged, the waypoint alone comes in. */
function atZtunnel(
  policy: AuthorizationPolicy,
  waypoints: readonly string[],
  http: boolean,
): AuthorizationPolicy | undefined {
  const { spec } = policy
  const { action = 'ALLOW', rules = [] } = spec
  const onlyWaypoint: PolicyRuleSpec = { from: [{ source: { principals: waypoints } }] }
  if (action === 'ALLOW') {
    const kept = http ? [] : rules
    return { ...policy, spec: { ...spec, rules: waypoints.length === 0 ? kept : [...kept, onlyWaypoint] } }
  }
  if (needsWaypoint(policy)) {
    const { provider: _, ...rest } = spec
    // Whoever goes around the waypoint would go around this policy.
    return action === 'AUDIT'
      ? undefined
      : { ...policy, spec: { ...rest, action: 'ALLOW', rules: [onlyWaypoint] } }
  }
  return { ...policy, spec: { ...spec, rules: rules.map(rule => exceptFor(rule, waypoints)) } }
}

/** Beside an ALLOW that is for others too: lets the waypoints of one workload in. */
function throughWaypoint(
  { kind, metadata }: AuthorizationPolicy,
  workload: MeshWorkload,
  mesh: MeshFacts,
  options: MigrateOptions,
): readonly AuthorizationPolicy[] {
  const principals = principalsOf(servicesOf([workload], mesh), mesh, options)
  if (principals.length === 0) return []
  const { namespace, labels, name } = workload
  return [
    {
      kind,
      metadata: { ...metadata, namespace, name: `${metadata.name}-${name}-waypoint` },
      spec: {
        selector: { matchLabels: labels },
        action: 'ALLOW',
        rules: [{ from: [{ source: { principals } }] }],
      },
    },
  ]
}

/** A DENY by caller is not for the waypoint, which denies by the true caller itself. */
function exceptFor(rule: PolicyRuleSpec, waypoints: readonly string[]): PolicyRuleSpec {
  const asks = (rule.from?.length ?? 0) > 0 || (rule.when ?? []).some(({ key }) => key.startsWith('source.'))
  if (!asks || waypoints.length === 0) return rule
  return { ...rule, when: [...(rule.when ?? []), { key: 'source.principal', notValues: waypoints }] }
}
