/** AuthorizationPolicy in code: `allow('shop/web').from({ … }).to({ … }).when(…).build()`. */
import type { AuthorizationAction, AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { readAuthorizationPolicy } from '../documents/read-authorization-policy.ts'
import { quote } from '../yaml/problem.ts'
import { checkedDocument, type ManifestDraft } from './check.ts'
import { toYaml } from './manifest.ts'
import { listsOf, metadataDraft, targetDraft } from './metadata.ts'
import type {
  AddressTerms,
  ConditionKey,
  ConditionTerms,
  MetadataTerms,
  ObjectName,
  OneOrMore,
  OperationTerms,
  SourceTerms,
  TargetTerms,
  UnjudgedConditionKey,
} from './terms.ts'

/**
 * A policy in the making. Every method gives a new builder and leaves this one as it is. A rule matches when one of its
 * `from`, one of its `to` and each of its `when` do; a policy when one of its rules does.
 */
export interface AuthorizationPolicyBuilder<Source = SourceTerms, Key extends string = ConditionKey> {
  /** For the workloads with these labels only, in the policy's namespace. Never at a waypoint. */
  select(labels: Readonly<Record<string, string>>): AuthorizationPolicyBuilder<Source, Key>
  /** For this service, waypoint or gateway, in the policy's namespace. Repeat it for several. */
  at(target: TargetTerms): AuthorizationPolicyBuilder<Source, Key>
  /** Reported, not enforced: `istio.io/dry-run`. */
  dryRun(): AuthorizationPolicyBuilder<Source, Key>
  /** One more place that the rule's requests may come from. */
  from(source: Source): AuthorizationPolicyBuilder<Source, Key>
  /** One more thing that the rule's requests may ask for. */
  to(operation: OperationTerms): AuthorizationPolicyBuilder<Source, Key>
  /** One more condition, beside all others of the rule. */
  when(key: Key, values: OneOrMore<string> | ConditionTerms): AuthorizationPolicyBuilder<Source, Key>
  /** Ends the rule: what follows is another one, and either may match. */
  or(): AuthorizationPolicyBuilder<Source, Key>
  /** A rule that matches everything. */
  everything(): AuthorizationPolicyBuilder<Source, Key>
  /** No rule at all: an ALLOW policy that matches nothing, so that its scope is closed but for what others allow. */
  nothing(): AuthorizationPolicyBuilder<Source, Key>
  /**
   * The document, exactly as reading it from a file would give it.
   * @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every mistake that Istio's admission would find, and for a rule
   * that was begun and left empty, a policy without a rule that does not say `nothing()`, one without a namespace, and a
   * principal with `spiffe://`, which matches nobody.
   */
  build(): AuthorizationPolicy
  /** `build()` as YAML text. */
  toYaml(): string
}

/** Requests that may pass; from then on all others of its scope may not. */
export function allow(name: ObjectName, metadata: MetadataTerms = {}): AuthorizationPolicyBuilder {
  return createBuilder(draftOf('ALLOW', name, metadata))
}

/** Requests that may not pass, whatever is allowed. */
export function deny(name: ObjectName, metadata: MetadataTerms = {}): AuthorizationPolicyBuilder {
  return createBuilder(draftOf('DENY', name, metadata))
}

/** Requests to be marked for the log; never decides. ztunnel knows no such policies. */
export function audit(name: ObjectName, metadata: MetadataTerms = {}): AuthorizationPolicyBuilder {
  return createBuilder(draftOf('AUDIT', name, metadata))
}

/** Requests that the external authorizer of this name (of the mesh configuration) is asked about, before all else. */
export function custom(
  name: ObjectName,
  provider: string,
  metadata: MetadataTerms = {},
): AuthorizationPolicyBuilder<AddressTerms, UnjudgedConditionKey> {
  return createBuilder({ ...draftOf('CUSTOM', name, metadata), provider })
}

type Lists = Readonly<Record<string, readonly string[]>>

interface ConditionDraft {
  readonly key: string
  readonly values?: readonly string[]
  readonly notValues?: readonly string[]
}

interface RuleDraft {
  readonly from: readonly { readonly source: Lists }[]
  readonly to: readonly { readonly operation: Lists }[]
  readonly when: readonly ConditionDraft[]
}

interface Draft {
  readonly action: AuthorizationAction
  readonly name: ObjectName
  readonly metadata: MetadataTerms
  readonly selector?: Readonly<Record<string, string>>
  readonly targets: readonly TargetTerms[]
  readonly provider?: string
  readonly rules: readonly RuleDraft[]
  /** Whether the last rule takes what is added, or a new one would (`closed`) or has to (`awaited`). */
  readonly last: 'open' | 'closed' | 'awaited'
  readonly nothing: boolean
}

const EMPTY_RULE: RuleDraft = { from: [], to: [], when: [] }

function draftOf(action: AuthorizationAction, name: ObjectName, metadata: MetadataTerms): Draft {
  return { action, name, metadata, targets: [], rules: [], last: 'closed', nothing: false }
}

function createBuilder<Source extends object, Key extends string>(
  draft: Draft,
): AuthorizationPolicyBuilder<Source, Key> {
  const next = (change: Partial<Draft>): AuthorizationPolicyBuilder<Source, Key> =>
    createBuilder({ ...draft, ...change })
  const extend = (
    change: (rule: RuleDraft) => Partial<RuleDraft>,
  ): AuthorizationPolicyBuilder<Source, Key> => {
    const open = draft.last === 'open'
    const done = open ? draft.rules.slice(0, -1) : draft.rules
    const rule = (open ? draft.rules.at(-1) : undefined) ?? EMPTY_RULE
    return next({ rules: [...done, { ...rule, ...change(rule) }], last: 'open' })
  }
  const build = (): AuthorizationPolicy =>
    checkedDocument(manifestOf(draft), readAuthorizationPolicy, mistakesOf(draft))
  return {
    select: labels => next({ selector: { ...draft.selector, ...labels } }),
    at: target => next({ targets: [...draft.targets, target] }),
    dryRun: () =>
      next({
        metadata: {
          ...draft.metadata,
          annotations: { ...draft.metadata.annotations, 'istio.io/dry-run': 'true' },
        },
      }),
    from: source => extend(({ from }) => ({ from: [...from, { source: listsOf(source) }] })),
    to: operation => extend(({ to }) => ({ to: [...to, { operation: listsOf(operation) }] })),
    when: (key, values) =>
      extend(({ when }) => ({ when: [...when, { key, ...listsOf(isTerms(values) ? values : { values }) }] })),
    or: () => next({ last: 'awaited' }),
    everything: () => next({ rules: [...draft.rules, EMPTY_RULE], last: 'closed' }),
    nothing: () => next({ nothing: true }),
    build,
    toYaml: () => toYaml(build()),
  }
}

function isTerms(values: OneOrMore<string> | ConditionTerms): values is ConditionTerms {
  return typeof values === 'object' && !Array.isArray(values)
}

function manifestOf({
  action,
  name,
  metadata,
  selector,
  targets,
  provider,
  rules,
  nothing,
}: Draft): ManifestDraft {
  return {
    kind: 'AuthorizationPolicy',
    metadata: metadataDraft(name, metadata),
    spec: {
      ...(selector === undefined ? {} : { selector: { matchLabels: selector } }),
      ...(targets.length === 0 ? {} : { targetRefs: targets.map(targetDraft) }),
      action,
      ...(provider === undefined ? {} : { provider: { name: provider } }),
      ...(nothing && rules.length === 0 ? {} : { rules: rules.map(ruleDraft) }),
    },
  }
}

/** A part that was not given is left out: it matches anything. */
function ruleDraft(rule: RuleDraft): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(rule).filter(([, items]) => items.length > 0))
}

