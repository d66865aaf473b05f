/**
 * Whether ztunnels and waypoints decide under new policies as sidecars did under the old ones: for each workload and
 * each way to it, over every request, by the search of the diff.
 */
import { type MigrateOptions, waypointPrincipal } from './rewrite-policies.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'
import { constraintWords } from '../diff/words.ts'
import {
  type EvaluatorDocuments,
  resolveDocuments,
  type ResolvedDocuments,
  resolveOptions,
} from '../evaluator/policy-evaluator.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect } from '../evaluator/verdict.ts'
import { limits } from '../limits.ts'
import { tokenDoubt, tokenRulesOf } from './prove-tokens.ts'
import { compare, type Entry, type Region } from '../symbolic/compare.ts'
import { type Atom, type Formula, Formulas } from '../symbolic/formula.ts'
import { type PolicyEntry, policyModel } from '../symbolic/policy-model.ts'
import { textHolds } from '../symbolic/text-automaton.ts'
import { textDimension } from '../symbolic/text-dimensions.ts'
import { witnessOf, type WitnessOptions } from '../symbolic/witness.ts'
import { keyOfNamed, type MeshFacts, type MeshService, type MeshWorkload } from '../where/mesh-facts.ts'

export interface MigrationChange {
  /** `namespace/name` of the workload. */
  readonly workload: string
  /** `waypoint shop/waypoint`, or `ztunnel` for what comes straight to it. */
  readonly through: string
  readonly before: 'allow' | 'deny'
  readonly after: 'allow' | 'deny'
  readonly constraint: readonly string[]
  /** As the sidecar saw it. */
  readonly witness: PolicyRequest
}

export interface MigrationProof {
  readonly result: 'equal' | 'changed' | 'undecided'
  /** Changes from `deny` to `allow` first. */
  readonly changes: readonly MigrationChange[]
  readonly undecided: readonly string[]
  /** Ways that were compared: workload × port × through whom. */
  readonly compared: number
}

/** One way to a workload. */
interface Way {
  readonly workload: MeshWorkload
  readonly dialect: PolicyDialect
  /** Absent: any port. */
  readonly port?: { readonly workload: number; readonly service: number }
  readonly service?: MeshService
  readonly principal?: string
  /** The waypoints that one goes around: that may be refused, so only what is allowed now and was not is told. */
  readonly around: readonly string[]
}

interface Proving {
  readonly before: ResolvedDocuments
  readonly after: ResolvedDocuments
  readonly options: MigrateOptions & {
    readonly pathNormalization?: PathNormalization
    readonly maxSteps?: number
  }
}

/** Callers prove who they are: what comes in plaintext does not go through a waypoint, and is compared as going around it. */
export function proveMigration(
  before: EvaluatorDocuments,
  after: EvaluatorDocuments,
  mesh: MeshFacts,
  options: Proving['options'],
): MigrationProof {
  const proving = { before: resolveDocuments(before), after: resolveDocuments(after), options }
  const ways = mesh.workloads.flatMap(workload => waysTo(workload, mesh, options))
  const found = ways.map(way => compareWay(way, proving))
  const changes = found.flatMap(one => one.changes)
  const undecided = found.flatMap(one => one.undecided)
  const result = undecided.length > 0 ? 'undecided' : changes.length > 0 ? 'changed' : 'equal'
  const sorted = [...changes].sort((a, b) => Number(b.after === 'allow') - Number(a.after === 'allow'))
  return { result, changes: sorted, undecided, compared: ways.length }
}

