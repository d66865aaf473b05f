/**
 * The head of a request and of an answer: which header lists are malformed (RFC 9113 §8.2, §8.3), which are a CONNECT,
 * and which get a 400. A field that breaks a rule is never dropped in silence: the whole message is refused.
 */
import { readHostPort } from '@ambient/core'
import type { HeaderList } from './hpack.ts'

export type RequestHead =
  | { readonly kind: 'connect'; readonly authority: string; readonly headers: HeaderList }
  /** Well-formed HTTP that is no tunnel: answered 400. */
  | {
      readonly kind: 'refused'
      readonly reason: string
      readonly method: string
      readonly authority: string
      /** Declared length of the body that follows. A CONNECT has none, whatever it says. */
      readonly contentLength: number | undefined
    }
  /** A stream error. */
  | { readonly kind: 'malformed'; readonly reason: string }

export type ResponseHead =
  | { readonly kind: 'response'; readonly status: number; readonly headers: HeaderList }
  | { readonly kind: 'malformed'; readonly reason: string }

const REQUEST_PSEUDO = new Set([':method', ':authority', ':scheme', ':path', ':protocol'])
const RESPONSE_PSEUDO = new Set([':status'])
const NO_PSEUDO: ReadonlySet<string> = new Set()
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
  const contentLength = readContentLength(headers)
  if (contentLength === 'malformed') return { kind: 'malformed', reason: 'content-length is no number' }
  if (method !== 'CONNECT') return otherMethod(method, authority, pseudo, contentLength)
  for (const name of [':scheme', ':path', ':protocol'])
    if (pseudo.has(name)) return { kind: 'malformed', reason: `CONNECT with ${name}` }
  const target = readHostPort(authority)
  if (!target.ok) {
    const reason = `no valid authority pseudo header: ${target.reason}`
    return { kind: 'refused', reason, method, authority, contentLength: undefined }
  }
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

/** What is wrong with the fields behind a body, `undefined` when nothing is (RFC 9113 §8.1). */
export function trailerProblem(list: HeaderList): string | undefined {
  const fields = readFields(list, NO_PSEUDO)
  return typeof fields === 'string' ? fields : undefined
}

/** Repeated lengths must agree (RFC 9110 §8.6). */
function readContentLength(headers: HeaderList): number | undefined | 'malformed' {
  let length: number | undefined
  for (const [name, value] of headers) {
    if (name !== 'content-length') continue
    const read = /^[0-9]{1,15}$/.test(value) ? Number(value) : undefined
    if (read === undefined || (length !== undefined && length !== read)) return 'malformed'
    length = read
  }
  return length
}

function otherMethod(
  method: string,
  authority: string,
  pseudo: ReadonlyMap<string, string>,
  contentLength: number | undefined,
): RequestHead {
  for (const name of [':scheme', ':path'])
    if ((pseudo.get(name) ?? '') === '') return { kind: 'malformed', reason: `${name} is missing` }
  const reason = `expected method CONNECT, got ${printable(method)}`
  return { kind: 'refused', reason, method, authority, contentLength }
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
  // JSON leaves DEL and the controls above it as they are, and terminals obey them.
  return JSON.stringify(text.slice(0, 64)).replace(
    /[^ -~]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
