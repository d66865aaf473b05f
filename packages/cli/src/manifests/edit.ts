/** Edits of one manifest's text: strings in maps, whole objects. What is not meant stays, comments always. */
import { isDeepStrictEqual } from 'node:util'
import { type Document, isMap, isScalar, isSeq, Lexer, type YAMLMap } from 'yaml'
import { mapAt, parseText, type Place } from './objects.ts'
import { splice, type StringChange } from './splice.ts'

/** `place` must be one of `text`, which must be without errors. */
export function setStrings(text: string, place: Place, changes: readonly StringChange[]): string {
  return changes.reduce((current, change) => setString(current, place, change), text)
}

/** Removes an object; `undefined` when nothing is left of the file. */
export function removeObject(text: string, place: Place): string | undefined {
  const documents = parseText(text)
  if (place.item !== undefined) {
    const root: unknown = documents[place.document]?.contents
    const items = isMap(root) ? root.get('items', true) : undefined
    if (isSeq(items)) items.items.splice(place.item, 1)
    return written(documents, text, place.path)
  }
  const rest = documents.filter((document, index) => index !== place.document && document.toJS() !== null)
  if (rest.length === 0) return undefined
  const [start, end] = boundsOf(documents, text, place.document)
  // A header that stands apart belongs to the file.
  const header =
    start === 0 ? (/^(?:[ \t]*#.*\r?\n)+(?=[ \t]*\r?\n)/.exec(text)?.[0] ?? '') : text.slice(0, start)
  return header + text.slice(end)
}

function setString(text: string, place: Place, change: StringChange): string {
  const wanted = parseText(text)
  const map = mapAt(wanted, place)
  if (map === undefined) return text
  const spliced = isJson(place.path) ? undefined : splice(text, map, change)
  setInMap(map, change, wanted[place.document])
  if (spliced !== undefined && says(spliced, wanted) && lostComments(text, spliced).length === 0)
    return spliced
  const whole = written(wanted, text, place.path)
  if (isJson(place.path)) return whole
  const [start, end] = boundsOf(wanted, text, place.document)
  const alone = withLost(
    text.slice(start, end),
    written(wanted.slice(place.document, place.document + 1), text, ''),
  )
  const joined = text.slice(0, start) + alone + text.slice(end)
  return says(joined, wanted) ? joined : withLost(text, whole)
}

/** Where a document begins and ends, with the comments before and behind it. */
function boundsOf(
  documents: readonly Document.Parsed[],
  text: string,
  index: number,
): readonly [start: number, end: number] {
  return [documents[index - 1]?.range[2] ?? 0, documents[index]?.range[2] ?? text.length]
}

/** The Document API moves comments, and may drop one of a removed value; here none goes. */
function withLost(before: string, after: string): string {
  const newline = before.includes('\r\n') ? '\r\n' : '\n'
  return (
    after +
    lostComments(before, after)
      .map(comment => `${comment}${newline}`)
      .join('')
  )
}

/** Comments of one text that another does not have. */
function lostComments(before: string, after: string): readonly string[] {
  const left = commentsIn(after)
  return commentsIn(before).filter(comment => {
    const index = left.indexOf(comment)
    if (index >= 0) left.splice(index, 1)
    return index < 0
  })
}

function commentsIn(text: string): string[] {
  return [...new Lexer().lex(text)].filter(token => token.startsWith('#')).map(token => token.trimEnd())
}

/** Whether a text means the same as documents do. */
function says(text: string, documents: readonly Document.Parsed[]): boolean {
  const parsed = parseText(text)
  return (
    parsed.every(({ errors }) => errors.length === 0) &&
    isDeepStrictEqual(
      parsed.map(document => document.toJS()),
      documents.map(document => document.toJS()),
    )
  )
}

function setInMap(root: YAMLMap, change: StringChange, document: Document.Parsed | undefined): void {
  const { path, key, value } = change
  if (value !== undefined) {
    const present: unknown = root.getIn(path, true)
    if (!isMap(present)) {
      const map = document?.createNode({})
      // What was said of the emptiness stays with what fills it.
      if (isScalar(present) && map !== undefined) map.commentBefore = commentsOf([present])
      root.setIn(path, map)
    }
    root.setIn([...path, key], value)
    return
  }
  const map: unknown = root.getIn(path, true)
  if (!isMap(map)) return
  const index = map.items.findIndex(pair => isScalar(pair.key) && pair.key.value === key)
  const removed = map.items[index]
  if (removed === undefined) return
  const comments = commentsOf([removed.key, removed.value])
  map.items.splice(index, 1)
  const heir = map.items.length > 0 ? map : root
  if (comments !== '') heir.comment = [heir.comment, comments].filter(Boolean).join('\n')
  if (map.items.length > 0) return
  const own = [map.commentBefore, map.comment].filter(Boolean).join('\n')
  if (own !== '') root.comment = [root.comment, own].filter(Boolean).join('\n')
  root.deleteIn(path)
}

function commentsOf(nodes: readonly unknown[]): string {
  return nodes
    .filter(isScalar)
    .flatMap(({ commentBefore, comment }) => [commentBefore, comment])
    .filter(Boolean)
    .join('\n')
}

/** Documents as text again: as the file was written where the Document API can, JSON as JSON. */
function written(documents: readonly Document.Parsed[], before: string, path: string): string {
  if (isJson(path)) {
    const indent = /^[{[]\s*\n([ \t]+)/.exec(before.trimStart())?.[1] ?? 2
    return `${JSON.stringify(documents[0]?.toJS(), undefined, indent)}\n`
  }
  const text = documents
    .map(document => document.toString({ lineWidth: 0, flowCollectionPadding: !/\{[^\s}]/.test(before) }))
    .join('')
  return before.includes('\r\n') ? text.replace(/\r?\n/g, '\r\n') : text
}

function isJson(path: string): boolean {
  return path.toLowerCase().endsWith('.json')
}
