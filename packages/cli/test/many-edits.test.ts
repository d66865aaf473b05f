/** Labels in manifests that are written in every way: an edit means what it says, and no comment is lost. */
import { expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { setStrings } from '../src/manifests/edit.ts'

const CASES = 600
let seed = 7

/** The same numbers in every run. */
function below(limit: number): number {
  seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff
  return (seed >> 8) % limit
}

function pick<Item>(first: Item, ...others: readonly Item[]): Item {
  return [first, ...others][below(others.length + 1)] ?? first
}

let comments = 0
const comment = (): string => (below(3) === 0 ? ` # c${comments++}` : '')
const ownLine = (indent: string): string => pick('', '', '', '\n', `${indent}# c${comments++}\n`)
const value = (): string => pick('a', '"b"', "'c d'", 'true', '12', '""', '~')

function labels(indent: string): string {
  const block = (): string => {
    const deep = indent + pick('  ', '    ', ' ')
    const line = (key: string): string =>
      `${ownLine(deep)}${deep}${pick(key, `"${key}"`)}: ${value()}${comment()}\n`
    const keys = ['k1', 'k2', 'k3'].slice(0, 1 + below(3))
    return `${indent}labels:${comment()}\n${keys.map(line).join('')}${ownLine(deep)}`
  }
  const flow = `{\n${indent}  k1: ${value()},${comment()}\n${indent}  k2: v }`
  const short = pick('', ' {}', ` { k1: ${value()}, k2: v }`, ` ${flow}`)
  return pick('', `${indent}labels:${short}${comment()}\n`, block(), block())
}

function manifest(): string {
  const indent = pick('  ', '    ', ' ')
  const name = `${indent}name: x${comment()}\n`
  const annotations = `${indent}annotations:\n${indent}  a: |\n${indent}    text # no comment\n`
  const metadata = pick(
    [name, labels(indent)],
    [labels(indent), name],
    [annotations, labels(indent)],
    [name, labels(indent), annotations],
  )
  const spec = pick('', `spec:${comment()}\n  list:\n  - a${comment()}\n  - b: {c: d}\n`)
  return `${pick('kind: A\n', '')}metadata:${comment()}\n${metadata.join('')}${spec}`
}

interface Meta {
  readonly metadata: { labels?: Record<string, unknown> | null }
}

function withLabel(
  documents: readonly Meta[],
  at: number,
  key: string,
  text: string | undefined,
): readonly Meta[] {
  const metadata = documents[at]?.metadata
  if (metadata === undefined) return documents
  if (text !== undefined) metadata.labels = { ...metadata.labels, [key]: text }
  else if (metadata.labels && key in metadata.labels) {
    delete metadata.labels[key]
    if (Object.keys(metadata.labels).length === 0) delete metadata.labels
  }
  return documents
}

const read = (text: string): readonly Meta[] => [...parseAllDocuments(text)].map(document => document.toJS())

test(`${CASES} edits`, () => {
  for (let count = 0; count < CASES; count++) {
    const manifests = Array.from({ length: 1 + below(3) }, manifest)
    const joined = pick('', '# c\n') + manifests.join(pick('---\n', '--- # c\n'))
    const text = pick(joined, joined, joined.replace(/\n$/, ''), joined.replace(/\n/g, '\r\n'))
    const document = below(manifests.length)
    const key = pick('k1', 'k2', 'k3', 'istio.io/x')
    const change = pick('v', 'true', undefined)
    const after = setStrings(text, { path: 'a.yaml', document }, [
      { path: ['metadata', 'labels'], key, value: change },
    ])
    const shown = `${key}=${change} in ${document} of\n${text}\nbecame\n${after}`
    expect(read(after), shown).toEqual(withLabel(read(text), document, key, change))
    for (const [one] of text.matchAll(/# c\d*\b/g)) expect(after, shown).toContain(one)
  }
})
