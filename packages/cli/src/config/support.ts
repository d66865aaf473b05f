/** Which fields of which kinds are supported, by whom: asked of the readers themselves. */
import { actedKindNames, readManifests, readOne } from '@ambient/discovery'
import { conditionKeys, l4EffectOf, type PolicyRuleSpec } from '@ambient/policy'
import { probe, type ProbedField } from './probe-reader.ts'

/**
 * `enforced`: it does what it says. `warned`: taken, and said to be without effect. `refused`: an error. `unused`: taken as
 * a cluster would, and nobody here needs it.
 */
export type SupportStatus = 'enforced' | 'warned' | 'refused' | 'unused'

export interface SupportRow {
  readonly kind: string
  /** `spec.rules[].to[].operation.paths`; `*` for the kind as a whole. */
  readonly field: string
  readonly status: SupportStatus
  /** Who acts on it. */
  readonly by: readonly string[]
  /** What the reader says of it, or what is to be known. */
  readonly note: string
}

/** Who acts on a kind, where no field says more. */
const BY_KIND: Readonly<Record<string, readonly string[]>> = {
  Namespace: ['control plane'],
  ServiceAccount: ['control plane'],
  Node: ['control plane'],
  ConfigMap: ['waypoint'],
  Service: ['control plane', 'ztunnel', 'waypoint'],
  Deployment: ['control plane'],
  Pod: ['control plane'],
  AuthorizationPolicy: ['ztunnel', 'waypoint'],
  PeerAuthentication: ['ztunnel'],
  RequestAuthentication: ['waypoint'],
  Gateway: ['control plane', 'waypoint'],
  HTTPRoute: ['waypoint'],
  VirtualService: ['waypoint'],
  DestinationRule: ['waypoint'],
}

/** Kinds that people write beside those, by version. */
const OTHERS: readonly (readonly [string, string])[] = [
  ['telemetry.istio.io/v1', 'Telemetry'],
  ['networking.istio.io/v1', 'Gateway'],
  ['networking.istio.io/v1', 'ServiceEntry'],
  ['networking.istio.io/v1', 'Sidecar'],
  ['networking.istio.io/v1', 'WorkloadEntry'],
  ['networking.istio.io/v1', 'WorkloadGroup'],
  ['networking.istio.io/v1beta1', 'ProxyConfig'],
  ['networking.istio.io/v1alpha3', 'EnvoyFilter'],
  ['extensions.istio.io/v1alpha1', 'WasmPlugin'],
  ['gateway.networking.k8s.io/v1', 'GRPCRoute'],
  ['gateway.networking.k8s.io/v1alpha2', 'TCPRoute'],
  ['gateway.networking.k8s.io/v1', 'TLSRoute'],
  ['gateway.networking.k8s.io/v1', 'BackendTLSPolicy'],
  ['gateway.networking.k8s.io/v1beta1', 'ReferenceGrant'],
  ['apps/v1', 'StatefulSet'],
  ['apps/v1', 'DaemonSet'],
  ['batch/v1', 'Job'],
  ['batch/v1', 'CronJob'],
  ['v1', 'Secret'],
]

/** How readers say that something has no effect, whatever its value. */
const WITHOUT_EFFECT =
  /not supported|not acted upon|not looked at|is not known|has no effect|without effect|not carried out|nobody|ignored/

/** Sorted as the readers list their fields. The same in every run. */
export function supportTable(): readonly SupportRow[] {
  return [...actedKindNames.flatMap(kindRows), ...OTHERS.map(([version, kind]) => otherRow(version, kind))]
}

function kindRows(kind: string): readonly SupportRow[] {
  const fields = probe(root => readOne(kind, root, 'istio-system'))
  const rows = inTreeOrder([...fields.values()].filter(({ path }) => /^(spec|data)\./.test(path))).map(
    field => fieldRow(kind, field),
  )
  // What is beneath a field without effect is not looked at either.
  const dead = rows.filter(({ status }) => status !== 'enforced').map(({ field }) => field)
  const shown = rows.filter(({ field }) => !dead.some(other => isBeneath(field, other)))
  return kind === 'AuthorizationPolicy' ? [...shown, ...conditionRows()] : shown
}

/** Each field before what is in it, beside its neighbours as the reader lists them. */
function inTreeOrder(fields: readonly ProbedField[]): readonly ProbedField[] {
  const children = new Map<string, ProbedField[]>()
  for (const field of fields) {
    const parent = field.path.slice(0, field.path.lastIndexOf('.')).replace(/(\[\]|\.\*)+$/, '')
    children.set(parent, [...(children.get(parent) ?? []), field])
  }
  const walk = (parent: string): readonly ProbedField[] =>
    (children.get(parent) ?? []).flatMap(field => [field, ...walk(field.path)])
  return [...walk('spec'), ...walk('data')]
}

