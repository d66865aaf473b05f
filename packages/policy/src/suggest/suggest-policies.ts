/**
 * ALLOW policies that let in what was recorded and nothing else, with the proof: every recorded request is allowed, and
 * requests that differ from one in a single field are denied.
 */
import { type Call, coverCalls, type CoveredOperation, templateOf } from './cover.ts'
import { type Mutant, mutantsOf } from './mutants.ts'
import type {
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
} from '../documents/authorization-policy.ts'
import { createEvaluator } from '../evaluator/create-evaluator.ts'
import type { EvaluatorOptions, PolicyEvaluator } from '../evaluator/policy-evaluator.ts'
import type { PolicyRequest, RequestDestination } from '../evaluator/request.ts'
import { normalizePath } from '../waypoint/normalize-path.ts'

export interface SuggestOptions extends Omit<EvaluatorOptions, 'dialect' | 'custom' | 'at'> {
  /** Segments of paths that look like identifiers become `{*}`. Default: paths as they were recorded. */
  readonly pathTemplates?: boolean
  /** Hosts are left out: whatever name a caller used. Default: the names that were recorded. */
  readonly anyHost?: boolean
}

export interface Suggestion {
  readonly policies: readonly AuthorizationPolicy[]
  /** Recorded requests, each once. */
  readonly recorded: readonly PolicyRequest[]
  readonly proof: {
    readonly recorded: number
    /** Recorded and not allowed by the policies: a path that the proxy refuses, for one. */
    readonly notAllowed: readonly PolicyRequest[]
    readonly mutants: number
    /** Not recorded and allowed all the same: what templates let in. */
    readonly allowedMutants: readonly Mutant[]
  }
}

export function suggestPolicies(
  requests: readonly PolicyRequest[],
  options: SuggestOptions = {},
): Suggestion {
  const recorded = distinct(requests)
  const groups = new Map<string, PolicyRequest[]>()
  for (const request of recorded) {
    const key = JSON.stringify(targetOf(request))
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [request])
    else group.push(request)
  }
  const names = new Set<string>()
  const policies = [...groups.values()].flatMap(group => policyOf(group, options, names) ?? [])
  return { policies, recorded, proof: prove(policies, recorded, options) }
}

/** What the policies are asked in: HTTP where the record has it, L4 elsewhere. */
export function dialectOf({ http }: PolicyRequest): 'envoy-http' | 'ztunnel' {
  return http === undefined ? 'ztunnel' : 'envoy-http'
}

function prove(
  policies: readonly AuthorizationPolicy[],
  recorded: readonly PolicyRequest[],
  options: SuggestOptions,
): Suggestion['proof'] {
  const documents = { authorizationPolicies: policies }
  const l4 = createEvaluator(documents, { ...options, dialect: 'ztunnel' })
  const l7 = createEvaluator(documents, { ...options, dialect: 'envoy-http' })
  const judge = (request: PolicyRequest): PolicyEvaluator => (dialectOf(request) === 'ztunnel' ? l4 : l7)
  const isAllowed = (request: PolicyRequest): boolean => judge(request).decide(request).verdict === 'allow'
  const known = new Set(recorded.map(request => keyOf(request, options)))
  const mutants = recorded
    .flatMap(mutantsOf)
    .filter(
      ({ request, field }) =>
        !(field === 'http.authority' && options.anyHost === true) && !known.has(keyOf(request, options)),
    )
  return {
    recorded: recorded.length,
    notAllowed: recorded.filter(request => !isAllowed(request)),
    mutants: mutants.length,
    allowedMutants: mutants.filter(({ request }) => isAllowed(request)),
  }
}

/** What a rule can tell apart of a request. */
function keyOf(request: PolicyRequest, options: SuggestOptions): string {
  return JSON.stringify([targetOf(request), sourceOf(request), callOf(request, options)])
}

function distinct(requests: readonly PolicyRequest[]): readonly PolicyRequest[] {
  return [...new Map(requests.map(request => [JSON.stringify(request), request])).values()]
}

interface Target {
  readonly namespace: string
  readonly service?: string
  readonly labels?: Readonly<Record<string, string>>
}

/** HTTP for a service is a waypoint's to judge, everything else its workload's proxy's. */
function targetOf({ destination, http }: PolicyRequest): Target {
  const { service } = destination
  if (http !== undefined && service !== undefined) {
    const [namespace = '', name] = service.includes('/')
      ? service.split('/')
      : [destination.namespace, service]
    return { namespace, service: name ?? '' }
  }
  const labels = chosenLabels(destination)
  return { namespace: destination.namespace, ...(labels === undefined ? {} : { labels }) }
}

const NAMES = ['app.kubernetes.io/name', 'app', 'k8s-app'] as const

