/** Reads a `*.policy-test.yaml`, each mistake with its position. */
import { defaults } from '../defaults.ts'
import { limits } from '../limits.ts'
import type { PolicyRequest, RequestDestination, RequestSource } from '../evaluator/request.ts'
import { type Problem, quote } from '../yaml/problem.ts'
import { readYaml } from '../yaml/read-yaml.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'
import { describeRequest } from './describe-request.ts'
import { type CaseLayer, DIALECTS, LAYER_FIELDS, type LayerContext, readLayer } from './read-layer.ts'
import { type KnownWorkload, type RequestTerms, requestOf, usualDialect } from './terms.ts'
import type { PolicyTestCase, PolicyTestFile, PolicyTestSettings } from './test-case.ts'

const SETTINGS = [
  'dialect',
  'rootNamespace',
  'trustDomain',
  'trustDomainAliases',
  'pathNormalization',
  'custom',
] as const
const FILE_FIELDS = ['policies', ...SETTINGS, 'workloads', 'defaults', 'tests'] as const
const NORMALIZATIONS = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

/** Never throws: `tests` is absent when the text holds none that can be read, and `problems` says why. */
export function readPolicyTests(
  text: string,
  file: string,
): { readonly tests?: PolicyTestFile; readonly problems: readonly Problem[] } {
  const { documents, problems } = readYaml(text, file)
  const [document, second] = documents
  if (document === undefined) {
    if (problems.length > 0) return { problems }
    return {
      problems: [{ file, line: 1, column: 1, message: 'expected tests, found nothing', severity: 'error' }],
    }
  }
  second?.root.problem('expected one document in a file of tests')
  const tests = readFile(document.root, file)
  const isBad = problems.some(({ severity }) => severity === 'error')
  return isBad || tests === undefined ? { problems } : { tests, problems }
}

function readFile(root: YamlReader, file: string): PolicyTestFile | undefined {
  const object = root.object(FILE_FIELDS)
  if (object === undefined) return undefined
  const settings = readSettings(object)
  const context: LayerContext = {
    trustDomain: settings.trustDomain ?? defaults.trustDomain,
    workloads: object.get('workloads')?.map(readWorkload) ?? new Map<string, KnownWorkload>(),
  }
  const dialect = object.get('dialect')?.oneOf(DIALECTS)
  const common = object.get('defaults')?.object(LAYER_FIELDS)
  const base: CaseLayer = {
    ...(dialect === undefined ? {} : { dialect }),
    ...(common === undefined ? {} : readLayer(common, context)),
  }
  const tests = object.required('tests')
  const cases = tests?.list(test => readTest(test, base, context)).flat() ?? []
  if (tests?.kind === 'list' && cases.length === 0 && root.errorCount === 0)
    tests.problem('expected at least one test, found none')
  if (cases.length > limits.maxTestCases)
    tests?.problem(`expected at most ${limits.maxTestCases} cases in a file, found ${cases.length}`)
  const policies = object.get('policies')?.list(item => item.text()) ?? []
  return { file, policies, settings, cases }
}

function readSettings(object: YamlObject): PolicyTestSettings {
  const rootNamespace = object.get('rootNamespace')?.text()
  const trustDomain = object.get('trustDomain')?.text()
  const trustDomainAliases = object.get('trustDomainAliases')?.list(item => item.text())
  const pathNormalization = object.get('pathNormalization')?.oneOf(NORMALIZATIONS)
  const custom = object.get('custom')?.oneOf(['deny', 'allow'] as const)
  return {
    ...(rootNamespace === undefined ? {} : { rootNamespace }),
    ...(trustDomain === undefined ? {} : { trustDomain }),
    ...(trustDomainAliases === undefined ? {} : { trustDomainAliases }),
    ...(pathNormalization === undefined ? {} : { pathNormalization }),
    ...(custom === undefined ? {} : { custom }),
  }
}

function readWorkload(reader: YamlReader, name: string): KnownWorkload | undefined {
  if (!/^[^/\s]+\/[^/\s:]+$/.test(name))
    reader.problem(`expected NAMESPACE/WORKLOAD as key, found ${quote(name)}`)
  const object = reader.object(['labels', 'ip'])
  const labels = object?.get('labels')?.strings()
  const ip = object?.get('ip')?.text()
  return { ...(labels === undefined ? {} : { labels }), ...(ip === undefined ? {} : { ip }) }
}

function readTest(reader: YamlReader, base: CaseLayer, context: LayerContext): readonly PolicyTestCase[] {
  const object = reader.object([...LAYER_FIELDS, 'cases'])
  if (object === undefined) return []
  const own = readLayer(object, context)
  const rows = object.get('cases')
  if (rows === undefined) return casesOf(object, { ...base, ...own }, [own.name])
  if (rows.kind === 'list' && rows.list(() => true).length === 0)
    rows.problem('expected at least one row, found none')
  const cases = rows.list(row => {
    const written = row.object(LAYER_FIELDS)
    if (written === undefined) return undefined
    const layer = readLayer(written, context)
    return casesOf(written, { ...base, ...own, ...layer }, [own.name, layer.name])
  })
  return cases.flat()
}

/** Every combination of the lists. Each test, and each row, has a place in `names`. */
function casesOf(
  { reader, has }: YamlObject,
  layer: CaseLayer,
  names: readonly (string | undefined)[],
): readonly PolicyTestCase[] {
  const { from, to, expect: verdict } = layer
  for (const field of ['from', 'to', 'expect'] as const)
    if (layer[field] === undefined && !has(field))
      reader.problem(`the field ${quote(field)} is required, here or in the defaults`)
  if (from === undefined || to === undefined || verdict === undefined) return []
  const requests = from.flatMap(source => to.flatMap(destination => httpOf(source, destination, layer)))
  const given = names.filter(name => name !== undefined)
  // The row's own name, or the test's, says which it is; among several the request does.
  const isNamed = requests.length === 1 && names.at(-1) !== undefined
  return requests.map(request => ({
    name: [...given, ...(isNamed ? [] : [describeRequest(request)])].join(': '),
    position: reader.position,
    request,
    dialect: layer.dialect ?? usualDialect(request),
    ...(layer.enforcer === undefined ? {} : { enforcer: layer.enforcer }),
    expected: {
      verdict,
      ...(layer.by === undefined ? {} : { by: layer.by }),
      ...(layer.status === undefined ? {} : { status: layer.status }),
    },
  }))
}

function httpOf(
  source: RequestSource,
  destination: RequestDestination,
  layer: CaseLayer,
): readonly PolicyRequest[] {
  const { method, host, path, sni, headers, jwt } = layer
  const fixed = { ...(headers === undefined ? {} : { headers }), ...(jwt === undefined ? {} : { jwt }) }
  let terms: readonly Omit<RequestTerms, 'from' | 'to'>[] = [fixed]
  for (const [field, values] of Object.entries({ method, host, path, sni }))
    if (values !== undefined)
      terms = terms.flatMap(term => values.map(value => ({ ...term, [field]: value })))
  return terms.map(term => requestOf(source, destination, term))
}
