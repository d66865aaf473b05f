/** The dialects `envoy-http` and `envoy-tcp`: what istiod translates for Envoy, and Envoy decides. */
import {
  keyOfEnforcer,
  nameOfEnforcer,
  plainEnforcer,
  type ResolvedEnforcer,
  resolveEnforcer,
} from './enforcer.ts'
import { type EnvoySelection, selectForEnvoy } from './envoy-selection.ts'
import { traceOf } from './envoy-trace.ts'
import { type EnvoyFindings, reasonOf } from './envoy-reason.ts'
import { connectionOf, httpFactsOf } from './facts-of.ts'
import { keep } from './kept.ts'
import type { PolicyEvaluator, ResolvedDocuments, ResolvedOptions } from './policy-evaluator.ts'
import type { PolicyRequest, RequestHttp } from './request.ts'
import { tokenStep } from './token-step.ts'
import type { DryRunVerdict, PolicyVerdict } from './verdict.ts'
import type { AuthorizationAction, AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { limits } from '../limits.ts'
import type { Attached } from '../waypoint/attached-policies.ts'
import { isMappedBlock } from '../waypoint/attributes.ts'
import {
  type CompiledWaypointPolicy,
  compileWaypointPolicy,
  type FieldTest,
} from '../waypoint/compile-policy.ts'
import type { WaypointDecision, WaypointDialect } from '../waypoint/decision.ts'
import { explainAttached, type WaypointExplanation } from '../waypoint/explain-request.ts'
import { WaypointFacts } from '../waypoint/facts.ts'
import { normalizePath } from '../waypoint/normalize-path.ts'
import { trustDomainsOf } from '../waypoint/trust-domains.ts'

/** One enforcer's policies, compiled per chain when it is first asked. */
interface Known {
  readonly enforcer: ResolvedEnforcer
  readonly selection: EnvoySelection
  readonly attached: (chain: WaypointDialect) => readonly Attached[]
  /** The providers that CUSTOM policies name, dry runs included. */
  readonly providers: readonly string[]
}

interface Question {
  readonly request: PolicyRequest
  readonly known: Known
  readonly chain: WaypointDialect
  readonly facts: WaypointFacts
  /** Before the JWT filter: what CUSTOM policies see. */
  readonly arrived: WaypointFacts
  readonly jwtIgnored: EnvoyFindings['jwtIgnored']
  /** Headers that the JWT filter has changed. */
  readonly edited: ReadonlySet<string>
}

export function createEnvoyEvaluator(
  documents: ResolvedDocuments,
  options: ResolvedOptions,
): PolicyEvaluator {
  const knownOf = keep(limits.maxKnownEnforcers, know(documents, options))
  return {
    dialect: options.dialect,
    decide(request, given) {
      const enforcer = resolveEnforcer(options.dialect, request, given)
      const known = knownOf(enforcer, keyOfEnforcer(enforcer))
      const { http } = request
      if (options.dialect === 'envoy-tcp' || http === undefined)
        return judge(connectionQuestion(request, known), options)
      const normalized = normalizePath(http.path, options.pathNormalization)
      if (!normalized.ok) return refusedPath(normalized.reason, enforcer)
      return judge(httpQuestion(request, { ...http, path: normalized.path }, known), options)
    },
  }
}

function know(documents: ResolvedDocuments, options: ResolvedOptions) {
  const trustDomains = trustDomainsOf(options.trustDomain, options.trustDomainAliases)
  const compiled = {
    'envoy-http': new WeakMap<AuthorizationPolicy, CompiledWaypointPolicy>(),
    'envoy-tcp': new WeakMap<AuthorizationPolicy, CompiledWaypointPolicy>(),
  }
  const compile = (document: AuthorizationPolicy, chain: WaypointDialect): CompiledWaypointPolicy => {
    const before = compiled[chain].get(document)
    if (before !== undefined) return before
    const policy = compileWaypointPolicy(document, chain, trustDomains, { mappedBlocks: 'nobody' })
    compiled[chain].set(document, policy)
    return policy
  }
  return (enforcer: ResolvedEnforcer): Known => {
    const selection = selectForEnvoy(documents, enforcer, options.rootNamespace)
    const chains = new Map<WaypointDialect, readonly Attached[]>()
    const providers = selection.attached.flatMap(({ document }) => document.spec.provider?.name ?? [])
    return {
      enforcer,
      selection,
      providers: [...new Set(providers)].sort(),
      attached(chain) {
        const before = chains.get(chain)
        if (before !== undefined) return before
        const made = selection.attached.map(({ document, by }) => ({ policy: compile(document, chain), by }))
        chains.set(chain, made)
        return made
      },
    }
  }
}

function connectionQuestion(request: PolicyRequest, known: Known): Question {
  const { sni, source } = request
  const facts = new WaypointFacts(connectionOf(request), undefined, sni, source.remoteIp)
  return {
    request,
    known,
    chain: 'envoy-tcp',
    facts,
    arrived: facts,
    jwtIgnored: undefined,
    edited: new Set(),
  }
}

function httpQuestion(request: PolicyRequest, http: RequestHttp, known: Known): Question {
  const step = tokenStep(request, http, known.selection.jwtRules)
  const factsOf = (seen: RequestHttp): WaypointFacts => {
    const facts = httpFactsOf(request, seen, step.jwt)
    return new WaypointFacts(facts.connection, facts, request.sni)
  }
  const facts = factsOf(step.http)
  return {
    request,
    known,
    chain: 'envoy-http',
    facts,
    arrived: step.http === http ? facts : factsOf(http),
    jwtIgnored: step.ignored,
    edited: step.edited,
  }
}

function judge(question: Question, options: ResolvedOptions): PolicyVerdict {
  const { request, known, chain } = question
  const explanation = explain(question, options)
  const { decision } = explanation
  const findings: EnvoyFindings = {
    ...question,
    enforcer: known.enforcer,
    selection: known.selection,
    providers: known.providers,
    explanation,
    options,
    withoutSourceIp: withoutSourceIp(question, options),
    mappedBlocks: rulesThatAsk(
      question,
      ({ field, values }) => isAddressField(field) && values.some(isMappedBlock),
    ),
    editedHeaders:
      question.edited.size === 0
        ? []
        : rulesThatAsk(
            question,
            ({ field }, action) => action !== 'CUSTOM' && isEdited(field, question.edited),
          ),
  }
  const decisive = explanation.policies.find(({ policy }) => policy === decision.by?.policy)
  const status = statusOf(decision, chain, request)
  return {
    verdict: decision.allowed ? 'allow' : 'deny',
    action: actionOf(decision, decisive?.action),
    policy: decision.by?.policy ?? null,
    rule: decision.by?.rule ?? null,
    reason: reasonOf(findings),
    dialect: chain,
    enforcer: plainEnforcer(known.enforcer),
    ...(status === undefined ? {} : { status }),
    dryRun: (decision.dryRun ?? []).map(dryRunOf),
    trace: traceOf(explanation, known.selection),
  }
}

/** istiod refuses to choose between providers: then a CUSTOM rule that matches denies, whatever they would say. */
function explain({ known, chain, facts, arrived }: Question, options: ResolvedOptions): WaypointExplanation {
  const passed = options.custom === 'allow' && known.providers.length < 2
  return explainAttached(known.attached(chain), known.selection.elsewhere, facts, {
    dialect: chain,
    target: nameOfEnforcer(known.enforcer),
    custom: passed ? 'passed' : 'deny',
    arrived,
  })
}

/** As Envoy's direct peer has them. */
const SOURCE_IP_FIELDS: ReadonlySet<string> = new Set(['ipBlocks', 'notIpBlocks', 'source.ip'])

function isAddressField(field: string): boolean {
  return /ipBlocks$/i.test(field) || /^(source|remote|destination)\.ip$/.test(field)
}

function isEdited(field: string, edited: ReadonlySet<string>): boolean {
  const name = /^request\.headers\[(.+)\]$/.exec(field)?.[1]
  return name !== undefined && edited.has(name.toLowerCase())
}

/** `ns/name rules[0]` of each rule with a field of this kind. */
function rulesThatAsk(
  { known, chain }: Question,
  asks: (field: FieldTest, action: AuthorizationAction) => boolean,
): readonly string[] {
  return known
    .attached(chain)
    .flatMap(({ policy }) =>
      policy.rules
        .filter(({ clauses }) =>
          clauses.some(({ alternatives }) => alternatives.flat().some(field => asks(field, policy.action))),
        )
        .map(({ by }) => `${by.policy} rules[${by.rule}]`),
    )
}

/**
 * What Istio's own waypoint decides, where `source.ip` and `ipBlocks` see an internal address that is in no block; absent
 * where nothing asks for them. Ours takes them for what the API says, the address of the proven caller.
 */
function withoutSourceIp(question: Question, options: ResolvedOptions): WaypointDecision | undefined {
  const { known, facts, arrived } = question
  if (known.enforcer.kind !== 'waypoint') return undefined
  if (rulesThatAsk(question, ({ field }) => SOURCE_IP_FIELDS.has(field)).length === 0) return undefined
  const hidden = { ...question, facts: withoutSource(facts), arrived: withoutSource(arrived) }
  return explain(hidden, options).decision
}

function withoutSource({ remoteAddress, connection, request, sni }: WaypointFacts): WaypointFacts {
  const hidden = { ...connection, source: { ...connection.source, address: '' } }
  const http = request && { ...request, connection: hidden, remoteAddress }
  return new WaypointFacts(hidden, http, sni, remoteAddress)
}

function actionOf(
  { allowed, by }: WaypointDecision,
  action: WaypointExplanation['policies'][number]['action'] | undefined,
): PolicyVerdict['action'] {
  if (by === undefined) return allowed ? 'default' : 'ALLOW'
  return action === undefined || action === 'AUDIT' ? 'default' : action
}

/** A gRPC client reads `grpc-status: 7` in an answer of status 200. */
function statusOf(
  { allowed }: WaypointDecision,
  chain: WaypointDialect,
  { http }: PolicyRequest,
): number | undefined {
  if (allowed || chain === 'envoy-tcp' || http === undefined) return undefined
  const isGrpc = Object.entries(http.headers ?? {}).some(
    ([name, value]) =>
      name.toLowerCase() === 'content-type' && /^application\/grpc(\+.*)?$/.test([value].flat()[0] ?? ''),
  )
  return isGrpc ? 200 : 403
}

function dryRunOf({ action, result, by }: NonNullable<WaypointDecision['dryRun']>[number]): DryRunVerdict {
  return {
    action,
    verdict: result === 'allowed' ? 'allow' : 'deny',
    policy: by?.policy ?? null,
    rule: by?.rule ?? null,
  }
}

/** Before any policy is asked. */
function refusedPath(why: string, enforcer: ResolvedEnforcer): PolicyVerdict {
  return {
    verdict: 'deny',
    action: 'default',
    policy: null,
    rule: null,
    reason: `the proxy refuses the path before any policy is asked: ${why} (path_normalization_failed)`,
    dialect: 'envoy-http',
    enforcer: plainEnforcer(enforcer),
    status: 400,
    dryRun: [],
    trace: [],
  }
}
