/** What a verified token changes in its request, before policies and the service see it. */
import type { FoundToken } from './locations.ts'
import { outputsOf, type TokenPayload } from './outputs.ts'
import { removalOf } from './remove-token.ts'
import type { JwtEdits, JwtRequest } from './request.ts'
import type { JwtRule } from '../documents/request-authentication.ts'

/** @param clean headers that only we may set, as far as the client sent them. */
export function editsOfToken(
  request: JwtRequest,
  {
    rule,
    token,
    found,
  }: {
    readonly rule: JwtRule
    /** Absent: there is no output. */
    readonly token: TokenPayload | undefined
    readonly found: readonly FoundToken[]
  },
  clean: readonly string[],
): JwtEdits {
  const places = rule.forwardOriginalToken === true ? [] : found.map(({ location }) => location)
  const removal = removalOf(request, places)
  return {
    ...removal,
    removeHeaders: [...clean, ...removal.removeHeaders],
    setHeaders: [...removal.setHeaders, ...(token === undefined ? [] : outputsOf(rule, token))],
  }
}
