/** What becomes of a rule at ztunnel, which judges connections and sees nothing of HTTP. */
import type { PolicyOperation, PolicyRuleSpec, PolicySource } from '../documents/authorization-policy.ts'
import {
  hasHttpOperation,
  hasHttpSource,
  hasIgnoredSource,
  hasL4Operation,
  hasL4Source,
  isL4Key,
} from '../ztunnel/http-fields.ts'

/**
 * `as-written`; `dropped`: an ALLOW rule that is left out; `nothing`: a rule that never matches there; `narrower` and
 * `wider`: it matches less, or more, than it says.
 */
export type RuleEffect = 'as-written' | 'dropped' | 'nothing' | 'narrower' | 'wider'

export interface L4Effect {
  readonly effect: RuleEffect
  /** Paths in the rule of what is not seen: `to[0].operation.paths`, `when[1]`. */
  readonly unseen: readonly string[]
}

/** As istiod translates and ztunnel evaluates. */
export function l4EffectOf(rule: PolicyRuleSpec, action: 'ALLOW' | 'DENY'): L4Effect {
  const http = httpPlaces(rule)
  const ignored = ignoredPlaces(rule)
  const unseen = [...http, ...ignored]
  if (unseen.length === 0) return { effect: 'as-written', unseen }
  if (action === 'ALLOW' && http.length > 0) return { effect: 'dropped', unseen: http }
  return { effect: effectOf(rule), unseen }
}

/** What becomes of a source or operation. */
type Part = 'whole' | 'wider' | 'gone'

/** A source, an operation or a condition of which nothing is left never matches. */
function effectOf({ from = [], to = [], when = [] }: PolicyRuleSpec): RuleEffect {
  const sources = from.map(({ source }) =>
    partOf(hasHttpSource(source) || hasIgnoredSource(source), hasL4Source(source)),
  )
  const operations = to.map(({ operation }) => partOf(hasHttpOperation(operation), hasL4Operation(operation)))
  const gone = (parts: readonly Part[]): boolean => parts.length > 0 && parts.every(part => part === 'gone')
  if (gone(sources) || gone(operations) || when.some(({ key }) => !isL4Key(key))) return 'nothing'
  const parts = [...sources, ...operations]
  if (parts.includes('wider')) return 'wider'
  return parts.includes('gone') ? 'narrower' : 'as-written'
}

function partOf(loses: boolean, keeps: boolean): Part {
  if (!loses) return 'whole'
  return keeps ? 'wider' : 'gone'
}

const HTTP_FIELD = /^(not)?(hosts|methods|paths|requestPrincipals|remoteIpBlocks)$/i
const IGNORED_FIELD = /^(not)?trustDomains$/i

function httpPlaces(rule: PolicyRuleSpec): readonly string[] {
  const { when = [] } = rule
  return [
    ...fieldPlaces(rule, HTTP_FIELD),
    ...when.flatMap(({ key }, index) => (isL4Key(key) ? [] : [`when[${index}]`])),
  ]
}

/** istiod leaves them out without a word. */
function ignoredPlaces(rule: PolicyRuleSpec): readonly string[] {
  return fieldPlaces(rule, IGNORED_FIELD)
}

function fieldPlaces({ from = [], to = [] }: PolicyRuleSpec, wanted: RegExp): readonly string[] {
  const places = (part: PolicySource | PolicyOperation, at: string): readonly string[] =>
    Object.entries(part).flatMap(([field, values]) =>
      wanted.test(field) && Array.isArray(values) && values.length > 0 ? [`${at}.${field}`] : [],
    )
  return [
    ...from.flatMap(({ source }, index) => places(source, `from[${index}].source`)),
    ...to.flatMap(({ operation }, index) => places(operation, `to[${index}].operation`)),
  ]
}
