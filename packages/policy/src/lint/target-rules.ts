/** What policies are attached to: is it there, and does somebody enforce them for it? */
import type { LintContext, LintedPolicy } from './finding.ts'
import { matchesPrincipal } from './principals.ts'
import type { AuthorizationPolicy, PolicyTargetReference } from '../documents/authorization-policy.ts'
import {
  type AttachablePolicy,
  gatewaysOf,
  hasEmptySelector,
  hasTargets,
  targetOf,
  WAYPOINT_CLASS,
  workloadsOf,
} from '../where/attached-to.ts'
import { l4EffectOf } from '../where/l4-effect.ts'
import { keyOfNamed, waypointsOf } from '../where/mesh-facts.ts'
import { quote } from '../yaml/problem.ts'

export function checkTargets(context: LintContext): void {
  const { authorizationPolicies, requestAuthentications, peerAuthentications } = context.documents
  for (const policy of [...authorizationPolicies, ...requestAuthentications]) {
    for (const [index, reference] of (policy.spec.targetRefs ?? []).entries())
      checkReference(policy, reference, index, context)
  }
  for (const policy of [...authorizationPolicies, ...requestAuthentications, ...peerAuthentications])
    checkSelector(policy, context)
  checkWaypointPrincipals(context)
}

function checkReference(
  policy: LintedPolicy & AttachablePolicy,
  reference: PolicyTargetReference,
  index: number,
  context: LintContext,
): void {
  const { namespace } = policy.metadata
  const path = (field: string): string => `spec.targetRefs[${index}]${field}`
  if (reference.namespace !== undefined && reference.namespace !== namespace) {
    const text = `a policy is for targets of its own namespace ${namespace}: this one never attaches`
    context.report('target-in-other-namespace', policy, path('.namespace'), text)
    return
  }
  const { rootNamespace } = context.settings
  if (reference.kind === 'GatewayClass') {
    if (reference.name !== WAYPOINT_CLASS)
      context.report(
        'gateway-class',
        policy,
        path('.name'),
        `expected ${WAYPOINT_CLASS}, found ${quote(reference.name)}`,
      )
    else if (namespace !== rootNamespace)
      context.report('gateway-class', policy, path(''), `counts in the namespace ${rootNamespace} only`)
    return
  }
  if (context.mesh === undefined) return
  const found = targetOf(reference, policy, { mesh: context.mesh, rootNamespace })
  const key = `${namespace}/${reference.name}`
  if (found.kind === 'not-found')
    context.report('target-not-found', policy, path('.name'), `there is no ${reference.kind} ${key}`)
  if (found.kind === 'service' && found.waypoint === undefined)
    context.report(
      'target-without-waypoint',
      policy,
      path(''),
      `the ${reference.kind} ${key} has no waypoint: nobody enforces the policy for it`,
    )
}

function checkSelector(policy: LintedPolicy, context: LintContext): void {
  const { mesh } = context
  const labels = Object.entries(policy.spec.selector?.matchLabels ?? {})
  if (mesh === undefined || labels.length === 0 || hasEmptySelector(policy)) return
  const inMesh = { mesh, rootNamespace: context.settings.rootNamespace }
  if (workloadsOf(policy, inMesh).length > 0 || gatewaysOf(policy, inMesh).length > 0) return
  const text = labels.map(([key, value]) => `${key}=${value}`).join(', ')
  const namespace = policy.metadata.namespace
  const where = namespace === inMesh.rootNamespace ? 'any namespace' : `namespace ${namespace}`
  context.report(
    'selector-without-match',
    policy,
    'spec.selector',
    `no workload of ${where} has the labels ${quote(text)}`,
  )
}

/** Where ALLOW policies of ztunnel name clients of a workload behind a waypoint, but not the waypoint. */
function checkWaypointPrincipals(context: LintContext): void {
  const { mesh, documents } = context
  const { rootNamespace, trustDomain, requireWaypoint } = context.settings
  if (mesh === undefined || requireWaypoint) return
  const allows = documents.authorizationPolicies.filter(
    policy => !hasTargets(policy) && (policy.spec.action ?? 'ALLOW') === 'ALLOW',
  )
  const told = new Set<AuthorizationPolicy>()
  for (const workload of mesh.workloads) {
    const policies = allows.filter(policy => workloadsOf(policy, { mesh, rootNamespace }).includes(workload))
    const [first] = policies
    if (workload.proxy !== 'ztunnel' || first === undefined) continue
    for (const name of waypointsOf(workload, mesh)) {
      const waypoint = mesh.waypoints.find(each => keyOfNamed(each) === name)
      if (waypoint === undefined) continue
      const principal = `${trustDomain}/ns/${waypoint.namespace}/sa/${waypoint.serviceAccount}`
      if (policies.some(policy => mayAllow(policy, principal)) || told.has(first)) continue
      told.add(first)
      const text = `the workload ${keyOfNamed(workload)} is behind the waypoint ${name}, and no ALLOW at its ztunnel names ${principal}: all that comes through the waypoint is refused`
      context.report('waypoint-not-allowed', first, 'spec.rules', text)
    }
  }
}

/** Whether some rule could allow this caller, whatever else it asks. */
function mayAllow({ metadata, spec }: AuthorizationPolicy, principal: string): boolean {
  return (spec.rules ?? []).some(rule => {
    const { from = [], when = [] } = rule
    if (l4EffectOf(rule, 'ALLOW').effect === 'dropped') return false
    const sources =
      from.length === 0 || from.some(({ source }) => matchesPrincipal(source, principal, metadata.namespace))
    return (
      sources &&
      when.every(({ key, values, notValues }) => {
        if (key === 'source.principal')
          return matchesPrincipal(
            { ...(values && { principals: values }), ...(notValues && { notPrincipals: notValues }) },
            principal,
            metadata.namespace,
          )
        if (key === 'source.namespace')
          return matchesPrincipal(
            { ...(values && { namespaces: values }), ...(notValues && { notNamespaces: notValues }) },
            principal,
            metadata.namespace,
          )
        return true
      })
    )
  })
}
