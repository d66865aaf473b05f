/**
 * Small edits of YAML text that leave every other byte as it is. They cover how manifests are usually written; whoever
 * asks checks the result and has the Document API for everything else.
 */
import { isMap, isNode, isScalar, isSeq, type Pair, stringify, type YAMLMap } from 'yaml'

/** Sets, or with `undefined` removes, one string in a map of strings. */
export interface StringChange {
  /** `['metadata', 'labels']` */
  readonly path: readonly string[]
  readonly key: string
  readonly value: string | undefined
}

/** The new text; `undefined` when this is no case for a splice. `root` was parsed from `text`. */
export function splice(text: string, root: YAMLMap, change: StringChange): string | undefined {
  const { path, key, value } = change
  const map = mapIn(root, path)
  if (map !== undefined && map.items.length > 0) {
    const pair = pairOf(map, key)
    if (value === undefined) return pair === undefined ? text : cut(text, root, change, pair)
    if (pair !== undefined) return replaceValue(text, pair, value)
    return append(text, map, [[key, scalarText(value)]])
  }
  const above = mapIn(root, path.slice(0, -1))
  const name = path.at(-1) ?? ''
  if (above === undefined || above.items.length === 0) return undefined
  const owner = pairOf(above, name)
  if (value === undefined) return text
  if (owner !== undefined) return fill(text, owner, `${key}: ${scalarText(value)}`)
  return append(text, above, [
    [name, ''],
    [key, scalarText(value)],
  ])
}

/** Puts a first entry into `labels:` or `labels: {}`. */
function fill(text: string, owner: Pair, entry: string): string | undefined {
  const { key, value } = owner
  if (isMap(value) && value.flow === true && value.range)
    return `${text.slice(0, value.range[0])}{ ${entry} }${text.slice(value.range[1])}`
  if (!isScalar(value) || value.source !== '' || !isScalar(key) || !key.range) return undefined
  const indent = text.slice(lineStart(text, key.range[0]), key.range[0]).replace(/\S/g, ' ')
  const at = lineEnd(text, key.range[1])
  return `${text.slice(0, at)}${newlineOf(text)}${indent}  ${entry}${text.slice(at)}`
}

function replaceValue(text: string, pair: Pair, value: string): string | undefined {
  const range = isScalar(pair.value) ? pair.value.range : undefined
  if (range === undefined || range === null) return undefined
  return text.slice(0, range[0]) + scalarText(value) + text.slice(range[1])
}

/** Adds `key: value`, or `name:` with `key: value` in it, behind the last pair. */
function append(text: string, map: YAMLMap, lines: readonly (readonly string[])[]): string | undefined {
  const last = map.items.at(-1)
  const end = last === undefined ? undefined : endOf(last)
  if (end === undefined) return undefined
  const [outer = [], inner] = lines
  if (map.flow === true) {
    const added = inner === undefined ? outer.join(': ') : `${outer[0]}: { ${inner.join(': ')} }`
    return `${text.slice(0, end)}, ${added}${text.slice(end)}`
  }
  const start = startOf(map.items[0])
  if (start === undefined) return undefined
  const indent = text.slice(lineStart(text, start), start).replace(/\S/g, ' ')
  const newline = newlineOf(text)
  const added = lines.map(
    ([name, value], depth) => `${newline}${indent}${'  '.repeat(depth)}${`${name}: ${value}`.trimEnd()}`,
  )
  const at = lineEnd(text, end)
  return text.slice(0, at) + added.join('') + text.slice(at)
}

/** Removes a pair; the last of its map takes the map's own key with it. Comments stay. */
function cut(text: string, root: YAMLMap, change: StringChange, pair: Pair): string | undefined {
  const map = mapIn(root, change.path)
  const above = mapIn(root, change.path.slice(0, -1))
  if (map === undefined || above === undefined) return undefined
  const owner = pairOf(above, change.path.at(-1) ?? '')
  if (map.items.length > 1) return map.flow === true ? cutFlow(text, map, pair) : cutLine(text, pair)
  if (owner === undefined) return undefined
  if (above.flow === true) return cutFlow(text, above, owner)
  if (map.flow === true) return cutLine(text, owner)
  const rest = cutLine(text, pair)
  const at = startOf(owner)
  if (rest === undefined || at === undefined) return undefined
  // The line `labels:` stands before the pair, so its offsets still hold.
  return removeLine(rest, at, text.indexOf(':', at) + 1)
}

function cutFlow(text: string, map: YAMLMap, pair: Pair): string | undefined {
  const index = map.items.indexOf(pair)
  const [before, after] = [map.items[index - 1], map.items[index + 1]]
  const [from, to] = before === undefined ? [startOf(pair), startOf(after)] : [endOf(before), endOf(pair)]
  return from === undefined || to === undefined ? undefined : text.slice(0, from) + text.slice(to)
}

function cutLine(text: string, pair: Pair): string | undefined {
  const [start, end] = [startOf(pair), endOf(pair)]
  return start === undefined || end === undefined ? undefined : removeLine(text, start, end)
}

/** Removes the lines of a range; a comment behind it becomes a line of its own. */
function removeLine(text: string, start: number, end: number): string {
  const from = lineStart(text, start)
  const to = lineEnd(text, end)
  const comment = text.slice(end, to).trim()
  if (comment !== '') return text.slice(0, from) + text.slice(from, start) + comment + text.slice(to)
  if (to < text.length) return text.slice(0, from) + text.slice(text.indexOf('\n', to) + 1)
  // The last line of a file without a line end.
  return text.slice(0, from).replace(/\r?\n$/, '')
}

function mapIn(root: YAMLMap, path: readonly string[]): YAMLMap | undefined {
  const node: unknown = path.length === 0 ? root : root.getIn(path, true)
  return isMap(node) ? node : undefined
}

function pairOf(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find(pair => (isScalar(pair.key) ? pair.key.value : pair.key) === key)
}

function startOf(pair: Pair | undefined): number | undefined {
  return isNode(pair?.key) ? pair.key.range?.[0] : undefined
}

/** Just behind the last character that belongs to a value, comments aside. */
function endOf(pair: Pair): number | undefined {
  let node: unknown = pair.value
  for (;;) {
    if (isScalar(node) && node.value === null && node.source === '') return undefined
    // Of a block scalar the range takes the line end in.
    if (isScalar(node) && node.type?.startsWith('BLOCK')) return node.range ? node.range[1] - 1 : undefined
    if (isScalar(node) || (isMap(node) && node.flow) || (isSeq(node) && node.flow)) return node.range?.[1]
    if (isMap(node)) node = node.items.at(-1)?.value
    else if (isSeq(node)) node = node.items.at(-1)
    else return undefined
  }
}

function scalarText(value: string): string {
  return stringify(value, { lineWidth: 0 }).trimEnd()
}

function lineStart(text: string, at: number): number {
  return text.lastIndexOf('\n', at - 1) + 1
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', at)
  if (end < 0) return text.length
  return text[end - 1] === '\r' ? end - 1 : end
}

function newlineOf(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n'
}
