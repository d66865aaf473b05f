/** What of a mesh's configuration (`MeshConfig`, the key `mesh` of the ConfigMap `istio`) decides about requests. */
import type { AuthorizationProvider } from './provider.ts'
import { readProvider } from './read-provider.ts'
import { trustDomainProblem } from '@ambient/core'
import { documentError } from '../errors.ts'
import { defaults } from '../defaults.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'
import { type Problem, quote } from '../yaml/problem.ts'
import { readYaml } from '../yaml/read-yaml.ts'
import type { YamlReader } from '../yaml/reader.ts'

export interface MeshConfig {
  /** Those that authorize; other kinds of provider are passed over. */
  readonly extensionProviders: readonly AuthorizationProvider[]
  readonly trustDomainAliases: readonly string[]
  readonly pathNormalization: PathNormalization
}

/** A mesh that says nothing. */
export const defaultMeshConfig: MeshConfig = Object.freeze({
  extensionProviders: Object.freeze([]),
  trustDomainAliases: Object.freeze([]),
  pathNormalization: defaults.pathNormalization,
})

const NORMALIZATIONS = ['DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

/**
 * Never throws: what cannot be read is in `problems`, and `value` is `undefined` when one of them is an error. Fields
 * that mean nothing here are passed over.
 */
export function readMeshConfig(
  text: string,
  file: string,
): { readonly value: MeshConfig | undefined; readonly problems: readonly Problem[] } {
  const { documents, problems } = readYaml(text, file)
  const [document, another] = documents
  another?.root.problem('expected one document, the mesh configuration')
  const value = document === undefined ? defaultMeshConfig : readDocument(document.root)
  return { value: problems.some(({ severity }) => severity === 'error') ? undefined : value, problems }
}

/** @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every mistake */
export function parseMeshConfig(text: string, file: string): MeshConfig {
  const { value, problems } = readMeshConfig(text, file)
  if (value === undefined) throw documentError(problems.filter(({ severity }) => severity === 'error'))
  return value
}

function readDocument(root: YamlReader): MeshConfig | undefined {
  const object = root.object()
  if (object === undefined) return undefined
  const aliases = object.get('trustDomainAliases')?.list(readAlias) ?? []
  const normalization = object.get('pathNormalization')?.object()?.get('normalization')?.oneOf(NORMALIZATIONS)
  const names = new Set<string>()
  const providers = object.get('extensionProviders')?.list(item => readProvider(item, names)) ?? []
  return Object.freeze({
    extensionProviders: Object.freeze(providers),
    trustDomainAliases: Object.freeze(aliases),
    pathNormalization:
      normalization === undefined || normalization === 'DEFAULT' ? defaults.pathNormalization : normalization,
  })
}

/** A wildcard in an alias is Istio's to refuse as well: it would make strangers members. */
function readAlias(reader: YamlReader): string | undefined {
  const alias = reader.text()
  const problem = alias === undefined ? undefined : trustDomainProblem(alias)
  if (problem !== undefined) reader.problem(`${quote(alias)}: ${problem}`)
  return alias
}
