/**
 * An AuthorizationPolicy as tests over the facts of a request or a connection, once per dialect. Decision and
 * explanation use the same tests.
 *
 * Source: Istio's AuthorizationPolicy API, istiod's translation for Envoy as observed.
 */
import type { PolicyRule } from '@ambient/core'
import {
  type Attribute,
  type AttributeContext,
  attributeOf,
  fieldAttributes,
  type Test,
} from './attributes.ts'
import { KeptField, KeptRule, type RulesOf } from './compiled-rule.ts'
import type { WaypointDecision, WaypointDialect } from './decision.ts'
import type { WaypointFacts } from './facts.ts'
import type { TrustDomains } from './trust-domains.ts'
import type {
  AuthorizationAction,
  AuthorizationPolicy,
  PolicyCondition,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
} from '../documents/authorization-policy.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import { conditionProblem, operationProblem, sourceProblem } from '../documents/policy-values.ts'

export interface CompiledWaypointPolicy {
  /** `namespace/name`. */
  readonly key: string
  readonly action: AuthorizationAction
  readonly dryRun: boolean
  readonly rules: readonly CompiledWaypointRule[]
}

export interface CompiledWaypointRule {
  readonly by: PolicyRule & { readonly rule: number }
  /** `namespace/name` of its policy. */
  readonly policy: string
  /** istiod's name of the rule; rules are asked in its order. */
  readonly id: string
  /** Of a CUSTOM policy: who has to be asked. */
  readonly provider: string | undefined
  /** What its principals were read with. */
  readonly trustDomains: TrustDomains
  /** And-ed. Empty matches everything. */
  readonly clauses: readonly CompiledClause[]
  /** Why the rule is not asked at all. */
  readonly skipped: string | undefined
  /** Fields that this dialect does not see, so that the rule is wider than it is written. */
  readonly dropped: readonly string[]
  matches(facts: WaypointFacts): boolean
  /** What a match means. */
  readonly verdict: WaypointDecision
}

export interface CompiledClause {
  /** `from`, `to`, `when[0]`, … */
  readonly part: string
  /** Or-ed; in each the fields are and-ed, and one without fields matches everything. */
  readonly alternatives: readonly (readonly FieldTest[])[]
}

export interface FieldTest {
  /** `notPaths`, `request.headers[x-a]`. */
  readonly field: string
  readonly negated: boolean
  readonly values: readonly string[]
  readonly test: Test
  actual(facts: WaypointFacts): string
}

/** What a rule is compiled with and what is noticed on the way. */
interface RuleContext extends AttributeContext {
  readonly dialect: WaypointDialect
  readonly policy: RulesOf
  readonly dropped: string[]
  /** The first reason not to ask the rule. */
  skipped: string | undefined
}

const SOURCE_FIELDS = [
  ['principals', 'notPrincipals'],
  ['requestPrincipals', 'notRequestPrincipals'],
  ['namespaces', 'notNamespaces'],
  ['serviceAccounts', 'notServiceAccounts'],
  ['trustDomains', 'notTrustDomains'],
  ['ipBlocks', 'notIpBlocks'],
  ['remoteIpBlocks', 'notRemoteIpBlocks'],
] as const

const OPERATION_FIELDS = [
  ['ports', 'notPorts'],
  ['methods', 'notMethods'],
  ['hosts', 'notHosts'],
  ['paths', 'notPaths'],
] as const

/** Never throws: a rule that cannot be enforced as written is skipped in an ALLOW and wider in any other policy. */
export function compileWaypointPolicy(
  policy: AuthorizationPolicy,
  dialect: WaypointDialect,
  trustDomains: TrustDomains,
  { mappedBlocks = 'ipv4' }: Partial<Pick<AttributeContext, 'mappedBlocks'>> = {},
): CompiledWaypointPolicy {
  const { metadata, spec } = policy
  const action = spec.action ?? 'ALLOW'
  const common: RulesOf = {
    key: `${metadata.namespace}/${metadata.name}`,
    action,
    provider: action === 'CUSTOM' ? (spec.provider?.name ?? '') : undefined,
    trustDomains,
  }
  return {
    key: common.key,
    action,
    dryRun: parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true,
    rules: (spec.rules ?? []).map((rule, index) => {
      const context: RuleContext = {
        namespace: metadata.namespace,
        trustDomains,
        mappedBlocks,
        dialect,
        policy: common,
        dropped: [],
        skipped: undefined,
      }
      return compileRule(policy, rule, index, context)
    }),
  }
}

