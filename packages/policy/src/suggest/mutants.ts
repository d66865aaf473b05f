/** Requests that differ from a recorded one in one field: what a policy of least privilege refuses. */
import type { PolicyRequest } from '../evaluator/request.ts'

export interface Mutant {
  /** `source.principal`, `http.path`. */
  readonly field: string
  readonly request: PolicyRequest
}

export function mutantsOf(request: PolicyRequest): readonly Mutant[] {
  return [...sourceMutants(request), ...portMutants(request), ...httpMutants(request)]
}

function sourceMutants(request: PolicyRequest): readonly Mutant[] {
  const { source } = request
  const { principal } = source
  if (principal === undefined) return []
  const { principal: _, ...plaintext } = source
  const [trustDomain = '', , namespace = '', , account = ''] = principal.split('/')
  const others = [
    `${trustDomain}/ns/${namespace}/sa/${account}-x`,
    `${trustDomain}/ns/${namespace}-x/sa/${account}`,
    `x-${trustDomain}/ns/${namespace}/sa/${account}`,
  ]
  return [
    ...others.map(other => ({
      field: 'source.principal',
      request: { ...request, source: { ...source, principal: other } },
    })),
    { field: 'source.principal', request: { ...request, source: plaintext } },
  ]
}

function portMutants(request: PolicyRequest): readonly Mutant[] {
  const { destination } = request
  const port = destination.port === 65535 ? 1 : destination.port + 1
  return [{ field: 'destination.port', request: { ...request, destination: { ...destination, port } } }]
}

function httpMutants(request: PolicyRequest): readonly Mutant[] {
  const { http } = request
  if (http === undefined) return []
  const [path = '', query] = http.path.split('?', 2)
  const tail = query === undefined ? '' : `?${query}`
  const change = (field: string, changed: Partial<typeof http>): Mutant => ({
    field: `http.${field}`,
    request: { ...request, http: { ...http, ...changed } },
  })
  return [
    change('method', { method: http.method === 'DELETE' ? 'PATCH' : 'DELETE' }),
    change('authority', { authority: `x-${http.authority}` }),
    change('path', { path: `${path.replace(/\/$/, '')}/x${tail}` }),
    change('path', { path: `/x${path}${tail}` }),
  ]
}