function waysTo(workload: MeshWorkload, mesh: MeshFacts, options: MigrateOptions): readonly Way[] {
  const key = keyOfNamed(workload)
  const services = mesh.services.filter(({ workloads }) => workloads.includes(key))
  const through = services.flatMap(service => {
    const principal = waypointPrincipal(service, mesh, options)
    if (principal === undefined) return []
    return service.ports.map(({ port, targetPort, protocol }) => ({
      workload,
      dialect: protocol === 'http' ? ('envoy-http' as const) : ('envoy-tcp' as const),
      port: { workload: targetPort === 0 ? port : targetPort, service: port },
      service,
      principal,
      around: [],
    }))
  })
  // With a waypoint nobody who means the service comes straight; the pod's own address can still be dialled.
  const straight = (['envoy-http', 'envoy-tcp'] as const).map(dialect => ({
    workload,
    dialect,
    around: through.map(({ principal }) => principal),
  }))
  return [...through, ...straight]
}

function compareWay(way: Way, proving: Proving): Pick<MigrationProof, 'changes' | 'undecided'> {
  const formulas = new Formulas()
  const before = verdictFormula(
    fixed(model('before', way.dialect, 'workload', proving, formulas), placeOf(way), formulas),
    formulas,
  )
  const after = afterFormula(way, proving, formulas)
  const searchOf = searchAlong(way, proving, formulas)
  const result = searchOf(before, after)
  const name = `${keyOfNamed(way.workload)} through ${throughOf(way)}`
  const doubt = doubtOf(way, proving)
  // Where nothing comes in at all no token does.
  const doubted = doubt !== undefined && searchOf(formulas.never, after).isOther
  return {
    changes: result.regions.flatMap(region => changeOf(region, way, proving) ?? []),
    undecided: [
      ...(result.complete ? [] : [`${name}: more than ${maxStepsOf(proving)} steps`]),
      ...(doubted ? [`${name}: ${doubt}`] : []),
    ],
  }
}

function searchAlong(way: Way, proving: Proving, formulas: Formulas) {
  const place = witnessPlace(way, proving)
  const asked = askedFormula(way, formulas)
  const side = (formula: Formula): readonly Entry<undefined>[] => [
    { formula: formulas.not(asked), outcome: 'deny', label: undefined, name: '' },
    { formula, outcome: 'allow', label: undefined, name: '' },
    { formula: formulas.always, outcome: 'deny', label: undefined, name: '' },
  ]
  return (before: Formula, after: Formula) => {
    const { regions, complete } = compare(side(before), side(after), {
      formulas,
      pathNormalization: place.pathNormalization,
      maxSteps: maxStepsOf(proving),
      maxRegions: limits.maxDiffRegions,
      possible: choices => witnessOf(choices, place) !== undefined,
    })
    return { regions, complete, isOther: regions.length > 0 || !complete }
  }
}

function maxStepsOf({ options }: Proving): number {
  return options.maxSteps ?? limits.maxDiffSteps
}

function witnessPlace({ dialect }: Way, { options }: Proving): WitnessOptions {
  return { kind: 'workload', dialect, pathNormalization: options.pathNormalization ?? 'BASE' }
}

function throughOf({ service }: Way): string {
  return service?.waypoint === undefined ? 'ztunnel' : `waypoint ${service.waypoint}`
}

function changeOf(region: Region<undefined>, way: Way, proving: Proving): MigrationChange | undefined {
  const witness = witnessOf(region.choices, witnessPlace(way, proving))
  const [was, is] = [region.before.outcome, region.after.outcome]
  if (witness === undefined || (way.around.length > 0 && is === 'deny')) return undefined
  const { namespace, labels, name: workload } = way.workload
  const { ip, port: found } = witness.request.destination
  const port = way.port?.workload ?? found
  const destination = { namespace, workload, labels, port, ...(ip === undefined ? {} : { ip }) }
  return {
    workload: keyOfNamed(way.workload),
    through: throughOf(way),
    before: was === 'allow' ? 'allow' : 'deny',
    after: is === 'allow' ? 'allow' : 'deny',
    constraint: constraintWords(region.choices),
    witness: { ...witness.request, destination },
  }
}

/** Tokens are of HTTP. */
function doubtOf(
  { dialect, workload, service }: Way,
  { before, after, options }: Proving,
): string | undefined {
  if (dialect !== 'envoy-http') return undefined
  const { rootNamespace } = options
  return tokenDoubt(tokenRulesOf(workload, service, { before, after, rootNamespace }))
}

