/**
 * A cursor over YAML that knows where it stands: each question about a value that has another answer records a
 * problem with line and column and gives `undefined`, so that one pass over a document finds every mistake in it.
 */
import { nearest } from './nearest.ts'
import { type Problem, quote, type SourcePosition } from './problem.ts'
import type { YamlNode } from './compose.ts'

/** Where findings of one document go, and how its offsets become lines. */
export interface ProblemSink {
  readonly file: string
  readonly resource: string | undefined
  position(offset: number): { readonly line: number; readonly column: number }
  add(problem: Problem): void
  readonly errorCount: number
}

/** A value and its place. Every method that finds something else than it asks for records a problem, once. */
export interface YamlReader {
  /** `spec.rules[0].from`; empty at the root. */
  readonly path: string
  readonly position: SourcePosition
  readonly kind: 'string' | 'number' | 'boolean' | 'null' | 'list' | 'object'
  /** Errors recorded in this document so far; compare before and after to learn whether a part is good. */
  readonly errorCount: number
  /** A string that was written as one: `yes`, `1` and `true` without quotes are not. */
  string(): string | undefined
  /** A string of at least one character. */
  text(): string | undefined
  integer(range?: { readonly min: number; readonly max: number }): number | undefined
  boolean(): boolean | undefined
  oneOf<T extends string>(values: readonly T[]): T | undefined
  /** Reads each item; items that give `undefined` are left out. Empty when this is no list. */
  list<T>(read: (item: YamlReader, index: number) => T | undefined): readonly T[]
  /** Reads each value of a map with free keys, in order. Empty when this is no map. */
  map<T>(read: (value: YamlReader, key: string) => T | undefined): ReadonlyMap<string, T>
  /** Labels, annotations and the like: strings by string, without prototype. */
  strings(): Readonly<Record<string, string>>
  /** Fields by name. Each key that is not in `fields` is a problem; without `fields` any key is good. */
  object(fields?: readonly string[]): YamlObject | undefined
  /** Plain data, unchecked: records without prototype, arrays, scalars. */
  toJson(): unknown
  /** Records a problem here: `path: message`. */
  problem(message: string, severity?: Problem['severity']): void
  /**
   * Reads the string as a document of its own with `read`, whose findings are recorded where they stand in this file.
   * `undefined` when there are errors.
   */
  embedded<T>(read: ReadText<T>): T | undefined
}

/** What a text of its own is, and what is wrong with it, by its own lines and columns. */
export type ReadText<T> = (text: string) => {
  readonly value: T | undefined
  readonly problems: readonly Problem[]
}

export interface YamlObject {
  readonly reader: YamlReader
  readonly keys: readonly string[]
  has(key: string): boolean
  /** `undefined` when the field is absent or null, which Kubernetes takes for the same. */
  get(key: string): YamlReader | undefined
  /** Like `get`, and a missing field is a problem. */
  required(key: string): YamlReader | undefined
  /** Where a key is written; where the map begins when it has no such key. */
  keyPosition(key: string): SourcePosition
  /** Records a problem at the key itself. */
  problemAt(key: string, message: string, severity?: Problem['severity']): void
}

/** What YAML 1.1, and with it Kubernetes, takes for booleans beside `true` and `false`. */
const OLD_BOOLEAN = /^(?:(yes|Yes|YES|on|On|ON)|no|No|NO|off|Off|OFF)$/

export function createYamlReader(node: YamlNode, sink: ProblemSink, path = ''): YamlReader {
  const at = (message: string, severity: Problem['severity'] = 'error'): undefined =>
    addProblem(sink, node.offset, path, message, severity)
  const wrong = (expected: string): undefined => at(`expected ${expected}, found ${describe(node)}`)
  const asString = (expected: string): string | undefined =>
    typeof plainValue(node) === 'string' ? String(plainValue(node)) : wrong(expected)
  return {
    path,
    get position() {
      return { file: sink.file, ...sink.position(node.offset) }
    },
    kind: kindOf(node),
    get errorCount() {
      return sink.errorCount
    },
    string: () => asString('a string'),
    text() {
      const value = asString('a string')
      return value === '' ? wrong('a string that is not empty') : value
    },
    integer: range => readInteger(node, range, wrong),
    boolean() {
      const value = plainValue(node)
      return typeof value === 'boolean' ? value : wrong('true or false')
    },
    oneOf: values => {
      const found = asString(`one of ${values.join(', ')}`)
      return found === undefined
        ? undefined
        : (values.find(value => value === found) ?? wrong(oneOfText(values, found)))
    },
    list: read => readList(node, sink, path, read, wrong),
    map: read => readMap(node, sink, path, read, wrong),
    strings: () => toRecord(readMap(node, sink, path, value => value.string(), wrong)),
    object(fields) {
      if (node.kind !== 'object') return wrong('a map')
      return createObject(this, node, sink, path, fields)
    },
    toJson: () => toJson(node),
    problem: (message, severity) => at(message, severity),
    embedded(read) {
      const text = asString('a string')
      return text === undefined ? undefined : readEmbedded(node, sink, read(text), at)
    },
  }
}

/** A text behind `|` stands in the file as it is; of any other, findings can only be told at its beginning. */
function readEmbedded<T>(
  node: YamlNode,
  sink: ProblemSink,
  { value, problems }: ReturnType<ReadText<T>>,
  at: (message: string, severity: Problem['severity']) => void,
): T | undefined {
  const indent = node.kind === 'scalar' ? node.indent : undefined
  const start = sink.position(node.offset).line
  for (const { line, column, message, severity } of problems) {
    if (indent === undefined) at(`line ${line}, column ${column}: ${message}`, severity)
    else sink.add({ file: sink.file, line: start + line, column: column + indent, message, severity })
  }
  return problems.some(({ severity }) => severity === 'error') ? undefined : value
}