/** What is no mistake in a document, and one in code: it says something else than was meant. */
function mistakesOf({ rules, last, nothing }: Draft): readonly string[] {
  const schemes = rules.flatMap(schemesOf)
  if (last === 'awaited')
    return ['or() begins a rule that nothing follows: it would match everything', ...schemes]
  if (nothing && rules.length > 0) return ['nothing() contradicts the rules beside it', ...schemes]
  if (!nothing && rules.length === 0)
    return ['no rule: say from(), to(), when() or everything(), or nothing() to close the scope']
  return schemes
}

const SCHEME = 'spiffe://'

/** Istio's principals have no scheme: one that is written is compared, and matches nobody. */
function schemesOf({ from, when }: RuleDraft, index: number): readonly string[] {
  const sources = from.flatMap(({ source }, at) =>
    (['principals', 'notPrincipals'] as const).flatMap(field =>
      schemesIn(source[field], `from[${at}].source.${field}`),
    ),
  )
  const conditions = when.flatMap(({ key, values, notValues }, at) =>
    key === 'source.principal'
      ? [...schemesIn(values, `when[${at}].values`), ...schemesIn(notValues, `when[${at}].notValues`)]
      : [],
  )
  return [...sources, ...conditions].map(mistake => `spec.rules[${index}].${mistake}`)
}

function schemesIn(values: readonly string[] = [], path: string): readonly string[] {
  return values.flatMap((value, at) =>
    value.startsWith(SCHEME)
      ? [`${path}[${at}]: principals have no scheme: write ${quote(value.slice(SCHEME.length))}`]
      : [],
  )
}