function compileRule(
  { metadata }: AuthorizationPolicy,
  rule: PolicyRuleSpec,
  index: number,
  context: RuleContext,
): CompiledWaypointRule {
  const clauses = compileClauses(rule, context)
  const name = `ns[${metadata.namespace}]-policy[${metadata.name}]-rule[${index}]`
  const { skipped, dropped, policy } = context
  const id = policy.provider === undefined ? name : `istio-ext-authz-${policy.provider}-${name}`
  return new KeptRule(policy, { index, id, clauses, skipped, dropped: dropped.length > 0 ? dropped : none })
}

const none: readonly string[] = Object.freeze([])

function compileClauses(rule: PolicyRuleSpec, context: RuleContext): readonly CompiledClause[] {
  const { from = [], to = [], when = [] } = rule
  const sources = from.map(({ source }) => sourceTests(source, context))
  const operations = to.map(({ operation }) => operationTests(operation, context))
  const conditions = when.map(condition => conditionTests(condition, context))
  const clauses: readonly CompiledClause[] = [
    ...(sources.length === 0 ? [] : [{ part: 'from', alternatives: sources }]),
    ...(operations.length === 0 ? [] : [{ part: 'to', alternatives: operations }]),
    ...conditions.map((tests, index) => ({ part: `when[${index}]`, alternatives: [tests] })),
  ]
  // A list that grew keeps room for more; there are as many as rules.
  return clauses.filter(({ alternatives }) => alternatives.every(tests => tests.length > 0)).slice()
}

const noTests: readonly FieldTest[] = Object.freeze([])

function sourceTests(source: PolicySource, context: RuleContext): readonly FieldTest[] {
  const tests = SOURCE_FIELDS.flatMap(([field, negative]) => {
    if (source[field] === undefined && source[negative] === undefined) return noTests
    const attribute = fieldAttributes[field]
    const problemOf = (value: string): string | undefined => sourceProblem(field, value)
    return [
      ...fieldTest({ field, negated: false, values: source[field], attribute, problemOf }, context),
      ...fieldTest(
        { field: negative, negated: true, values: source[negative], attribute, problemOf },
        context,
      ),
    ]
  })
  return tests.slice()
}

function operationTests(operation: PolicyOperation, context: RuleContext): readonly FieldTest[] {
  const tests = OPERATION_FIELDS.flatMap(([field, negative]) => {
    if (operation[field] === undefined && operation[negative] === undefined) return noTests
    const attribute = fieldAttributes[field]
    const problemOf = (value: string): string | undefined => operationProblem(field, value)
    return [
      ...fieldTest({ field, negated: false, values: operation[field], attribute, problemOf }, context),
      ...fieldTest(
        { field: negative, negated: true, values: operation[negative], attribute, problemOf },
        context,
      ),
    ]
  })
  return tests.slice()
}

function conditionTests(condition: PolicyCondition, context: RuleContext): readonly FieldTest[] {
  const { key, values, notValues } = condition
  const attribute = attributeOf(key)
  if (attribute === undefined) {
    // Whatever the action: istiod leaves the rule out.
    context.skipped ??= `unknown key ${key}`
    return []
  }
  const problemOf = (value: string): string | undefined => conditionProblem(key, value)
  return [
    ...fieldTest({ field: key, negated: false, values, attribute, problemOf }, context),
    ...fieldTest({ field: key, negated: true, values: notValues, attribute, problemOf }, context),
  ]
}

interface WrittenField {
  readonly field: string
  readonly negated: boolean
  readonly values: readonly string[] | undefined
  readonly attribute: Attribute
  problemOf(value: string): string | undefined
}

/** None when the field is not set or not seen in this dialect. */
function fieldTest(written: WrittenField, context: RuleContext): readonly FieldTest[] {
  const { field, negated, values = [], attribute } = written
  if (values.length === 0) return []
  if (attribute.http && context.dialect === 'envoy-tcp')
    return giveUp(field, `${field} needs HTTP, and this connection carries none`, context)
  const problem = values.map(written.problemOf).find(found => found !== undefined)
  if (problem !== undefined) return giveUp(field, `${field}: ${problem}`, context)
  return [new KeptField({ field, negated, values }, attribute.matcher(values, context), attribute)]
}

/** An ALLOW may not become wider: its rule goes. Any other policy goes on without the field. */
function giveUp(field: string, reason: string, context: RuleContext): readonly FieldTest[] {
  if (context.policy.action === 'ALLOW') context.skipped ??= reason
  else context.dropped.push(field)
  return []
}
