/** What a decision answers, as plain data: the JSON that `ambient policy explain -o json` prints. */

/**
 * Who decides: `ztunnel` (L4, as istiod translates and ztunnel evaluates), `envoy-tcp` and `envoy-http` (as istiod
 * translates and Envoy evaluates).
 */
export type PolicyDialect = 'ztunnel' | 'envoy-tcp' | 'envoy-http'

/** The proxy that enforces: which policies attach to it depends on what it is. */
export interface Enforcer {
  /** A workload's own proxy (its ztunnel, or a sidecar in Envoy's dialects), a waypoint, or an ingress gateway. */
  readonly kind: 'workload' | 'waypoint' | 'gateway'
  readonly namespace: string
  /** Of the workload or the Gateway. */
  readonly name?: string
  readonly labels?: Readonly<Record<string, string>>
  /** `namespace/name` of the service that the traffic is for. */
  readonly service?: string
}

export interface PolicyVerdict {
  readonly verdict: 'allow' | 'deny'
  /** Of the policies that decided; `default` when none did. */
  readonly action: 'ALLOW' | 'DENY' | 'CUSTOM' | 'default'
  /** `namespace/name`; `null` when no single policy decided. */
  readonly policy: string | null
  /** Counts from 0, in the document. */
  readonly rule: number | null
  /** For people. Names the bug of upstream that the verdict is owed to, where it is. */
  readonly reason: string
  readonly dialect: PolicyDialect
  /**
   * The proxy that answers: the one that was given, or the one that the destination means. Given back it is asked again.
   * Absent where no proxy was asked.
   */
  readonly enforcer?: Enforcer
  /** Of the answer on the wire, where there is one: 400 for a path that the proxy refuses, 401, 403. */
  readonly status?: number
  /** What dry-run policies would have done; they never decide. */
  readonly dryRun: readonly DryRunVerdict[]
  /** Every policy that was looked at. */
  readonly trace: readonly PolicyTrace[]
}

export interface DryRunVerdict {
  readonly action: 'ALLOW' | 'DENY' | 'CUSTOM'
  readonly verdict: 'allow' | 'deny'
  readonly policy: string | null
  readonly rule: number | null
}

/** One policy, and what became of it. */
export interface PolicyTrace {
  /** `namespace/name`. */
  readonly policy: string
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM'
  readonly dryRun: boolean
  /** Whether this enforcer obeys it. */
  readonly applies: boolean
  /** What attaches it (`namespace shop`, `Service shop/web`), or why nothing does. */
  readonly attachment: string
  readonly matched: boolean
  /** Empty when the policy does not apply. By their index in the document. */
  readonly rules: readonly RuleTrace[]
}

export interface RuleTrace {
  readonly rule: number
  readonly matched: boolean
  /** Why this dialect does not ask the rule at all. */
  readonly skipped?: string
  /** Fields that this dialect does not see, so that the rule is wider than it is written. */
  readonly dropped: readonly string[]
  /** The first clause that did not hold. */
  readonly failed?: ClauseTrace
}

export interface ClauseTrace {
  /** `from`, `to`, `when[0]`. */
  readonly clause: string
  /** One per alternative of the clause: the first field that failed, with both values. */
  readonly alternatives: readonly FieldTrace[]
}

export interface FieldTrace {
  /** `paths`, `notHosts`, `request.headers[x-a]`. */
  readonly field: string
  readonly wanted: readonly string[]
  readonly found: string
}