/** The labels by which people call a workload; without any all of its namespace is meant. */
function chosenLabels({ labels = {} }: RequestDestination): Target['labels'] {
  const name = NAMES.find(key => labels[key] !== undefined)
  if (name !== undefined) return { [name]: labels[name] ?? '' }
  const lasting = Object.entries(labels).filter(([key]) => !/hash|revision/.test(key))
  return lasting.length === 0 ? undefined : Object.fromEntries(lasting)
}

function policyOf(
  requests: readonly PolicyRequest[],
  options: SuggestOptions,
  names: Set<string>,
): AuthorizationPolicy | undefined {
  const [first] = requests
  if (first === undefined) return undefined
  const target = targetOf(first)
  const { namespace, service, labels } = target
  const place: Pick<AuthorizationPolicySpec, 'selector' | 'targetRefs'> =
    service !== undefined
      ? { targetRefs: [{ group: '', kind: 'Service', name: service }] }
      : labels === undefined
        ? {}
        : { selector: { matchLabels: labels } }
  const about = service ?? Object.values(labels ?? {})[0] ?? 'all'
  const name = nameOf(namespace, `recorded-${about}-${first.http === undefined ? 'l4' : 'l7'}`, names)
  return {
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace, labels: {}, annotations: {} },
    spec: { ...place, action: 'ALLOW', rules: rulesOf(requests, options) },
  }
}

function nameOf(namespace: string, wanted: string, names: Set<string>): string {
  const base = wanted
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/-+$/, '')
  let name = base
  for (let count = 2; names.has(`${namespace}/${name}`); count++) name = `${base}-${count}`
  names.add(`${namespace}/${name}`)
  return name
}

/** Callers with the same calls share a rule. */
function rulesOf(requests: readonly PolicyRequest[], options: SuggestOptions): readonly PolicyRuleSpec[] {
  const bySource = new Map<string, { readonly source: PolicySource; readonly calls: Map<string, Call> }>()
  for (const request of requests) {
    const source = sourceOf(request)
    const entry = bySource.get(JSON.stringify(source)) ?? { source, calls: new Map<string, Call>() }
    const call = callOf(request, options)
    bySource.set(JSON.stringify(source), entry)
    if (call !== undefined) entry.calls.set(JSON.stringify(call), call)
  }
  const byCalls = new Map<
    string,
    { readonly sources: PolicySource[]; readonly operations: readonly CoveredOperation[] }
  >()
  for (const { source, calls } of bySource.values()) {
    const sorted = [...calls].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, call]) => call)
    if (sorted.length === 0) continue
    const operations = coverCalls(sorted)
    const key = JSON.stringify(operations)
    const entry = byCalls.get(key) ?? { sources: [], operations }
    entry.sources.push(source)
    byCalls.set(key, entry)
  }
  return [...byCalls.values()].map(({ sources, operations }) => ({
    from: joinPrincipals(sources).map(source => ({ source })),
    to: operations.map(operation => ({ operation: operationOf(operation) })),
  }))
}

function joinPrincipals(sources: readonly PolicySource[]): readonly PolicySource[] {
  const principals = sources.flatMap(({ principals: some = [] }) => some).sort()
  const others = sources.filter(source => source.principals === undefined)
  return [...(principals.length === 0 ? [] : [{ principals }]), ...others]
}

/** A proven caller by name, wherever it runs; plaintext by its address, which anybody there has. */
function sourceOf({ source }: PolicyRequest): PolicySource {
  if (source.principal !== undefined) return { principals: [source.principal] }
  return source.ip === undefined ? { notPrincipals: ['*'] } : { ipBlocks: [source.ip], notPrincipals: ['*'] }
}

/** `undefined` for a path that no proxy lets through, and for what no value can say. */
function callOf({ destination, http }: PolicyRequest, options: SuggestOptions): Call | undefined {
  const port = String(destination.port)
  if (http === undefined) return { port }
  const normalized = normalizePath(http.path, options.pathNormalization ?? 'BASE')
  if (!normalized.ok) return undefined
  const [path = ''] = normalized.path.split('?', 1)
  // A star at either end would be a form: no value says it.
  if ([path, http.authority].some(text => /^\*|\*$/.test(text))) return undefined
  return {
    port,
    method: http.method,
    ...(options.anyHost === true ? {} : { host: http.authority }),
    path: options.pathTemplates === true ? templateOf(path) : path,
  }
}

function operationOf({ ports, methods, hosts, paths }: CoveredOperation): PolicyOperation {
  return {
    ports,
    ...(methods.length === 0 ? {} : { methods }),
    ...(hosts.length === 0 ? {} : { hosts }),
    ...(paths.length === 0 ? {} : { paths }),
  }
}
