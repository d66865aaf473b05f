/**
 * The head of a request and of an answer: which header lists are malformed (RFC 9113 §8.2, §8.3), which are a CONNECT,
 * and which get a 400. A field that breaks a rule is never dropped in silence: the whole message is refused.
 */
import { readHostPort } from '@ambient/core'
import type { HeaderList } from './hpack.ts'

export type RequestHead =
  | { readonly kind: 'connect'; readonly authority: string; readonly headers: HeaderList }
  /** Well-formed HTTP that is no tunnel: answered 400. */
  | { readonly kind: 'refused'; readonly reason: string; readonly authority: string }
  /** A stream error. */
  | { readonly kind: 'malformed'; readonly reason: string }

export type ResponseHead =
  | { readonly kind: 'response'; readonly status: number; readonly headers: HeaderList }
  | { readonly kind: 'malformed'; readonly reason: string }

const REQUEST_PSEUDO = new Set([':method', ':authority', ':scheme', ':path', ':protocol'])
const RESPONSE_PSEUDO = new Set([':status'])
/** Fields of a hop that HTTP/2 does not have (RFC 9113 §8.2.2). */
const CONNECTION_FIELDS = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])
/** RFC 9110 token, without upper case. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/

interface Fields {
  readonly pseudo: ReadonlyMap<string, string>
  readonly headers: HeaderList
}

export function readRequestHead(list: HeaderList): RequestHead {
  const fields = readFields(list, REQUEST_PSEUDO)
  if (typeof fields === 'string') return { kind: 'malformed', reason: fields }
  const { pseudo, headers } = fields
  const method = pseudo.get(':method')
  const authority = pseudo.get(':authority') ?? ''
  if (method === undefined) return { kind: 'malformed', reason: ':method is missing' }
  if (method !== 'CONNECT') return otherMethod(method, authority, pseudo)
  for (const name of [':scheme', ':path', ':protocol'])
    if (pseudo.has(name)) return { kind: 'malformed', reason: `CONNECT with ${name}` }
  const target = readHostPort(authority)
  if (!target.ok)
    return { kind: 'refused', reason: `no valid authority pseudo header: ${target.reason}`, authority }
  return { kind: 'connect', authority, headers }
}

/** Status 100–599; anything else is malformed. */
export function readResponseHead(list: HeaderList): ResponseHead {
  const fields = readFields(list, RESPONSE_PSEUDO)
  if (typeof fields === 'string') return { kind: 'malformed', reason: fields }
  const status = fields.pseudo.get(':status') ?? ''
  if (!/^[1-5][0-9][0-9]$/.test(status))
    return { kind: 'malformed', reason: ':status is missing or no number' }
  return { kind: 'response', status: Number(status), headers: fields.headers }
}

/** The broken rule of headers that we are about to send, `undefined` when they are good. */
export function headerProblem(list: HeaderList): string | undefined {
  for (const [name, value] of list) {
    const problem = name.startsWith(':') ? 'pseudo headers are not yours to set' : fieldProblem(name, value)
    if (problem !== undefined) return problem
  }
  return undefined
}

function otherMethod(method: string, authority: string, pseudo: ReadonlyMap<string, string>): RequestHead {
  for (const name of [':scheme', ':path'])
    if ((pseudo.get(name) ?? '') === '') return { kind: 'malformed', reason: `${name} is missing` }
  return { kind: 'refused', reason: `expected method CONNECT, got ${printable(method)}`, authority }
}

function readFields(list: HeaderList, allowed: ReadonlySet<string>): Fields | string {
  const pseudo = new Map<string, string>()
  const headers: (readonly [string, string])[] = []
  for (const header of list) {
    const [name, value] = header
    if (name.startsWith(':')) {
      if (headers.length > 0) return `${printable(name)} after a regular field`
      if (!allowed.has(name)) return `unknown pseudo header ${printable(name)}`
      if (pseudo.has(name)) return `${name} twice`
      if (valueProblem(value)) return `${name} has a forbidden character`
      pseudo.set(name, value)
      continue
    }
    const problem = fieldProblem(name, value)
    if (problem !== undefined) return problem
    headers.push(header)
  }
  return { pseudo, headers }
}

function fieldProblem(name: string, value: string): string | undefined {
  if (!NAME.test(name)) return `${printable(name)} is not a field name`
  if (CONNECTION_FIELDS.has(name)) return `${name} belongs to HTTP/1`
  if (name === 'te' && value !== 'trailers') return 'te may only be trailers'
  if (valueProblem(value)) return `${name} has a forbidden character or surrounding space`
  return undefined
}

/** NUL, CR, LF anywhere, space or tab at either end. */
function valueProblem(value: string): boolean {
  return /[\0\r\n]|^[ \t]|[ \t]$/.test(value)
}

function printable(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}
