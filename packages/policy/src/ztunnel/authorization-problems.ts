/** What in an L4 policy can never do what it says: for a control plane's client that wants to refuse or log it. */
import type { Authorization, AuthorizationMatch, StringMatch } from './authorization.ts'
import { unreadableBlocks } from '../engine/attributes.ts'
import { quote } from '../yaml/problem.ts'

/** One text per finding, with its place: `rules[0].clauses[1].matches[0]: …`. Empty for a sound policy. */
export function authorizationProblems(authorization: Authorization): readonly string[] {
  return authorization.rules.flatMap((rule, r) =>
    rule.clauses.flatMap((clause, c) =>
      clause.matches.flatMap((match, m) =>
        matchProblems(match).map(text => `rules[${r}].clauses[${c}].matches[${m}]: ${text}`),
      ),
    ),
  )
}

function matchProblems(match: AuthorizationMatch): readonly string[] {
  const withScheme = (values: readonly StringMatch[]): readonly string[] =>
    values.flatMap(value =>
      value.kind !== 'presence' && value.value.includes('spiffe://') ? [value.value] : [],
    )
  return [
    ...unreadableBlocks(match).map(text => `the address block ${quote(text)} cannot be read`),
    ...[...withScheme(match.principals), ...withScheme(match.notPrincipals)].map(
      text => `the principal ${quote(text)} never matches: write it without "spiffe://"`,
    ),
  ]
}
