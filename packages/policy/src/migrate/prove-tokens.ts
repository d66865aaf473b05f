/**
 * Whether tokens are refused as they were: by the same rules. What rules accept is not compared, so others are undecided.
 * That rules on claims believe the same issuers is a part of the formulas of policies.
 */
import type { JwtRule } from '../documents/request-authentication.ts'
import { selectForEnvoy } from '../evaluator/envoy-selection.ts'
import type { ResolvedDocuments } from '../evaluator/policy-evaluator.ts'
import { keyOfNamed, type MeshService, type MeshWorkload } from '../where/mesh-facts.ts'

export interface TokenRules {
  readonly sidecar: readonly JwtRule[]
  /** Nobody looks at tokens where no waypoint is. */
  readonly waypoint: readonly JwtRule[]
}

export function tokenRulesOf(
  { namespace, name, labels }: MeshWorkload,
  service: MeshService | undefined,
  {
    before,
    after,
    rootNamespace,
  }: {
    readonly before: ResolvedDocuments
    readonly after: ResolvedDocuments
    readonly rootNamespace: string
  },
): TokenRules {
  const rulesAt = (documents: ResolvedDocuments, enforcer: Parameters<typeof selectForEnvoy>[1]) =>
    selectForEnvoy(
      // Of policies nothing is asked here.
      { ...documents, authorizationPolicies: new Map() },
      enforcer,
      rootNamespace,
    ).jwtRules
  const sidecar = rulesAt(before, { kind: 'workload', namespace, name, labels, service: undefined })
  if (service?.waypoint === undefined) return { sidecar, waypoint: [] }
  const [own = '', waypoint = ''] = service.waypoint.split('/')
  return {
    sidecar,
    waypoint: rulesAt(after, {
      kind: 'waypoint',
      namespace: own,
      name: waypoint,
      labels: {},
      service: keyOfNamed(service),
    }),
  }
}

/** What is undecided; `undefined` where the rules are the same. */
export function tokenDoubt({ sidecar, waypoint }: TokenRules): string | undefined {
  if (textOf(sidecar) === textOf(waypoint)) return undefined
  const issuers = (rules: readonly JwtRule[]): string =>
    rules.length === 0 ? 'none' : [...new Set(rules.map(({ issuer }) => issuer))].join(', ')
  return `the rules on tokens are not the same (issuers before: ${issuers(sidecar)}; after: ${issuers(waypoint)}), and which tokens they refuse is not compared`
}

/** How long keys may take to be fetched decides over no token; the order of rules of one issuer neither. */
function textOf(rules: readonly JwtRule[]): string {
  const texts = rules.map(({ timeoutMs: _, ...rule }) => JSON.stringify(rule))
  return [...new Set(texts)].sort().join('\n')
}
