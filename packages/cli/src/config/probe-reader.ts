/**
 * A document that answers every question with something: whoever reads it shows which fields he knows, which of them he
 * looks at and what he says of them. Many passes with other answers each, the same in every run.
 */
import type { YamlObject, YamlReader } from '@ambient/policy'

/** What readers did with one field, over all passes. */
export interface ProbedField {
  /** `spec.http[].match[].uri`. */
  readonly path: string
  /** In how many passes somebody asked whether it is there. */
  reads: number
  /** In how many passes somebody took its value. */
  taken: number
  /** In how many passes something was said of it, by severity and text. */
  readonly said: Map<string, number>
}

export type ProbedFields = ReadonlyMap<string, ProbedField>

const PASSES = 600
/** What makes a document one at all is always there. */
const ALWAYS = /^(apiVersion|kind|metadata|metadata\.name|spec|data)$/
const NAMES = /^metadata\./
const TEXTS = [
  'a',
  'mesh',
  '80',
  '/a',
  '5s',
  'GET',
  '*',
  'a/b',
  '10.0.0.1',
  'HBONE',
  'a.example',
  'istio-waypoint',
]
const NUMBERS = [80, 1, 301, 100]
const KINDS = ['object', 'list', 'string'] as const

/** Runs the reader over and over. */
export function probe(read: (root: YamlReader) => void): ProbedFields {
  const fields = new Map<string, ProbedField>()
  for (let pass = 0; pass < PASSES; pass++) read(createPass(pass, fields))
  return fields
}

interface Pass {
  readonly fields: Map<string, ProbedField>
  /** What was looked at, and said, in this pass already. */
  readonly seen: Set<string>
  errorCount: number
  choose<T>(values: readonly T[]): T | undefined
}

function createPass(seed: number, fields: Map<string, ProbedField>): YamlReader {
  // A generator of our own, so that the table is the same everywhere. Constants of Numerical Recipes.
  let state = (seed * 2_654_435_761) >>> 0
  const pass: Pass = {
    fields,
    seen: new Set(),
    errorCount: 0,
    choose(values) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return values[(state >>> 8) % Math.max(values.length, 1)]
    },
  }
  return createReader(pass, '')
}

function createReader(pass: Pass, path: string): YamlReader {
  return {
    path,
    position: { file: '', line: 1, column: 1 },
    kind: pass.choose(KINDS) ?? 'object',
    get errorCount() {
      return pass.errorCount
    },
    ...createScalars(pass, path),
    list(read) {
      taken(pass, path)
      const value = read(createReader(pass, `${path}[]`), 0)
      return value === undefined ? [] : [value]
    },
    map(read) {
      taken(pass, path)
      const value = read(createReader(pass, `${path}.*`), 'a')
      return new Map(value === undefined ? [] : [['a', value]])
    },
    object(fields) {
      taken(pass, path)
      return createObject(pass, path, fields)
    },
    toJson() {
      // Of a whole specification it is a copy, which says nothing of its fields.
      if (path !== 'spec') taken(pass, path)
      return {}
    },
    problem: (message, severity = 'error') => record(pass, path, severity, message),
  }
}

type Scalars = Pick<YamlReader, 'string' | 'text' | 'integer' | 'boolean' | 'oneOf' | 'strings' | 'embedded'>

function createScalars(pass: Pass, path: string): Scalars {
  const chosen = <T>(values: readonly T[]): T | undefined => {
    taken(pass, path)
    return pass.choose(values)
  }
  const text = (): string => chosen(NAMES.test(path) ? ['a'] : TEXTS) ?? 'a'
  return {
    string: text,
    text,
    integer: () => chosen(NUMBERS),
    boolean: () => chosen([true, false]),
    oneOf: chosen,
    strings: () => ({ a: text() }),
    embedded() {
      taken(pass, path)
      return undefined
    },
  }
}

function createObject(pass: Pass, path: string, listed: readonly string[] | undefined): YamlObject {
  const at = (key: string): string => (path === '' ? key : `${path}.${key}`)
  const isMap = listed === undefined
  if (!isMap) for (const key of listed) fieldOf(pass, at(key))
  const present = new Map<string, boolean>()
  const has = (key: string): boolean => {
    const known = present.get(key)
    if (known !== undefined) return known
    const there = ALWAYS.test(at(key)) || pass.choose([true, true, true, false]) === true
    present.set(key, there)
    return there
  }
  const get = (key: string): YamlReader | undefined => {
    if (!has(key)) return undefined
    // The keys of a free map are data.
    if (isMap && !pass.fields.has(at(key))) return createReader(pass, `${path}.*`)
    const field = fieldOf(pass, at(key))
    if (!pass.seen.has(field.path)) field.reads++
    pass.seen.add(field.path)
    return createReader(pass, at(key))
  }
  const reader = createReader(pass, path)
  return {
    reader,
    keys: (listed ?? ['80']).filter(has),
    has: key => get(key) !== undefined,
    get,
    required: get,
    keyPosition: () => reader.position,
    problemAt: (key, message, severity = 'error') => record(pass, at(key), severity, message),
  }
}

function taken(pass: Pass, path: string): void {
  const field = pass.fields.get(path)
  if (field === undefined || pass.seen.has(`${path} taken`)) return
  pass.seen.add(`${path} taken`)
  field.taken++
}

function fieldOf({ fields }: Pass, path: string): ProbedField {
  const known = fields.get(path)
  if (known !== undefined) return known
  const field: ProbedField = { path, reads: 0, taken: 0, said: new Map() }
  fields.set(path, field)
  return field
}

function record(pass: Pass, path: string, severity: string, message: string): void {
  if (severity === 'error') pass.errorCount++
  const said = pass.fields.get(path)?.said
  const text = `${severity}: ${message}`
  if (said === undefined || pass.seen.has(`${path} ${text}`)) return
  pass.seen.add(`${path} ${text}`)
  said.set(text, (said.get(text) ?? 0) + 1)
}
