/** Conditions of a match as functions of a request; all of them have to hold. */
import type { RequestHead } from '../http/message.ts'
import { queryValue } from './path.ts'
import type { ValueTest } from './value-match.ts'

export type Condition = (request: RequestHead) => boolean

/** Claims of a token that nobody has verified are not there. */
const CLAIMS = '@request.auth.claims'

export function allOf(conditions: readonly Condition[]): Condition {
  const [first, second] = conditions
  if (first === undefined) return () => true
  return second === undefined ? first : request => conditions.every(holds => holds(request))
}

export function onHeader(name: string, test: ValueTest): Condition {
  return request => test(headerOf(request, name))
}

/** Holds when the test does not; unless presence is what is asked for, what is missing counts as empty. */
export function onMissingHeader(name: string, test: ValueTest, presence: boolean): Condition {
  if (name.startsWith(CLAIMS)) return () => true
  return request => !test(headerOf(request, name) ?? (presence ? undefined : ''))
}

export function onQuery(name: string, test: ValueTest): Condition {
  return request => test(queryValue(request.path, name))
}

/** Repeated headers are one value, joined with a comma and no space, as Envoy joins them. */
function headerOf(request: RequestHead, name: string): string | undefined {
  switch (name) {
    case ':authority':
    case 'host':
      return request.authority
    case ':method':
      return request.method
    case ':scheme':
      return request.scheme
    case ':path':
      return request.path
  }
  const values = request.headers.all(name)
  return values.length === 0 ? undefined : values.join(',')
}
