/**
 * Carries out what a provider's answer asks for. Pseudo headers, `host`, and the fields that frame a message or belong to
 * one connection are never changed; what is no header at all makes the answer unreadable.
 */
import type { HeaderFields } from '../http/header-fields.ts'
import type { RequestHead } from '../http/message.ts'
import { type CheckEdits, type HeaderEdit, UnreadableAnswer } from './check.ts'

/** RFC 9110 §5.1 and §5.5. */
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
/** Of a query, raw: what would end the parameter or the query is not in it. */
const QUERY_PART = /^[A-Za-z0-9\-._~!$'()*+,;:@/?%=[\]]*$/

const untouchable: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'proxy-connection',
  'upgrade',
  'te',
  'trailer',
  'http2-settings',
  'expect',
])

/** Whether an answer may change the field at all. */
export function isEditable(name: string): boolean {
  return !name.startsWith(':') && !untouchable.has(name)
}

/** @throws UnreadableAnswer */
export function headerEdit(name: string, value: string, how: HeaderEdit['how']): HeaderEdit | undefined {
  const field = name.toLowerCase()
  if (!isEditable(field)) return undefined
  if (!FIELD_NAME.test(field) || !FIELD_VALUE.test(value))
    throw new UnreadableAnswer('the answer holds a header that is none')
  return { name: field, value, how }
}

export function applyEdits(fields: HeaderFields, edits: readonly HeaderEdit[]): void {
  // Those of one name that are set replace what was there, not one another: `set-cookie` may come twice.
  const replaced = new Set<string>()
  for (const { name, value, how } of edits) {
    const isThere = fields.has(name)
    if (how === 'add-if-absent' && isThere) continue
    if (how === 'set-if-present' && !isThere) continue
    if (how !== 'add' && !replaced.has(name)) fields.delete(name)
    replaced.add(name)
    fields.add(name, value)
  }
}

/** A changed copy; the same object when nothing changes. */
export function editRequest(head: RequestHead, edits: CheckEdits): RequestHead {
  const { headers, remove, querySet, queryRemove } = edits
  if (headers.length + remove.length + querySet.length + queryRemove.length === 0) return head
  const fields = head.headers.copy()
  applyEdits(fields, headers)
  for (const name of remove) if (isEditable(name.toLowerCase())) fields.delete(name)
  return { ...head, headers: fields, path: editQuery(head.path, querySet, queryRemove) }
}

/** @throws UnreadableAnswer */
export function queryPart(text: string): string {
  if (!QUERY_PART.test(text)) throw new UnreadableAnswer('the answer holds a query parameter that is none')
  return text
}

/** Others keep their place and their spelling. */
function editQuery(
  path: string,
  set: readonly (readonly [string, string])[],
  remove: readonly string[],
): string {
  if (set.length === 0 && remove.length === 0) return path
  const mark = path.indexOf('?')
  const pairs = mark < 0 ? [] : path.slice(mark + 1).split('&')
  const wanted = new Map(set)
  const gone = new Set(remove)
  const kept: string[] = []
  for (const pair of pairs) {
    const key = pair.split('=', 1)[0] ?? ''
    if (gone.has(key) || pair === '') continue
    const value = wanted.get(key)
    if (set.some(([name]) => name === key)) {
      if (value !== undefined) kept.push(`${key}=${value}`)
      wanted.delete(key)
    } else kept.push(pair)
  }
  for (const [key, value] of wanted) if (!gone.has(key)) kept.push(`${key}=${value}`)
  const before = mark < 0 ? path : path.slice(0, mark)
  return kept.length === 0 ? before : `${before}?${kept.join('&')}`
}