function isBeneath(field: string, other: string): boolean {
  return field.startsWith(`${other}.`) || field.startsWith(`${other}[`)
}

function fieldRow(kind: string, field: ProbedField): SupportRow {
  const { path } = field
  if (kind === 'RequestAuthentication' && path === 'spec.selector')
    return { kind, field: path, status: 'warned', by: [], note: 'nobody enforces it without targetRefs' }
  const said = withoutEffect(field)
  if (said !== undefined) {
    const [severity = '', ...text] = said.split(': ')
    return {
      kind,
      field: path,
      status: severity === 'error' ? 'refused' : 'warned',
      by: [],
      note: text.join(': '),
    }
  }
  if (field.reads === 0) return { kind, field: path, status: 'unused', by: [], note: '' }
  return { kind, field: path, status: 'enforced', ...byOf(kind, path) }
}

/** What the reader says of a field whatever its value: each time that it takes it, or instead of taking it. */
function withoutEffect({ taken, said }: ProbedField): string | undefined {
  const always = [...said].filter(([, times]) => times >= taken).map(([text]) => text)
  const plain = always.find(text => WITHOUT_EFFECT.test(text))
  if (plain !== undefined || taken > 0) return plain
  // Nobody takes it, and each answer is about something else beside it.
  return always[0] === undefined ? undefined : `${always[0].split(': ')[0]}: `
}

function byOf(kind: string, path: string): Pick<SupportRow, 'by' | 'note'> {
  const by = BY_KIND[kind] ?? []
  const [, clause, part, name] =
    /^spec\.rules\[\]\.(from|to)\[\]\.(source|operation)\.(\w+)$/.exec(path) ?? []
  if (kind === 'AuthorizationPolicy' && clause !== undefined && part !== undefined && name !== undefined)
    return seenBy({ [clause]: [{ [part]: { [name]: ['10.0.0.1'] } }] })
  if (kind === 'AuthorizationPolicy' && /^spec\.targetRefs?/.test(path)) return { by: ['waypoint'], note: '' }
  if (kind === 'AuthorizationPolicy' && /^spec\.(selector)/.test(path)) return { by: ['ztunnel'], note: '' }
  if (path === 'spec.action') return { by, note: 'ztunnel: ALLOW and DENY' }
  if (kind === 'AuthorizationPolicy' && /^spec\.provider/.test(path)) return { by: ['waypoint'], note: '' }
  if (kind === 'RequestAuthentication' && /^spec\.selector/.test(path))
    return { by: [], note: 'for sidecars and gateways; a waypoint wants targetRefs' }
  return { by, note: '' }
}

/** ztunnel has no HTTP, and istiod leaves trust domains out of what it gets. */
function seenBy(rule: PolicyRuleSpec): Pick<SupportRow, 'by' | 'note'> {
  const inAllow = l4EffectOf(rule, 'ALLOW').effect
  if (l4EffectOf(rule, 'DENY').effect === 'as-written') return { by: ['ztunnel', 'waypoint'], note: '' }
  const lost = 'a DENY matches without it, or not at all'
  return {
    by: ['waypoint'],
    note: `ztunnel: ${inAllow === 'dropped' ? 'an ALLOW rule with it is left out' : 'an ALLOW matches without it'}, ${lost}`,
  }
}

function conditionRows(): readonly SupportRow[] {
  return conditionKeys.map(key => {
    const field = `spec.rules[].when[].key: ${key}`
    // Filters of Envoy's own have no metadata here.
    if (key.startsWith('experimental.'))
      return {
        kind: 'AuthorizationPolicy',
        field,
        status: 'enforced',
        by: ['waypoint'],
        note: 'no such metadata here: never matches',
      }
    return {
      kind: 'AuthorizationPolicy',
      field,
      status: 'enforced',
      ...seenBy({ when: [{ key, values: ['10.0.0.1'] }] }),
    }
  })
}

/** The reader's answer to a document that has nothing but its name. */
function otherRow(version: string, kind: string): SupportRow {
  const text = JSON.stringify({
    apiVersion: version,
    kind,
    metadata: { name: 'a', namespace: 'default' },
    spec: {},
  })
  const [problem] = readManifests([{ path: 'a.json', text }]).problems
  const status = problem === undefined ? 'unused' : problem.severity === 'error' ? 'refused' : 'warned'
  const name = kind === 'Gateway' ? 'Gateway (networking.istio.io)' : kind
  return { kind: name, field: '*', status, by: [], note: problem?.message ?? '' }
}
