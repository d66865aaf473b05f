/** The objects of a folder of manifests, each with the place where it is written. */
import type { Problem } from '@ambient/policy'
import { type Document, isMap, isSeq, parseAllDocuments, type YAMLMap } from 'yaml'

/** Where an object stands: a document of a file, or an item of a `kind: List` in it. */
export interface Place {
  /** Relative to the folder. */
  readonly path: string
  readonly document: number
  readonly item?: number
}

export interface ManifestObject {
  readonly place: Place
  readonly apiVersion: string
  readonly kind: string
  /** Empty for objects that have none. */
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly value: Readonly<Record<string, unknown>>
}

export interface ManifestObjects {
  readonly objects: readonly ManifestObject[]
  /** Syntax errors: their files have no objects here. */
  readonly broken: readonly Problem[]
}

/** Never throws. */
export function objectsOf(files: ReadonlyMap<string, string>): ManifestObjects {
  const objects: ManifestObject[] = []
  const broken: Problem[] = []
  for (const [path, text] of files) {
    const documents = parseText(text)
    const problems = documents.flatMap(document => syntaxProblems(document, path))
    if (problems.length > 0) broken.push(...problems)
    else objects.push(...documents.flatMap((document, index) => objectsIn(document, path, index)))
  }
  return { objects, broken }
}

/** Every document of a file; the empty ones count too. */
export function parseText(text: string): readonly Document.Parsed[] {
  const documents = parseAllDocuments(text)
  return Array.isArray(documents) ? documents : []
}

/** The map that is written at a place, `undefined` when there is none (any more). */
export function mapAt(documents: readonly Document.Parsed[], place: Place): YAMLMap | undefined {
  const root: unknown = documents[place.document]?.contents
  if (place.item === undefined) return isMap(root) ? root : undefined
  const items = isMap(root) ? root.get('items', true) : undefined
  const item = isSeq(items) ? items.items[place.item] : undefined
  return isMap(item) ? item : undefined
}

function syntaxProblems(document: Document.Parsed, file: string): Problem[] {
  return document.errors.map(error => ({
    file,
    line: error.linePos?.[0].line ?? 1,
    column: error.linePos?.[0].col ?? 1,
    // The parser's message goes on with an excerpt of the text.
    message: (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:$/, ''),
    severity: 'error',
  }))
}

function objectsIn(document: Document.Parsed, path: string, index: number): ManifestObject[] {
  const value: unknown = document.toJS()
  if (!isRecord(value)) return []
  const items = value['kind'] === 'List' ? value['items'] : undefined
  if (!Array.isArray(items)) return [describe(value, { path, document: index })]
  return items.flatMap((item: unknown, at) =>
    isRecord(item) ? [describe(item, { path, document: index, item: at })] : [],
  )
}

function describe(value: Readonly<Record<string, unknown>>, place: Place): ManifestObject {
  const metadata = isRecord(value['metadata']) ? value['metadata'] : {}
  return {
    place,
    apiVersion: textOf(value['apiVersion']),
    kind: textOf(value['kind']),
    namespace: textOf(metadata['namespace']),
    name: textOf(metadata['name']),
    labels: textsOf(metadata['labels']),
    annotations: textsOf(metadata['annotations']),
    value,
  }
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (!isRecord(value)) return {}
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, textOf(text)]))
}

function textOf(value: unknown): string {
  return value === undefined || value === null ? '' : String(value)
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
