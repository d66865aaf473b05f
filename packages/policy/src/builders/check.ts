/** A manifest that code made, judged by the readers that judge files: the same rules, the same words. */
import { PolicyError } from '../errors.ts'
import type { Problem } from '../yaml/problem.ts'
import type { YamlEntry, YamlNode } from '../yaml/compose.ts'
import { createYamlReader, type YamlReader } from '../yaml/reader.ts'

/** The part of a manifest that a builder knows before it is checked. */
export interface ManifestDraft {
  readonly kind: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly spec: Readonly<Record<string, unknown>>
}

/**
 * The document that reading the manifest gives.
 * @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every mistake, each by its path in the document.
 */
export function checkedDocument<T extends { readonly source?: unknown }>(
  draft: ManifestDraft,
  read: (reader: YamlReader) => T | undefined,
  mistakes: readonly string[],
): Omit<T, 'source'> {
  const { namespace, name } = draft.metadata
  const file = `${draft.kind} ${namespace === undefined ? '' : `${String(namespace)}/`}${String(name)}`
  const at = { file, line: 1, column: 1 }
  const all = namespace === undefined ? [withoutNamespace(String(name)), ...mistakes] : mistakes
  const problems: Problem[] = all.map(message => ({ ...at, message, severity: 'error' }))
  const reader = createYamlReader(nodeOf({ apiVersion: 'security.istio.io/v1', ...draft }), {
    file,
    resource: file,
    position: () => ({ line: 1, column: 1 }),
    add: problem => problems.push(problem),
    get errorCount() {
      return problems.filter(({ severity }) => severity === 'error').length
    },
  })
  const document = read(reader)
  const errors = problems.filter(({ severity }) => severity === 'error')
  if (document === undefined || errors.length > 0)
    throw new PolicyError(
      'AMBIENT_E_POLICY_DOCUMENT',
      errors.map(({ message }) => `${file}: ${message}`).join('\n'),
      { problems: errors },
    )
  const { source: _, ...built } = document
  return built
}

/** A file may leave it to kubectl, which then asks a context. Code has none, and `allow('shop')` means a namespace. */
function withoutNamespace(name: string): string {
  return `no namespace: write 'NAMESPACE/${name}', or 'default/${name}' where that is meant`
}

/** Plain data as the tree that YAML text would have given. */
function nodeOf(value: unknown): YamlNode {
  if (Array.isArray(value)) return { kind: 'list', offset: 0, items: value.map(nodeOf) }
  if (typeof value === 'object' && value !== null) {
    const written = Object.entries(value).filter(([, item]) => item !== undefined)
    const entries = written.map(([key, item]): [string, YamlEntry] => [
      key,
      { keyOffset: 0, value: nodeOf(item) },
    ])
    return { kind: 'object', offset: 0, entries: new Map(entries) }
  }
  const known = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
  return { kind: 'scalar', offset: 0, value: known ? value : null, plain: undefined }
}