type Wrong = (expected: string) => undefined
type ObjectNode = Extract<YamlNode, { kind: 'object' }>

function createObject(
  reader: YamlReader,
  node: ObjectNode,
  sink: ProblemSink,
  path: string,
  fields: readonly string[] | undefined,
): YamlObject {
  if (fields !== undefined)
    for (const [key, entry] of node.entries)
      if (!fields.includes(key))
        addProblem(sink, entry.keyOffset, join(path, key), unknownText(key, fields), 'error')
  const get = (key: string): YamlReader | undefined => {
    const value = node.entries.get(key)?.value
    return value === undefined || isNull(value) ? undefined : createYamlReader(value, sink, join(path, key))
  }
  return {
    reader,
    keys: [...node.entries.keys()],
    has: key => get(key) !== undefined,
    get,
    required(key) {
      const value = get(key)
      if (value === undefined) {
        const offset = node.entries.get(key)?.keyOffset ?? node.offset
        addProblem(sink, offset, path, `the field ${quote(key)} is required`, 'error')
      }
      return value
    },
    keyPosition: key => ({
      file: sink.file,
      ...sink.position(node.entries.get(key)?.keyOffset ?? node.offset),
    }),
    problemAt(key, message, severity = 'error') {
      addProblem(sink, node.entries.get(key)?.keyOffset ?? node.offset, join(path, key), message, severity)
    },
  }
}

function addProblem(
  sink: ProblemSink,
  offset: number,
  path: string,
  message: string,
  severity: Problem['severity'],
): undefined {
  const resource = sink.resource === undefined ? {} : { resource: sink.resource }
  sink.add({
    file: sink.file,
    ...sink.position(offset),
    message: path === '' ? message : `${path}: ${message}`,
    severity,
    ...resource,
  })
  return undefined
}

function readInteger(
  node: YamlNode,
  range: { readonly min: number; readonly max: number } | undefined,
  wrong: Wrong,
): number | undefined {
  const value = plainValue(node)
  const { min, max } = range ?? { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
  return wrong(range === undefined ? 'an integer' : `an integer from ${min} to ${max}`)
}

function readList<T>(
  node: YamlNode,
  sink: ProblemSink,
  path: string,
  read: (item: YamlReader, index: number) => T | undefined,
  wrong: Wrong,
): readonly T[] {
  if (node.kind !== 'list') return wrong('a list') ?? []
  const items: T[] = []
  for (const [index, item] of node.items.entries()) {
    const value = read(createYamlReader(item, sink, `${path}[${index}]`), index)
    if (value !== undefined) items.push(value)
  }
  return items
}

function readMap<T>(
  node: YamlNode,
  sink: ProblemSink,
  path: string,
  read: (value: YamlReader, key: string) => T | undefined,
  wrong: Wrong,
): ReadonlyMap<string, T> {
  const values = new Map<string, T>()
  if (node.kind !== 'object') return wrong('a map') ?? values
  for (const [key, entry] of node.entries) {
    const value = read(createYamlReader(entry.value, sink, join(path, key)), key)
    if (value !== undefined) values.set(key, value)
  }
  return values
}

/** The value as Kubernetes reads it: old booleans and octal numbers of YAML 1.1 included. */
function plainValue(node: YamlNode): string | number | boolean | null | undefined {
  if (node.kind !== 'scalar') return undefined
  if (node.plain === undefined) return node.value
  const old = OLD_BOOLEAN.exec(node.plain)
  if (old !== null) return old[1] !== undefined
  return /^0[0-7]+$/.test(node.plain) ? Number.parseInt(node.plain, 8) : node.value
}

function toJson(node: YamlNode): unknown {
  if (node.kind === 'list') return node.items.map(toJson)
  if (node.kind === 'scalar') return plainValue(node) ?? null
  return toRecord([...node.entries].map(([key, entry]) => [key, toJson(entry.value)] as const))
}

function toRecord<T>(entries: Iterable<readonly [string, T]>): Readonly<Record<string, T>> {
  const record: Record<string, T> = Object.create(null)
  for (const [key, value] of entries) record[key] = value
  return Object.freeze(record)
}

function kindOf(node: YamlNode): YamlReader['kind'] {
  if (node.kind !== 'scalar') return node.kind
  const value = plainValue(node)
  if (typeof value === 'string') return 'string'
  if (typeof value === 'number') return 'number'
  return typeof value === 'boolean' ? 'boolean' : 'null'
}

function isNull(node: YamlNode): boolean {
  return node.kind === 'scalar' && node.value === null
}

function describe(node: YamlNode): string {
  const kind = kindOf(node)
  if (kind === 'list') return 'a list'
  if (kind === 'object') return 'a map'
  if (kind === 'null' || node.kind !== 'scalar') return 'nothing'
  return kind === 'string'
    ? `the string ${quote(node.value)}`
    : `the ${kind} ${node.plain ?? String(node.value)}`
}

function join(path: string, key: string): string {
  const step = /^[\w-]+$/.test(key) ? key : quote(key)
  return path === '' ? step : `${path}.${step}`
}

function unknownText(key: string, fields: readonly string[]): string {
  const similar = nearest(key, fields)
  const hint = similar === undefined ? '' : `; did you mean ${quote(similar)}?`
  return fields.length === 0
    ? 'unknown field, expected none'
    : `unknown field, expected one of ${fields.join(', ')}${hint}`
}

function oneOfText(values: readonly string[], found: string): string {
  const similar = nearest(found, values)
  return `one of ${values.join(', ')}${similar === undefined ? '' : ` (did you mean ${similar}?)`}`
}
