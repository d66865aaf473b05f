/** Reads and checks an `AuthorizationPolicy` document as Istio's admission does, each mistake with its position. */
import type {
  AuthorizationAction,
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  OperationField,
  PolicyCondition,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
  SourceField,
} from './authorization-policy.ts'
import { conditionProblem, operationProblem, sourceProblem } from './policy-values.ts'
import { openObject, type ReadOptions, readSelector, readTargetRefs } from './read-spec.ts'
import { parseDryRun } from './dry-run.ts'
import { EXPIRES, parseExpires } from './expiry.ts'
import { limits } from '../limits.ts'
import { quote } from '../yaml/problem.ts'
import type { YamlReader } from '../yaml/reader.ts'

const ACTIONS = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const
const SPEC_FIELDS = ['selector', 'targetRef', 'targetRefs', 'action', 'rules', 'provider'] as const

const SOURCE_FIELDS = Object.freeze([
  'principals',
  'notPrincipals',
  'requestPrincipals',
  'notRequestPrincipals',
  'namespaces',
  'notNamespaces',
  'ipBlocks',
  'notIpBlocks',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
  'serviceAccounts',
  'notServiceAccounts',
  'trustDomains',
  'notTrustDomains',
]) satisfies readonly SourceField[]

const OPERATION_FIELDS = Object.freeze([
  'hosts',
  'notHosts',
  'ports',
  'notPorts',
  'methods',
  'notMethods',
  'paths',
  'notPaths',
]) satisfies readonly OperationField[]

/** A CUSTOM rule is evaluated before the identity of a request is known. */
const NOT_WITH_CUSTOM = /^(not)?(namespaces|serviceAccounts|trustDomains|principals|requestPrincipals)$/i
const NOT_WITH_CUSTOM_KEY = /^(source\.(namespace|serviceAccount|trustDomain|principal)|request\.auth\..*)$/

/**
 * Reads one document of `security.istio.io/v1` or `v1beta1`.
 * @returns `undefined` when it holds an error; every mistake is recorded, not only the first.
 */
export function readAuthorizationPolicy(
  reader: YamlReader,
  options: ReadOptions = {},
): AuthorizationPolicy | undefined {
  const before = reader.errorCount
  const opened = openObject(reader, 'AuthorizationPolicy')
  if (opened === undefined) return undefined
  checkDryRun(reader, opened.metadata.annotations['istio.io/dry-run'])
  const spec = opened.spec === undefined ? {} : readSpec(opened.spec, options)
  checkExpires(reader, opened.metadata.annotations[EXPIRES], spec?.action)
  if (spec === undefined || reader.errorCount > before) return undefined
  return { kind: 'AuthorizationPolicy', metadata: opened.metadata, source: opened.source, spec }
}

/** What does not parse is enforced by istiod: whoever wrote it meant the opposite. */
function checkDryRun(reader: YamlReader, written: string | undefined): void {
  if (written === undefined || parseDryRun(written) !== undefined) return
  const annotations = reader.object()?.get('metadata')?.object()?.get('annotations')?.object()
  annotations?.get('istio.io/dry-run')?.problem(`expected "true" or "false", found ${quote(written)}`)
}

/** Ours: an end that cannot be read has passed, and one of a policy that closes something would open it. */
function checkExpires(
  reader: YamlReader,
  written: string | undefined,
  action: AuthorizationAction = 'ALLOW',
): void {
  if (written === undefined) return
  const annotations = reader.object()?.get('metadata')?.object()?.get('annotations')?.object()
  const place = annotations?.get(EXPIRES)
  if (parseExpires(written) === undefined)
    place?.problem(`expected a time with its zone such as 2026-12-31T18:00:00Z, found ${quote(written)}`)
  else if (action !== 'ALLOW')
    place?.problem(
      `a ${action} does not end: its end would open what it closes; only an ALLOW does`,
      'warning',
    )
}

function readSpec(reader: YamlReader, options: ReadOptions): AuthorizationPolicySpec | undefined {
  const spec = reader.object(SPEC_FIELDS)
  if (spec === undefined) return undefined
  const selector = readSelector(spec.get('selector'), options.emptySelector ?? 'refused')
  const targetRefs = readTargetRefs(spec)
  if (selector !== undefined && targetRefs !== undefined)
    spec.problemAt('selector', 'expected only one of selector and targetRefs')
  const written = spec.get('action')
  const action = written === undefined ? 'ALLOW' : written.oneOf(ACTIONS)
  const rules = spec.get('rules')?.list(rule => readRule(rule, action))
  if (action !== undefined && action !== 'ALLOW' && action !== 'AUDIT' && rules?.length === undefined)
    spec.problemAt(
      'action',
      `${action} without rules never matches: add rules, \`rules: [{}]\` to mean everything`,
    )
  const provider = spec.get('provider')?.object(['name'])?.required('name')?.text()
  if (action === 'CUSTOM' && !spec.has('provider')) spec.problemAt('action', 'CUSTOM needs a provider')
  if (action !== undefined && action !== 'CUSTOM' && spec.has('provider'))
    spec.problemAt('provider', `expected with action CUSTOM only, found with ${action}`)
  return {
    ...(selector === undefined ? {} : { selector }),
    ...(targetRefs === undefined ? {} : { targetRefs }),
    ...(action === undefined ? {} : { action }),
    ...(rules === undefined ? {} : { rules }),
    ...(provider === undefined ? {} : { provider: { name: provider } }),
  }
}

