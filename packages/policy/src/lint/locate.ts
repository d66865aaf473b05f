/** From a path in a document to its line: the texts are read once more, so that documents carry no positions. */
import type { Locate } from './finding.ts'
import type { PolicyObject } from '../documents/metadata.ts'
import { positionsOf } from '../documents/positions.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { SourcePosition } from '../yaml/problem.ts'
import { readYaml } from '../yaml/read-yaml.ts'
import type { YamlReader } from '../yaml/reader.ts'

export interface SourceText {
  /** As in the documents' positions. */
  readonly path: string
  readonly text: string
}

/** Nearest to what is asked for: the part itself, else what it is in, else the document. */
export function createLocate(sources: readonly SourceText[]): Locate {
  const roots = new Map<string, YamlReader>()
  for (const { path, text } of sources)
    for (const { root, position } of readYaml(text, path).documents) roots.set(placeOf(position), root)
  const known: KnownItems = new Map()
  const positions = new Map<PolicyObject, ReturnType<typeof positionsOf>>()
  return (policy, path) => {
    const { source } = policy
    if (source === undefined) return undefined
    const root = roots.get(placeOf(source))
    return root === undefined ? remembered(policy, path, positions) : walk(root, path, known)
  }
}

/** Of lists, by root and path: a list of thousands of rules is not read again for each finding in it. */
type KnownItems = Map<YamlReader, Map<string, readonly YamlReader[]>>

function placeOf({ file, line, column }: SourcePosition): string {
  return `${file}:${line}:${column}`
}

function walk(root: YamlReader, path: string, known: KnownItems): SourcePosition {
  const lists = known.get(root) ?? new Map<string, readonly YamlReader[]>()
  known.set(root, lists)
  let at = root
  let position = root.position
  for (const [, name, index, quoted] of path.matchAll(/(?:^|\.)([^.[\]]+)|\[(\d+)\]|\["([^"]+)"\]/g)) {
    const key = name ?? quoted
    let next: YamlReader | undefined
    if (key !== undefined) {
      const object = at.kind === 'object' ? at.object() : undefined
      next = object?.get(key)
      if (next !== undefined) position = object?.keyPosition(key) ?? position
    } else if (at.kind === 'list') {
      const items = lists.get(at.path) ?? at.list(item => item)
      lists.set(at.path, items)
      next = items[Number(index)]
      position = next?.position ?? position
    }
    if (next === undefined) return position
    at = next
  }
  return position
}

/** Without the text: what was remembered of the rules, and the beginning of the document. */
function remembered(
  policy: PolicyObject,
  path: string,
  known: Map<PolicyObject, ReturnType<typeof positionsOf>>,
): SourcePosition | undefined {
  if (!isAuthorizationPolicy(policy)) return policy.source
  const positions = known.get(policy) ?? positionsOf(policy)
  known.set(policy, positions)
  let at = path.replace(/^spec\./, '')
  while (at !== '') {
    const found = positions.get(at)
    if (found !== undefined) return found
    at = at.slice(0, Math.max(at.lastIndexOf('.'), at.lastIndexOf('['), 0))
  }
  return policy.source
}

function isAuthorizationPolicy(policy: PolicyObject): policy is AuthorizationPolicy {
  return 'kind' in policy && policy.kind === 'AuthorizationPolicy'
}
