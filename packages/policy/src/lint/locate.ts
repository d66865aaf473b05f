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
  return (policy, path) => {
    const { source } = policy
    if (source === undefined) return undefined
    const root = roots.get(placeOf(source))
    return root === undefined ? remembered(policy, path) : walk(root, path)
  }
}

function placeOf({ file, line, column }: SourcePosition): string {
  return `${file}:${line}:${column}`
}

function walk(root: YamlReader, path: string): SourcePosition {
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
      next = at.list(item => item)[Number(index)]
      position = next?.position ?? position
    }
    if (next === undefined) return position
    at = next
  }
  return position
}

/** Without the text: what was remembered of the rules, and the beginning of the document. */
function remembered(policy: PolicyObject, path: string): SourcePosition | undefined {
  if (!isAuthorizationPolicy(policy)) return policy.source
  const positions = positionsOf(policy)
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
