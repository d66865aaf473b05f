/** Names of callers and services in rules: does the mesh have them? */
import type { LintContext } from './finding.ts'
import { fieldsOf, type RuleField } from './rule-fields.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { hasTargets, targetOf, workloadsOf } from '../where/attached-to.ts'
import { keyOfNamed, type MeshFacts, type MeshService } from '../where/mesh-facts.ts'
import { globTest } from '../waypoint/text-match.ts'
import { nearest } from '../yaml/nearest.ts'
import { quote } from '../yaml/problem.ts'

export function checkNames(context: LintContext): void {
  for (const policy of context.documents.authorizationPolicies) {
    for (const [index, rule] of (policy.spec.rules ?? []).entries())
      for (const field of fieldsOf(rule, index)) checkField(policy, field, context)
    if (context.mesh !== undefined) checkPorts(policy, context.mesh, context)
  }
}

function checkField(policy: AuthorizationPolicy, field: RuleField, context: LintContext): void {
  const { mesh } = context
  for (const [at, value] of field.values.entries()) {
    const path = `${field.path}[${at}]`
    if (field.key === 'source.principal') checkPrincipal(policy, value, path, context)
    if (mesh === undefined) continue
    if (field.key === 'source.namespace') checkNamespace(policy, value, path, context)
    if (field.key === 'source.serviceAccount')
      checkAccount(
        policy,
        value.includes('/') ? value : `${policy.metadata.namespace}/${value}`,
        path,
        context,
      )
    if (field.key === 'hosts') checkHost(policy, value, path, context)
  }
}

/** Only the parts that are written out. */
function checkPrincipal(
  policy: AuthorizationPolicy,
  value: string,
  path: string,
  context: LintContext,
): void {
  const parts = value.split('/')
  const [domain = '', ns, namespace = '', sa, account = ''] = parts
  if (value.startsWith('*') || value.startsWith('spiffe://') || ns !== 'ns') return
  const { trustDomain, trustDomainAliases } = context.settings
  // ztunnel knows neither aliases nor the pointer.
  const known = hasTargets(policy) ? [trustDomain, ...trustDomainAliases, 'cluster.local'] : [trustDomain]
  const federated = trustDomainAliases.includes(domain)
  if (!domain.includes('*') && !known.includes(domain) && !federated)
    context.report(
      'unknown-trust-domain',
      policy,
      path,
      `the mesh's trust domain is ${trustDomain}, not ${domain}`,
    )
  if (context.mesh === undefined || !known.includes(domain)) return
  if (parts.length === 5 && sa === 'sa' && !account.includes('*'))
    checkAccount(policy, `${namespace}/${account}`, path, context)
  else checkNamespace(policy, namespace, path, context)
}

function checkNamespace(
  policy: AuthorizationPolicy,
  value: string,
  path: string,
  context: LintContext,
): void {
  const namespaces = context.mesh?.namespaces
  if (namespaces === undefined || namespaces.some(name => globTest(value)(name))) return
  const problem = value.includes('*')
    ? `${quote(value)} matches no namespace of the mesh`
    : `there is no namespace ${quote(value)}${hint(nearest(value, namespaces))}`
  context.report('unknown-namespace', policy, path, problem)
}

function checkAccount(
  policy: AuthorizationPolicy,
  account: string,
  path: string,
  context: LintContext,
): void {
  const accounts = context.mesh?.serviceAccounts
  if (accounts === undefined || accounts.includes(account)) return
  const [namespace = ''] = account.split('/')
  const { namespaces } = context.mesh ?? {}
  if (namespaces !== undefined && !namespaces.includes(namespace)) {
    checkNamespace(policy, namespace, path, context)
    return
  }
  // Where no namespace is written, others may be described elsewhere.
  if (namespaces === undefined && !accounts.some(known => known.startsWith(`${namespace}/`))) return
  const similar = nearest(account, accounts)
  context.report(
    'unknown-service-account',
    policy,
    path,
    `no workload runs as ${quote(account)}${hint(similar)}`,
  )
}

/** Only names of the cluster: others may be anywhere. */
function checkHost(
  policy: AuthorizationPolicy,
  value: string,
  path: string,
  { mesh, report }: LintContext,
): void {
  const [host = ''] = value.toLowerCase().split(':')
  if (mesh === undefined || mesh.services.length === 0 || host.includes('*') || !/\.svc(\.|$)/.test(host))
    return
  const names = mesh.services.flatMap(({ hostname, name, namespace }) => [
    hostname,
    `${name}.${namespace}.svc`,
  ])
  if (!names.includes(host))
    report('unknown-service', policy, path, `there is no service ${quote(host)}${hint(nearest(host, names))}`)
}

function hint(similar: string | undefined): string {
  return similar === undefined ? '' : `; did you mean ${quote(similar)}?`
}

function checkPorts(policy: AuthorizationPolicy, mesh: MeshFacts, context: LintContext): void {
  const services = servicesOf(policy, mesh, context.settings.rootNamespace)
  const atWaypoint = hasTargets(policy)
  const taken = new Set(services.flatMap(({ ports }) => ports.map(({ port }) => port)))
  const targets = new Set(services.flatMap(({ ports }) => ports.map(({ targetPort }) => targetPort)))
  // A named target port is known to the containers only.
  if (services.length === 0 || targets.has(0)) return
  for (const workload of atWaypoint
    ? []
    : workloadsOf(policy, { mesh, rootNamespace: context.settings.rootNamespace }))
    for (const port of workload.ports) targets.add(port)
  for (const [index, rule] of (policy.spec.rules ?? []).entries())
    for (const { key, values, path } of fieldsOf(rule, index)) {
      if (key !== 'destination.port') continue
      for (const [at, value] of values.entries()) {
        const port = Number(value)
        const place = `${path}[${at}]`
        if (atWaypoint && targets.has(port) && !taken.has(port))
          context.report(
            'workload-port-at-waypoint',
            policy,
            place,
            `a waypoint compares the service's port${swapText(services, port, 'targetPort')}; ${port} is the workload's`,
          )
        if (!atWaypoint && taken.has(port) && !targets.has(port))
          context.report(
            'service-port-at-ztunnel',
            policy,
            place,
            `ztunnel compares the workload's port${swapText(services, port, 'port')}; ${port} is the service's`,
          )
      }
    }
}

/** The other number of the same port. */
function swapText(services: readonly MeshService[], port: number, given: 'port' | 'targetPort'): string {
  const found = services.flatMap(({ ports }) => ports).find(each => each[given] === port)
  if (found === undefined) return ''
  return ` ${given === 'port' ? found.targetPort : found.port}`
}

/** The services that a policy's traffic is addressed to. */
function servicesOf(
  policy: AuthorizationPolicy,
  mesh: MeshFacts,
  rootNamespace: string,
): readonly MeshService[] {
  if (hasTargets(policy))
    return (policy.spec.targetRefs ?? []).flatMap(reference => {
      const found = targetOf(reference, policy, { mesh, rootNamespace })
      if (found.kind === 'service') return [found.service]
      if (found.kind !== 'waypoint') return []
      const name = keyOfNamed(found.waypoint)
      return mesh.services.filter(({ waypoint }) => waypoint === name)
    })
  const keys = workloadsOf(policy, { mesh, rootNamespace }).map(keyOfNamed)
  return mesh.services.filter(({ workloads }) => workloads.some(key => keys.includes(key)))
}
