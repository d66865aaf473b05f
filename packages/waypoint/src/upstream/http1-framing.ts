/**
 * Where a request over HTTP/1.1 ends. What a server takes for the next request must never be bytes of this one: lengths are
 * declared only for bodies that are sent, and what is sent is counted.
 */
import type { HeaderFields } from '../http/header-fields.ts'
import type { ExchangeRequest } from './exchange.ts'

export interface Framing {
  /** With a length only where it is true. */
  readonly fields: HeaderFields
  readonly body: 'none' | 'chunked' | { readonly bytes: number }
}

/** @throws Error when the declared length is no number, or there is one of a body that is not there. */
export function frameRequest({ fields, body, upgrade }: ExchangeRequest): Framing {
  const framed = fields.copy()
  if (upgrade !== undefined) {
    // What follows is no HTTP: a server that does not switch must find no body announced.
    framed.delete('content-length')
    framed.delete('trailer')
    return { fields: framed, body: 'none' }
  }
  const length = fields.get('content-length')
  if (length !== undefined && !/^\d{1,15}$/.test(length)) throw new Error('content-length is no number')
  if (body.isEmpty) {
    if (length !== undefined && Number(length) > 0)
      throw new Error('content-length of a body that is not there')
    return { fields: framed, body: 'none' }
  }
  return { fields: framed, body: length === undefined ? 'chunked' : { bytes: Number(length) } }
}
