/** What the step asks of a request, and what it changes in it. */

export interface JwtRequest {
  readonly method: string
  readonly scheme: string
  /** `:authority` or `Host`. */
  readonly authority: string
  /** With the query. */
  readonly path: string
  /** Each field of the name (lower case), not joined; empty when there is none. */
  header(name: string): readonly string[]
}

/** To be done in this order. Values are field values: one character per byte. */
export interface JwtEdits {
  readonly removeHeaders: readonly string[]
  readonly setHeaders: readonly (readonly [name: string, value: string])[]
  /** The path and query from here on, when a token was taken out of the query. */
  readonly path?: string
}

/** A CORS preflight: browsers send no credentials with it, so nobody looks for a token. */
export function isPreflight(request: Pick<JwtRequest, 'method' | 'header'>): boolean {
  const has = (name: string): boolean => request.header(name).some(value => value !== '')
  return request.method === 'OPTIONS' && has('origin') && has('access-control-request-method')
}