/** Through a waypoint: it says yes to the caller, and the ztunnel to the waypoint. */
function afterFormula(way: Way, proving: Proving, formulas: Formulas): Formula {
  const ztunnel = model('after', 'ztunnel', 'workload', proving, formulas)
  const { service, principal } = way
  if (service?.waypoint === undefined || principal === undefined)
    return verdictFormula(fixed(ztunnel, placeOf(way), formulas), formulas)
  const [namespace = '', name = ''] = service.waypoint.split('/')
  const atWaypoint = {
    'place.namespace': namespace,
    'place.name': name,
    'place.service': keyOfNamed(service),
    port: String(way.port?.service ?? 0),
  }
  const waypoint = fixed(model('after', way.dialect, 'waypoint', proving, formulas), atWaypoint, formulas)
  const delivery = fixed(ztunnel, { ...placeOf(way), principal: `spiffe://${principal}` }, formulas)
  return formulas.and([verdictFormula(waypoint, formulas), verdictFormula(delivery, formulas)])
}

/**
 * Through a waypoint callers with an identity; straight everybody but the waypoints themselves. Identities are those of
 * Kubernetes workloads: of others Envoy and ztunnel read namespaces in different ways.
 */
function askedFormula({ principal, around }: Way, formulas: Formulas): Formula {
  const proven = formulas.atom('principal', 'principal', ['*'])
  const ofWorkload = formulas.atom('principal', 'istio-form', ['*'])
  if (principal !== undefined) return formulas.and([proven, ofWorkload])
  return formulas.and([
    formulas.or([formulas.not(proven), ofWorkload]),
    formulas.not(formulas.atom('principal', 'principal', around)),
  ])
}

function model(
  side: 'before' | 'after',
  dialect: PolicyDialect,
  kind: Enforcer['kind'],
  proving: Proving,
  formulas: Formulas,
): readonly PolicyEntry[] {
  const { rootNamespace, trustDomain } = proving.options
  return policyModel(proving[side], kind, resolveOptions({ dialect, rootNamespace, trustDomain }), formulas)
}

/** Dimensions whose value is known. A label that the workload lacks is known too. */
type Place = Readonly<Record<string, string>>

function placeOf({ workload, port }: Way): Place {
  const labels = Object.entries(workload.labels).map(([key, value]) => [`label:${key}`, value])
  return {
    'place.namespace': workload.namespace,
    ...Object.fromEntries(labels),
    ...(port === undefined ? {} : { port: String(port.workload) }),
  }
}

function fixed(entries: readonly PolicyEntry[], place: Place, formulas: Formulas): readonly PolicyEntry[] {
  const isKnown = (dimension: string): boolean =>
    Object.hasOwn(place, dimension) || dimension.startsWith('label:') || dimension.startsWith('place.')
  return entries.map(entry => {
    let { formula } = entry
    for (const dimension of new Set(formula.atoms.map(atom => atom.dimension))) {
      if (!isKnown(dimension)) continue
      const value = Object.hasOwn(place, dimension) ? place[dimension] : undefined
      const holds = formula.atoms.filter(atom => atom.dimension === dimension && takes(atom, value))
      formula = formulas.assign(formula, dimension, new Set(holds.map(({ id }) => id)), new Map())
    }
    return { ...entry, formula }
  })
}

function takes(atom: Atom, value: string | undefined): boolean {
  if (value === undefined) return false
  if (atom.dimension !== 'principal') return atom.values.includes(value)
  return textHolds(textDimension('principal', [atom], 'BASE').patternsOf(atom), value)
}

/** Where an ordered list says yes. */
function verdictFormula(entries: readonly PolicyEntry[], formulas: Formulas): Formula {
  let verdict = formulas.never
  for (const { formula, outcome } of [...entries].reverse())
    verdict =
      outcome === 'allow' ? formulas.or([formula, verdict]) : formulas.and([formulas.not(formula), verdict])
  return verdict
}