function readRule(reader: YamlReader, action: AuthorizationAction | undefined): PolicyRuleSpec | undefined {
  const rule = reader.object(['from', 'to', 'when'])
  if (rule === undefined) return undefined
  const from = readParts(rule.get('from'), item => readFrom(item, action))
  const to = readParts(rule.get('to'), readTo)
  const when = rule.get('when')?.list(item => readCondition(item, action))
  return {
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(when === undefined || when.length === 0 ? {} : { when }),
  }
}

/** `from` or `to`: leaving it out matches everything, writing an empty one is a mistake. */
function readParts<T>(
  reader: YamlReader | undefined,
  read: (item: YamlReader) => T | undefined,
): readonly T[] | undefined {
  if (reader === undefined) return undefined
  let seen = 0
  const parts = reader.list(item => {
    seen++
    return read(item)
  })
  if (seen === 0 && reader.kind === 'list')
    reader.problem('expected at least one item; leave it out to match everything')
  return parts
}

function readFrom(
  reader: YamlReader,
  action: AuthorizationAction | undefined,
): { readonly source: PolicySource } | undefined {
  const item = reader.object(['source'])?.required('source')
  if (item === undefined) return undefined
  const fields = readFields(item, SOURCE_FIELDS, sourceProblem)
  if (fields === undefined) return undefined
  for (const field of fields.keys())
    if (action === 'CUSTOM' && NOT_WITH_CUSTOM.test(field))
      item.problem(`${field} cannot be used with action CUSTOM, which runs before identities are judged`)
  checkServiceAccounts(item, fields)
  return { source: Object.fromEntries(fields) }
}

function readTo(reader: YamlReader): { readonly operation: PolicyOperation } | undefined {
  const item = reader.object(['operation'])?.required('operation')
  const fields = item === undefined ? undefined : readFields(item, OPERATION_FIELDS, operationProblem)
  return fields === undefined ? undefined : { operation: Object.fromEntries(fields) }
}

function readFields<F extends string>(
  reader: YamlReader,
  names: readonly F[],
  problemOf: (field: F, value: string) => string | undefined,
): ReadonlyMap<F, readonly string[]> | undefined {
  const object = reader.object(names)
  if (object === undefined) return undefined
  const fields = new Map<F, readonly string[]>()
  for (const name of names) {
    const values = object.get(name)
    if (values === undefined) continue
    fields.set(
      name,
      readValues(values, value => problemOf(name, value)),
    )
  }
  if (fields.size === 0 && object.keys.length === 0) reader.problem('expected at least one field, found none')
  return fields
}

function readValues(reader: YamlReader, problemOf: (value: string) => string | undefined): readonly string[] {
  if (reader.kind === 'list' && reader.list(() => true).length === 0)
    reader.problem('expected at least one value, found an empty list')
  return reader.list(item => {
    const value = item.text()
    const problem = value === undefined ? undefined : problemOf(value)
    if (problem !== undefined) item.problem(problem)
    return value
  })
}

function checkServiceAccounts(reader: YamlReader, fields: ReadonlyMap<SourceField, readonly string[]>): void {
  for (const field of ['serviceAccounts', 'notServiceAccounts'] as const) {
    const values = fields.get(field)
    if (values === undefined) continue
    if (values.length > limits.maxServiceAccounts)
      reader.problem(`${field}: expected at most ${limits.maxServiceAccounts} values, found ${values.length}`)
    for (const other of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'] as const)
      if (fields.has(other)) reader.problem(`${field} cannot be combined with ${other}`)
  }
}

function readCondition(
  reader: YamlReader,
  action: AuthorizationAction | undefined,
): PolicyCondition | undefined {
  const object = reader.object(['key', 'values', 'notValues'])
  const keyReader = object?.required('key')
  const key = keyReader?.text()
  if (object === undefined || key === undefined) return undefined
  const unknown = conditionProblem(key, undefined)
  if (unknown !== undefined) keyReader?.problem(unknown)
  if (action === 'CUSTOM' && NOT_WITH_CUSTOM_KEY.test(key))
    keyReader?.problem(`${key} cannot be used with action CUSTOM, which runs before identities are judged`)
  const read = (field: 'values' | 'notValues'): readonly string[] | undefined => {
    const values = object.get(field)
    const problemOf = (value: string): string | undefined =>
      unknown === undefined ? conditionProblem(key, value) : undefined
    return values === undefined ? undefined : readValues(values, problemOf)
  }
  const values = read('values')
  const notValues = read('notValues')
  if (values === undefined && notValues === undefined) reader.problem('expected values, notValues or both')
  return {
    key,
    ...(values === undefined ? {} : { values }),
    ...(notValues === undefined ? {} : { notValues }),
  }
}
