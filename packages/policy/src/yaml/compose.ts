/**
 * YAML text to a small tree of our own with offsets: the one module that knows the `yaml` library. What the library
 * allows and a manifest may not have (aliases, tags, duplicate or dangerous keys, depth) is refused here.
 */
import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type ParsedNode,
  Parser,
  Scalar,
  type YAMLMap,
} from 'yaml'
import { messageOf } from '@ambient/core'
import { limits } from '../limits.ts'
import { quote } from './problem.ts'

export type YamlScalarValue = string | number | boolean | null

export type YamlNode =
  | {
      readonly kind: 'scalar'
      readonly offset: number
      readonly value: YamlScalarValue
      /** As written, when it was written without quotes. */
      readonly plain: string | undefined
      /** Of a text behind `|`: how many characters each of its lines is moved to the right. */
      readonly indent?: number
    }
  | { readonly kind: 'list'; readonly offset: number; readonly items: readonly YamlNode[] }
  | { readonly kind: 'object'; readonly offset: number; readonly entries: ReadonlyMap<string, YamlEntry> }

export interface YamlEntry {
  readonly keyOffset: number
  readonly value: YamlNode
}

type Report = (offset: number, message: string) => void

interface Composing {
  readonly text: string
  readonly report: Report
}

/** A key that assigned to an ordinary object would change its prototype; labels may well be called `prototype`. */
const DANGEROUS_KEY = '__proto__'
const STANDARD_TAG = /^tag:yaml\.org,2002:(str|int|float|bool|null|map|seq)$/

/** One tree per document that is not empty; `undefined` for a document that was reported. */
export function composeYaml(text: string, report: Report): readonly YamlNode[] {
  const roots: YamlNode[] = []
  for (const document of parseDocuments(text, report)) {
    let reported = false
    const reportHere: Report = (offset, message) => {
      reported = true
      report(offset, message)
    }
    const composing: Composing = { text, report: reportHere }
    // What follows a syntax error is mostly its echo.
    const [error] = document.errors
    if (error !== undefined) reportHere(error.pos[0], problemText(error.message))
    if (reported || document.contents === null) continue
    const root = convert(document.contents, 0, composing)
    if (!reported && !(root.kind === 'scalar' && root.value === null)) roots.push(root)
  }
  return roots
}

/**
 * In two steps: the library parses without recursion, but composes with it, and a stack that ends inside a regular
 * expression takes the whole program with it. So the depth is looked at in between. Document by document: what the
 * library makes of a text is a hundred times as large.
 */
function* parseDocuments(text: string, report: Report): Generator<Document.Parsed> {
  // The library compares each key with all before it: our own check below is linear.
  const options = {
    prettyErrors: false,
    uniqueKeys: false,
    version: '1.2',
    schema: 'core',
    logLevel: 'silent',
  } as const
  try {
    yield* new Composer<ParsedNode>(options).compose(shallowOnly(new Parser().parse(text), report))
  } catch (error) {
    report(0, problemText(messageOf(error)))
  }
}

/** Up to the first that is nested too deep. */
function* shallowOnly(documents: Iterable<CST.Token>, report: Report): Generator<CST.Token> {
  for (const document of documents) {
    const deep = tooDeep(document)
    if (deep !== undefined) return report(deep, `nested deeper than ${limits.maxDepth} levels`)
    yield document
  }
}

/** Where a document is nested too deep, if it is. */
function tooDeep(document: CST.Token): number | undefined {
  let level: readonly CST.Token[] = [document]
  // The first step is from the document to what is in it.
  for (let depth = 0; depth <= limits.maxDepth + 1; depth++) {
    level = level.flatMap(childrenOf)
    if (level.length === 0) return undefined
  }
  return level[0]?.offset
}

function childrenOf(token: CST.Token): readonly CST.Token[] {
  if (token.type === 'document') return token.value === undefined ? [] : [token.value]
  if (!('items' in token)) return []
  const children: CST.Token[] = []
  for (const { key, value } of token.items) {
    if (key !== undefined && key !== null) children.push(key)
    if (value !== undefined) children.push(value)
  }
  return children
}

function convert(node: ParsedNode, depth: number, composing: Composing): YamlNode {
  const { report } = composing
  const offset = node.range[0]
  const nothing: YamlNode = { kind: 'scalar', offset, value: null, plain: undefined }
  if (depth > limits.maxDepth) {
    report(offset, `nested deeper than ${limits.maxDepth} levels`)
    return nothing
  }
  if (isAlias(node)) {
    report(offset, `the alias ${quote(`*${node.source}`)} is not allowed: write the value out`)
    return nothing
  }
  if (node.tag !== undefined && !STANDARD_TAG.test(node.tag)) {
    report(offset, `the tag ${quote(node.tag)} is not allowed: expected plain YAML`)
    return nothing
  }
  if (isMap(node)) return convertMap(node, depth, composing)
  if (isSeq(node))
    return { kind: 'list', offset, items: node.items.map(item => convert(item, depth + 1, composing)) }
  return isScalar(node) ? convertScalar(node, offset, composing.text) : nothing
}

function convertMap(map: YAMLMap.Parsed, depth: number, composing: Composing): YamlNode {
  const { report } = composing
  const entries = new Map<string, YamlEntry>()
  for (const { key, value } of map.items) {
    const keyOffset = key.range[0]
    const name = keyText(key)
    if (name === undefined) report(keyOffset, 'expected a string as key')
    else if (name === DANGEROUS_KEY) report(keyOffset, `the key ${quote(name)} is not allowed`)
    else if (entries.has(name)) report(keyOffset, `duplicate key ${quote(name)}`)
    else {
      const nothing: YamlNode = { kind: 'scalar', offset: keyOffset, value: null, plain: undefined }
      entries.set(name, { keyOffset, value: value === null ? nothing : convert(value, depth + 1, composing) })
    }
  }
  return { kind: 'object', offset: map.range[0], entries }
}

function keyText(key: ParsedNode): string | undefined {
  if (!isScalar(key) || (key.tag !== undefined && !STANDARD_TAG.test(key.tag))) return undefined
  // `8080: …` and `true: …` are keys by their text, as JSON would have them.
  return typeof key.value === 'string' ? key.value : key.source
}

function convertScalar(node: Scalar, offset: number, text: string): YamlNode {
  const { value } = node
  const known = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
  const plain = node.type === Scalar.PLAIN ? (node.source ?? '') : undefined
  const scalar = { kind: 'scalar', offset, value: known ? value : null, plain } as const
  return node.type === Scalar.BLOCK_LITERAL ? { ...scalar, indent: indentOf(text, offset) } : scalar
}

/** Of the first line behind the `|` that is not empty. */
function indentOf(text: string, offset: number): number {
  const lines = /[^\n]*\n(?:[^\S\n]*\n)*( *)/y
  lines.lastIndex = offset
  return lines.exec(text)?.[1]?.length ?? 0
}

/** The library's first line; thousands of levels exhaust its stack, which it reports as any other mistake. */
function problemText(message: string): string {
  if (/call stack|too much recursion/.test(message)) return `nested deeper than ${limits.maxDepth} levels`
  return message.split('\n', 1)[0] ?? message
}
