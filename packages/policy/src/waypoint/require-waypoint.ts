/**
 * The L4 policy that makes a waypoint obligatory: only its identity may reach the workloads behind it, so whoever goes
 * around it (to a pod's own address, or from outside the mesh) is refused by their ztunnel.
 *
 * Source: istiod's PILOT_AUTO_ALLOW_WAYPOINT_POLICY, whose names these are.
 */
import type {
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  WorkloadSelector,
} from '../documents/authorization-policy.ts'
import { type Authorization, emptyMatch } from '../ztunnel/authorization.ts'

const NAME_PREFIX = 'istio_allow_waypoint_'

export interface RequireWaypointOptions {
  /** Of the Gateway. */
  readonly namespace: string
  readonly name: string
  readonly trustDomain: string
  /** The waypoint's own; the Gateway's name when absent. */
  readonly serviceAccount?: string
  /** For the document: which workloads of the policy's namespace; all of them when absent. */
  readonly selector?: WorkloadSelector
  /** Where the policy is; the Gateway's namespace when absent. A document selects in its own namespace only. */
  readonly policyNamespace?: string
  /**
   * Another name for the policy. istiod's has underscores, which an API server does not take; `explain` knows only
   * istiod's.
   */
  readonly policyName?: string
  /** The Gateway does not exist: nobody may reach the workloads until it does. */
  readonly missing?: boolean
}

export interface RequiredWaypoint {
  /** As one would write it. */
  readonly policy: AuthorizationPolicy
  /** As ztunnel gets it: for the workloads that list it by `namespace/name`. */
  readonly authorization: Authorization
  /** What it means, in a few lines for people. */
  readonly explanation: string
}

/** @returns an ALLOW whose only principal is the waypoint's; with it each listed workload refuses everybody else. */
export function requireWaypoint(options: RequireWaypointOptions): RequiredWaypoint {
  const { namespace, name, trustDomain, serviceAccount = name, missing = false } = options
  const metadata = {
    name: options.policyName ?? `${NAME_PREFIX}${namespace}_${name}`,
    namespace: options.policyNamespace ?? namespace,
  }
  const principal = `${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
  const spec: AuthorizationPolicySpec = {
    ...(options.selector === undefined ? {} : { selector: options.selector }),
    action: 'ALLOW',
    rules: missing ? [] : [{ from: [{ source: { principals: [principal] } }] }],
  }
  const clause = { matches: [{ ...emptyMatch, principals: [{ kind: 'exact' as const, value: principal }] }] }
  return {
    policy: {
      kind: 'AuthorizationPolicy',
      metadata: { ...metadata, labels: {}, annotations: {} },
      spec,
    },
    authorization: {
      ...metadata,
      scope: 'WorkloadSelector',
      action: 'Allow',
      dryRun: false,
      rules: missing ? [] : [{ clauses: [clause] }],
    },
    explanation: explanationOf(`${metadata.namespace}/${metadata.name}`, options, principal),
  }
}

/** `namespace/name` of the waypoint that a policy of ours or istiod's requires; `undefined` for any other policy. */
export function waypointRequiredBy(policyKey: string): string | undefined {
  const name = policyKey.slice(policyKey.indexOf('/') + 1)
  if (!name.startsWith(NAME_PREFIX)) return undefined
  // Neither a namespace nor a Gateway has an underscore.
  const [namespace, gateway, ...rest] = name.slice(NAME_PREFIX.length).split('_')
  return namespace && gateway && rest.length === 0 ? `${namespace}/${gateway}` : undefined
}

function explanationOf(
  policy: string,
  { namespace, name, missing = false }: RequireWaypointOptions,
  principal: string,
): string {
  const waypoint = `${namespace}/${name}`
  if (missing)
    return [
      `${policy}: the waypoint ${waypoint} does not exist, so nobody may reach the workloads behind it.`,
      'Create the Gateway, or take the label istio.io/use-waypoint away.',
    ].join('\n')
  return [
    `${policy}: traffic has to come through the waypoint ${waypoint}.`,
    `The workloads behind it take connections of ${principal} only: whoever dials a pod's own address, or has no`,
    'identity of the mesh, is refused by the ztunnel of the destination. Who may call is decided at the waypoint,',
    'by policies whose targetRefs name the service or the Gateway; to let somebody past it, such as a scraper of',
    'metrics, add an ALLOW policy that selects the workload and names the principal and the port.',
  ].join('\n')
}
