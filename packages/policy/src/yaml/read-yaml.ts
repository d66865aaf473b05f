/** YAML or JSON text to documents with positions: multi-document files, kubectl's `kind: List`, Windows line ends. */
import { composeYaml, type YamlEntry, type YamlNode } from './compose.ts'
import { createYamlReader, type ProblemSink, type YamlReader } from './reader.ts'
import { type Problem, quote, type SourcePosition } from './problem.ts'
import { limits } from '../limits.ts'

export interface YamlDocument {
  readonly root: YamlReader
  readonly position: SourcePosition
  /** What the document says of itself, unchecked; empty when it does not. */
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** Findings in this document so far. Grows while the document is read. */
  readonly problems: readonly Problem[]
}

export interface YamlFile {
  /** Documents without syntax errors; empty ones are left out, the items of a `kind: List` are documents. */
  readonly documents: readonly YamlDocument[]
  /** Findings in the whole file so far, in order of lines and columns. Grows while its documents are read. */
  readonly problems: readonly Problem[]
}

/** Neither YAML nor JSON has them; binary files and UTF-16 do, and would be read as text that is nobody's policy. */
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f]/

/** Never throws: what cannot be read is in `problems`. */
export function readYaml(text: string, file: string): YamlFile {
  const problems: Problem[] = []
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text
  if (byteLength(body) > limits.maxDocumentBytes) {
    const message = `larger than ${limits.maxDocumentBytes} bytes`
    return { documents: [], problems: [{ file, line: 1, column: 1, message, severity: 'error' }] }
  }
  const position = positions(body)
  const control = body.search(CONTROL)
  if (control >= 0) {
    const message = `the control character ${quote(body.charAt(control))}: expected text in UTF-8`
    return { documents: [], problems: [{ file, ...position(control), message, severity: 'error' }] }
  }
  // Counted apart: an error must not get lost behind warnings, or its document would be missing without a word.
  const counts = { error: 0, warning: 0 }
  const add = (problem: Problem): void => {
    if (++counts[problem.severity] <= limits.maxProblems) insert(problems, problem)
  }
  const roots = composeYaml(body, (offset, message) =>
    add({ file, ...position(offset), message, severity: 'error' }),
  )
  return { documents: roots.flatMap(itemsOf).map(node => openDocument(node, file, position, add)), problems }
}

/** Documents are read in an order of their own, and their fields too; a person reads from the top. */
function insert(problems: Problem[], problem: Problem): void {
  const next = problems.findIndex(
    ({ line, column }) => line > problem.line || (line === problem.line && column > problem.column),
  )
  problems.splice(next < 0 ? problems.length : next, 0, problem)
}

function openDocument(
  node: YamlNode,
  file: string,
  position: ProblemSink['position'],
  add: (problem: Problem) => void,
): YamlDocument {
  const problems: Problem[] = []
  let errorCount = 0
  const [apiVersion, kind] = [textAt(node, 'apiVersion'), textAt(node, 'kind')]
  const [namespace, name] = [textAt(node, 'metadata', 'namespace'), textAt(node, 'metadata', 'name')]
  const resource =
    kind === '' ? undefined : `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`.trim()
  const sink: ProblemSink = {
    file,
    resource,
    position,
    get errorCount() {
      return errorCount
    },
    add(problem) {
      if (problem.severity === 'error') errorCount++
      problems.push(problem)
      add(problem)
    },
  }
  const root = createYamlReader(node, sink)
  return { root, position: root.position, apiVersion, kind, namespace, name, problems }
}

/**
 * Several objects as one: kubectl's `kind: List`, and the API server's lists of one kind (`AuthorizationPolicyList`), whose
 * items leave out what the list says for them.
 */
function itemsOf(root: YamlNode): readonly YamlNode[] {
  if (root.kind !== 'object') return [root]
  const listed = /^(.*)List$/.exec(textAt(root, 'kind'))?.[1]
  const items = root.entries.get('items')?.value
  // A list has no name: what has one is an object of a kind that is called so.
  if (listed === undefined || items?.kind !== 'list' || textAt(root, 'metadata', 'name') !== '') return [root]
  if (listed === '') return items.items.flatMap(itemsOf)
  return items.items.map(item => withType(item, listed, textAt(root, 'apiVersion')))
}

/** An item of a list with the kind and the version that its list has for it. */
function withType(item: YamlNode, kind: string, apiVersion: string): YamlNode {
  if (item.kind !== 'object') return item
  const { offset } = item
  const scalar = (value: string): YamlEntry => ({
    keyOffset: offset,
    value: { kind: 'scalar', offset, value, plain: undefined },
  })
  const type = new Map([
    ['apiVersion', scalar(apiVersion)],
    ['kind', scalar(kind)],
  ])
  return { ...item, entries: new Map([...type, ...item.entries]) }
}

function textAt(node: YamlNode, ...path: readonly string[]): string {
  let at: YamlNode | undefined = node
  for (const key of path) at = at?.kind === 'object' ? at.entries.get(key)?.value : undefined
  return at?.kind === 'scalar' && typeof at.value === 'string' ? at.value : ''
}

/** Offsets to lines by binary search over the starts of lines. */
function positions(text: string): ProblemSink['position'] {
  const starts = [0]
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return offset => {
    let [low, high] = [0, starts.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 }
  }
}

function byteLength(text: string): number {
  // At most three bytes per UTF-16 unit: most texts need no count.
  return text.length * 3 <= limits.maxDocumentBytes ? text.length : new TextEncoder().encode(text).length
}
